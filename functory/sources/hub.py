"""Files of a data hub's repositories, with the user's own access: checked and continued."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.file_download import (
    REGEX_COMMIT_HASH,
    REGEX_SHA256,
    HfFileMetadata,
    http_get,
)
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from functory.errors import InputError, SourceUnavailable

__all__ = ["REPOSITORY", "Repository", "download", "list_files"]

LOGGER = logging.getLogger(__name__)

REPOSITORY = r"^[\w.-]+/[\w.-]+$"
"""What owner and name of a repository look like."""
PATIENCE = 30
"""Seconds that the hub may take to begin a list of files."""
PLAIN = re.compile(r"[^\\/.\x00-\x1f][^\\/\x00-\x1f]*(/[^\\/.\x00-\x1f][^\\/\x00-\x1f]*)*")
"""Names of files that stay in their folder and are not hidden, as what is unfinished is."""


@dataclass(frozen=True)
class Repository:
    """A revision of a data set on a hub, and advice for users whom the hub refuses."""

    name: str
    """Owner and name."""
    revision: str
    """Branch, tag or commit."""
    access: str
    """How to be let in, or what to do without."""
    settings: str
    """The settings that say what is asked for."""


def list_files(repository: Repository) -> tuple[str, list[str]]:
    """Return the commit that a repository's revision stands for, and the names of its files.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: a token that is missing or refused, a repository that does not exist.
    """
    hub = _endpoint()
    with _explained(repository, "files"):
        try:
            found = HfApi(endpoint=hub).dataset_info(
                repository.name, revision=repository.revision, timeout=PATIENCE
            )
        except HFValidationError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{urlsplit(hub).netloc} does not answer as a hub does: check HF_ENDPOINT"
            ) from error
    if not REGEX_COMMIT_HASH.fullmatch(found.sha or ""):
        raise InputError(
            f"the hub names no commit of {repository.name}: check `repository` and HF_ENDPOINT"
        )
    return str(found.sha), sorted(file.rfilename for file in found.siblings or ())


def download(repository: Repository, name: str, folder: Path) -> Path:
    """Download a file, check it and keep it.

    Parameters
    ----------
    repository
        Where the file is.
    name
        Path of the file in the repository.
    folder
        Where the file goes, under its name. Each repository and revision needs a folder of its
        own. What a broken download has left in it is continued.

    Returns
    -------
    Path
        The file. Where it is kept already, there is no request and no need of a token.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: a token that is missing or refused, a file that does not exist, a name that
        leads out of the folder.
    """
    if not PLAIN.fullmatch(name):
        raise InputError(
            f"the file {name!r} of {repository.name} is hidden or would not stay in its folder: "
            f"correct {repository.settings}"
        )
    path = folder / name
    with _explained(repository, name):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(path.with_name(f".{path.name}.lock")):
                if not path.is_file():
                    _download(repository, name, path)
        except OSError as error:
            if isinstance(error, httpx2.HTTPError):
                raise
            if error.errno is None:  # the client's, for an answer of another length than announced
                raise SourceUnavailable(
                    f"the hub broke off {name}: run it again to continue"
                ) from error
            raise InputError(
                f"{name} cannot be written to {folder} ({error.strerror}): make room and allow "
                "writing there, or choose another folder"
            ) from error
    return path


def _endpoint() -> str:
    # The client reads HF_ENDPOINT once, at import, so a later change has to be handed to it.
    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _download(repository: Repository, name: str, path: Path) -> None:
    hub = _endpoint()
    url = hf_hub_url(
        repository.name, name, repo_type="dataset", revision=repository.revision, endpoint=hub
    )
    stated = get_hf_file_metadata(url, endpoint=hub)
    if stated.etag is None or not REGEX_SHA256.fullmatch(stated.etag):
        raise InputError(
            f"the hub states no SHA-256 of {name} in {repository.name}, as it does for large "
            f"files: check {repository.settings} and HF_ENDPOINT"
        )
    # The sum is part of the name, so that the beginning of one file never meets the end of another.
    partial = path.with_name(f".{path.name}.{stated.etag[:16]}.part")
    for leftover in _leftovers(path):
        if leftover != partial or (stated.size or 0) < leftover.stat().st_size:
            leftover.unlink()
    LOGGER.info("downloading %s of %s", name, repository.name)
    _continue(url, partial, path.name, stated)
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != stated.etag:
        partial.unlink()
        raise SourceUnavailable(
            f"{name} of {repository.name} came with another SHA-256 than the hub states and was "
            "removed: download it again"
        )
    os.replace(partial, path)


def _leftovers(path: Path) -> list[Path]:
    unfinished = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.part")
    return [other for other in path.parent.iterdir() if unfinished.fullmatch(other.name)]


def _continue(url: str, partial: Path, name: str, stated: HfFileMetadata) -> None:
    """Append to a file what it lacks of the content at an address."""
    # The client's own hf_hub_download starts from nothing in every call.
    with partial.open("ab") as file:
        http_get(
            url,
            file,
            resume_size=file.tell(),
            headers=build_hf_headers(),
            expected_size=stated.size,
            displayed_filename=name,
        )


@contextmanager
def _explained(repository: Repository, what: str) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    try:
        yield
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        # Not chained: it may repeat what was sent.
        raise _explanation(error, repository, what) from None
    except HFValidationError as error:
        raise InputError(
            f"no data set of a hub can have the name {repository.name}: correct `repository`"
        ) from error


def _explanation(
    error: httpx2.HTTPError | OfflineModeIsEnabled, repository: Repository, what: str
) -> InputError | SourceUnavailable:
    hub = urlsplit(_endpoint()).netloc
    if isinstance(error, OfflineModeIsEnabled):
        return InputError(f"{what} cannot be downloaded in offline mode: unset HF_HUB_OFFLINE")
    if not isinstance(error, HfHubHTTPError):
        return SourceUnavailable(
            f"the hub {hub} cannot be reached or broke off {what} ({type(error).__name__}): check "
            "the network and HF_ENDPOINT, or run it again to continue"
        )
    status = error.response.status_code
    if status in (401, 403):
        return InputError(
            f"the hub refuses {what} of {repository.name} ({status}): {repository.access}"
        )
    if status == 404:
        return InputError(
            f"the hub {hub} has no {what} in revision {repository.revision} of {repository.name}: "
            f"correct {repository.settings}"
        )
    if status >= 500 or status in (408, 429):
        return SourceUnavailable(f"the hub {hub} answered {status} for {what}: try again later")
    return InputError(
        f"the hub {hub} refuses {what} of {repository.name} with {status}: check "
        f"{repository.settings} and HF_ENDPOINT"
    )
