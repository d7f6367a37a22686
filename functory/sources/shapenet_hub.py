"""ShapeNetCore from a data hub, with the user's own access: one checked zip a class."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import REGEX_SHA256, HfFileMetadata, http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from pydantic import Field, field_validator

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.era5_cds import SourceUnavailable
from functory.sources.shape_models import synset_id

__all__ = ["ShapeNetHub", "SourceUnavailable", "download_class", "shapenet_licence"]

LOGGER = logging.getLogger(__name__)


class ShapeNetHub(Config):
    """Classes of ShapeNetCore from a data set repository on a hub.

    The token is not part of it: the client finds it in its own places.
    """

    kind: Literal["hub"] = "hub"
    classes: tuple[str, ...] = Field(min_length=1)
    """Synset ids or plain names; they become synset ids."""
    repository: str = Field("ShapeNet/ShapeNetCore", pattern=r"^[\w.-]+/[\w.-]+$")
    """Owner and name of a data set with one `<synset>.zip` a class."""
    revision: str = Field("main", min_length=1)
    """Branch, tag or commit."""

    @field_validator("classes")
    @classmethod
    def _as_synsets(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(synset_id(value) for value in values))


def shapenet_licence() -> str:
    """Return the terms of ShapeNet and the work to cite."""
    return (
        "ShapeNet terms of use (https://shapenet.org/terms): non-commercial research and education "
        "only, no redistribution; cite Chang et al., ShapeNet: An Information-Rich 3D Model "
        "Repository, arXiv:1512.03012, 2015"
    )


def download_class(source: ShapeNetHub, synset: str, folder: Path) -> Path:
    """Download the zip of one class, check it and keep it.

    Parameters
    ----------
    source
        The repository to ask; its own `classes` are not looked at.
    synset
        The class, as a synset id.
    folder
        Where `<synset>.zip` goes. Each repository and revision needs a folder of its own. What a
        broken download has left in it is continued.

    Returns
    -------
    Path
        The zip. Where it is kept already, there is no request and no need of a token.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: a token that is missing or refused, a file that does not exist.
    """
    path = folder / f"{synset}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(folder / f".{synset}.lock"):
            if not path.is_file():
                _download(source, path)
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        # Not chained: it may repeat what was sent.
        raise _explanation(error, source, path.name) from None
    except OSError as error:
        if error.errno is None:  # the client's, for an answer of another length than announced
            raise SourceUnavailable(
                f"the hub broke off {path.name}: run it again to continue"
            ) from error
        raise InputError(
            f"{path.name} cannot be written to {folder} ({error.strerror}): make room and allow "
            "writing there, or choose another folder"
        ) from error
    return path


def _download(source: ShapeNetHub, path: Path) -> None:
    # The client reads HF_ENDPOINT once, at import, so a later change has to be handed to it.
    endpoint = os.environ.get("HF_ENDPOINT")
    url = hf_hub_url(
        source.repository,
        path.name,
        repo_type="dataset",
        revision=source.revision,
        endpoint=endpoint,
    )
    stated = get_hf_file_metadata(url, endpoint=endpoint)
    if stated.etag is None or not REGEX_SHA256.fullmatch(stated.etag):
        raise InputError(
            f"the hub states no SHA-256 of {path.name} in {source.repository}, as it does for "
            "large files: check `repository` and HF_ENDPOINT"
        )
    # The sum is part of the name, so that the beginning of one file never meets the end of another.
    partial = path.with_name(f".{path.stem}.{stated.etag[:16]}.part")
    for leftover in path.parent.glob(f".{path.stem}.*.part"):
        if leftover != partial or (stated.size or 0) < leftover.stat().st_size:
            leftover.unlink()
    LOGGER.info("downloading %s of %s", path.name, source.repository)
    _continue(url, partial, stated)
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != stated.etag:
        partial.unlink()
        raise SourceUnavailable(
            f"{path.name} of {source.repository} came with another SHA-256 than the hub states and "
            "was removed: download it again"
        )
    os.replace(partial, path)


def _continue(url: str, partial: Path, stated: HfFileMetadata) -> None:
    """Append to a file what it lacks of the content at an address."""
    # The client's own hf_hub_download starts from nothing in every call.
    with partial.open("ab") as file:
        http_get(
            url,
            file,
            resume_size=file.tell(),
            headers=build_hf_headers(),
            expected_size=stated.size,
            displayed_filename=partial.name.split(".")[1],
        )


def _explanation(
    error: httpx2.HTTPError | OfflineModeIsEnabled, source: ShapeNetHub, name: str
) -> InputError | SourceUnavailable:
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).netloc
    if isinstance(error, OfflineModeIsEnabled):
        return InputError(f"{name} cannot be downloaded in offline mode: unset HF_HUB_OFFLINE")
    if not isinstance(error, HfHubHTTPError):
        return SourceUnavailable(
            f"the hub {hub} cannot be reached or broke off {name} ({type(error).__name__}): check "
            "the network and HF_ENDPOINT, or run it again to continue"
        )
    status = error.response.status_code
    if status in (401, 403):
        return InputError(
            f"the hub refuses {name} of {source.repository} ({status}): get an account at "
            "huggingface.co, accept the terms of ShapeNet on the page of the data set and put a "
            "token of yours into HF_TOKEN, or put the binvox folders of ShapeNetCore.v2 on disk "
            "and set source: {kind: files, paths: [...]}"
        )
    if status == 404:
        return InputError(
            f"the hub {hub} has no {name} in revision {source.revision} of {source.repository}: "
            "correct `classes`, `repository` or `revision`"
        )
    if status >= 500 or status in (408, 429):
        return SourceUnavailable(f"the hub {hub} answered {status} for {name}: try again later")
    return InputError(
        f"the hub {hub} refuses {name} of {source.repository} with {status}: check `repository`, "
        "`revision` and HF_ENDPOINT"
    )
