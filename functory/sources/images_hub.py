"""Images from a data hub, with the user's own access: Parquet shards, each checked."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from huggingface_hub.utils import filter_repo_objects
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.sources.hub import REPOSITORY, Repository, download, list_files

__all__ = ["ImagesHub", "download_images"]

ACCESS = (
    "check `repository`, accept the terms on the page of the data set at huggingface.co and put a "
    "token of yours into HF_TOKEN, or get CelebA-HQ or the aligned CelebA from its authors, put it "
    "on disk and set source: {kind: celeba, path: ...}, or {kind: files, paths: [...]} for other "
    "images"
)
SHOWN = 5
"""Files that an error names, at most."""


class ImagesHub(Config):
    """Parquet shards of images from a data set repository on a hub.

    The token is not part of it: the client finds it in its own places.
    """

    kind: Literal["hub"] = "hub"
    repository: str = Field(pattern=REPOSITORY)
    """Owner and name of a data set. None is the default, as CelebA's own authors keep none."""
    revision: str = Field("main", min_length=1)
    """Branch, tag or commit."""
    files: tuple[Annotated[str, Field(min_length=1)], ...] = Field(("*.parquet",), min_length=1)
    """Which files: names or globs such as `data/train-*.parquet`, whose `*` crosses folders."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def download_images(source: ImagesHub, folder: Path) -> Iterator[Path]:
    """Download the files of a source one by one, check and keep them.

    All are of the commit that the revision stands for when the first is asked for.

    Parameters
    ----------
    source
        The repository to ask, and for which files.
    folder
        Where they go, as `<commit>/<name>`: each repository needs a folder of its own. What is in
        it already is not downloaded again, and what a broken download has left is continued.

    Yields
    ------
    Path
        Each file once it is whole, in the order of the names.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: a token that is missing or refused, files that do not exist.
    """
    settings = "`repository`, `revision` or `files`"
    repository = Repository(source.repository, source.revision, ACCESS, settings)
    commit, there = list_files(repository)
    names = sorted(set[str]().union(*(_matches(source, glob, there) for glob in source.files)))
    pinned = replace(repository, revision=commit)
    with progress(len(names), f"downloading {source.repository}", "file") as bar:
        for name in names:
            yield download(pinned, name, folder / commit)
            bar.update()


def _matches(source: ImagesHub, pattern: str, names: list[str]) -> list[str]:
    named = [name for name in names if name == pattern]  # brackets mean something in a glob
    found = named or list(filter_repo_objects(names, allow_patterns=pattern))
    if not found:
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        raise InputError(
            f"no file of revision {source.revision} of {source.repository} is {pattern!r}: it has "
            f"{shown or 'none'}; correct `files`"
        )
    return found
