"""Sounds from where people have them: LibriSpeech, their files, or the demo's generator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from functory.sources.audio_demo import AudioDemo, demo_recordings
from functory.sources.librispeech import LibriSpeech, find_librispeech, list_librispeech
from functory.sources.recordings import AudioFiles, Recording, find_audio_files, list_audio_files

__all__ = ["Audio", "AudioSource", "find_audio", "licence_of", "recordings_of"]

Audio = AudioDemo | AudioFiles | LibriSpeech
AudioSource = Annotated[Audio, Field(discriminator="kind")]


def find_audio(source: Audio) -> list[Path] | None:
    """Return the user's own files of a source, or None where it makes its sounds."""
    match source:
        case AudioFiles():
            return find_audio_files(source)
        case LibriSpeech():
            return find_librispeech(source)
    return None


def recordings_of(source: Audio, files: Sequence[Path]) -> list[Recording]:
    """Return the recordings of a source, in the files that it has; no sound is decoded."""
    match source:
        case AudioDemo():
            return demo_recordings(source)
        case AudioFiles():
            return list_audio_files(source, files)
        case LibriSpeech():
            return list_librispeech(files)


def licence_of(source: Audio) -> str:
    """Return the licence or attribution that everything made from the source carries on."""
    match source:
        case AudioDemo():
            return "CC0-1.0 (synthetic sounds made by Functory's demo generator)"
        case AudioFiles():
            return source.attribution or "not stated by the source"
        case LibriSpeech():
            return (
                "CC BY 4.0 (LibriSpeech; cite Panayotov et al., LibriSpeech: an ASR corpus based "
                "on public domain audio books, ICASSP 2015)"
            )
