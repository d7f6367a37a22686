"""Acquire volumes: find the raw files, and record their contents."""

from typing import Any

from functory.configuration import Config
from functory.sources.volumes import VolumeSource, find_volumes, licence_of, scans_of
from storage.versions import Store
from tasks.acquire import listed, write_manifest
from tasks.stage import Outcome, Work, stage

__all__ = ["VolumeAcquisition", "acquire_volumes"]


class VolumeAcquisition(Config):
    """Where volumes come from."""

    source: VolumeSource
    """The source, chosen by its `kind`: demo or nifti."""


def contents(store: Store, config: VolumeAcquisition) -> list[dict[str, Any]] | None:
    """Return the digests of the user's own files: when a file changes, so does the key."""
    found = find_volumes(config.source)
    return None if found is None else listed(store, found)


@stage("raw", version=1, content=contents)
def acquire_volumes(work: Work, config: VolumeAcquisition) -> Outcome:
    """Find the raw files; they are listed, not copied."""
    source, files = config.source, contents(work.store, config) or []
    scans_of(source, find_volumes(source) or [])  # what cannot be used is not published either
    work.result.mkdir(parents=True)
    return write_manifest(work, source.kind, files, licence_of(source))
