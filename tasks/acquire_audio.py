"""Acquire sounds: find the raw files, and record their contents."""

from typing import Any

from functory.configuration import Config
from functory.sources.audio import AudioSource, find_audio, licence_of, recordings_of
from storage.versions import Store
from tasks.acquire import listed, write_manifest
from tasks.stage import Outcome, Work, stage

__all__ = ["AudioAcquisition", "acquire_audio"]


class AudioAcquisition(Config):
    """Where sounds come from."""

    source: AudioSource
    """The source, chosen by its `kind`: demo, files or librispeech."""


def contents(store: Store, config: AudioAcquisition) -> list[dict[str, Any]] | None:
    """Return the digests of the user's own files: when a file changes, so does the key."""
    found = find_audio(config.source)
    return None if found is None else listed(store, found)


@stage("raw", version=1, content=contents)
def acquire_audio(work: Work, config: AudioAcquisition) -> Outcome:
    """Find the raw files; they are listed, not copied."""
    source, files = config.source, contents(work.store, config) or []
    recordings_of(source, find_audio(source) or [])  # what cannot be used is not published either
    work.result.mkdir(parents=True)
    return write_manifest(work, source.kind, files, licence_of(source))
