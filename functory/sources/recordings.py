"""What every source of sounds agrees on: a recording; and sounds in files that people have."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.file_reading import explained
from functory.sources.finding import find_files, name_files

__all__ = ["AudioFiles", "Recording", "Sound", "find_audio_files", "list_audio_files", "read_sound"]

SUFFIXES = (".wav", ".flac")
RATES = (1_000, 384_000)  # Hz: outside of these, a header is damaged


@dataclass(frozen=True)
class Sound:
    """Samples of a sound, (t, channel) of float32 in [-1, 1], and their rate in Hz."""

    values: NDArray[np.float32]
    rate: int


@dataclass(frozen=True)
class Recording:
    """One sound, read when it is needed."""

    name: str
    """Unique in its data set and independent of where files lie, such as `1688-142285-0000`."""
    read: Callable[[float], Sound]
    """Return so many seconds from its start, or the whole where it is shorter."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """What is known of it, such as its `speaker`."""
    split: str = ""
    """`train`, `validation` or `test`, where the data set says so."""


class AudioFiles(Config):
    """Sounds in WAV or FLAC files that the user has."""

    kind: Literal["files"] = "files"
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders or globs."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def find_audio_files(source: AudioFiles) -> list[Path]:
    """Return the sound files of a source, absolute, in natural order.

    Raises
    ------
    InputError
        If one of the source's paths has none.
    """
    return find_files(source.paths, SUFFIXES, "sounds")


def list_audio_files(source: AudioFiles, paths: Sequence[Path]) -> list[Recording]:
    """Return the recordings in the given files, named by their paths below the source's folder.

    Raises
    ------
    InputError
        If two have the same name.
    """
    origins: dict[str, Path] = {}
    for path, name in zip(paths, name_files(source.paths, paths), strict=True):
        if name in origins:
            raise InputError(
                f"two sounds have the name {name!r}, {origins[name]} and {path}: leave one of "
                "them out"
            )
        origins[name] = path
    return [Recording(name, partial(read_sound, path)) for name, path in origins.items()]


def read_sound(path: Path, seconds: float) -> Sound:
    """Read the first seconds of a sound file.

    Raises
    ------
    InputError
        If it cannot be read, or has values that are not finite.
    """
    import soundfile

    with explained(path, "sound"), soundfile.SoundFile(path) as file:
        rate = file.samplerate
        if not RATES[0] <= rate <= RATES[1]:
            raise InputError(
                f"{path} has {rate} samples a second: {RATES[0]} to {RATES[1]} can be used"
            )
        values = file.read(math.ceil(seconds * rate), dtype="float32", always_2d=True)
    finite = np.isfinite(values).all(1)
    if not finite.all():
        raise InputError(
            f"{path} has a value that is no number at sample {int(np.argmin(finite))}: repair it "
            "or leave it out"
        )
    return Sound(values, rate)
