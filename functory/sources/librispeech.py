"""LibriSpeech, in the corpus's own layout: read English speech, sampled at 16 kHz.

Panayotov et al., LibriSpeech: an ASR corpus based on public domain audio books, ICASSP 2015.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.file_reading import explained
from functory.sources.finding import absolute, natural_order
from functory.sources.recordings import Recording, read_sound

__all__ = ["LibriSpeech", "find_librispeech", "list_librispeech"]

UTTERANCE = re.compile(r"(\d+)-(\d+)-(\d+)\.flac")
SPEAKERS = "SPEAKERS.TXT"
TRANSCRIPTS = "*/*/*/*.trans.txt"
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
SEXES = {"F": "female", "M": "male"}


class LibriSpeech(Config):
    """LibriSpeech as its archives unpack: `<subset>/<speaker>/<chapter>/<utterance>.flac`."""

    kind: Literal["librispeech"] = "librispeech"
    path: str
    """The folder `LibriSpeech`, or the one that it lies in."""
    subsets: tuple[str, ...] = ()
    """Which subsets, such as `train-clean-100` and `test-clean`; none takes all that are there."""


def find_librispeech(source: LibriSpeech) -> list[Path]:
    """Return the utterances of a source, and what is written about them, in natural order.

    Raises
    ------
    InputError
        If there are none, or none of a subset that is asked for.
    """
    root = absolute(source.path)
    if (root / "LibriSpeech").is_dir():
        root = root / "LibriSpeech"
    sounds = [path for path in root.glob("*/*/*/*.flac") if _is_utterance(path)]
    there = sorted({_subset(path) for path in sounds})
    if not there:
        raise InputError(
            f"no LibriSpeech found in {root}: it is to have "
            "<subset>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac"
        )
    for name in source.subsets:
        if name not in there:
            raise InputError(f"no utterance of {name!r} is in {root}: it has {', '.join(there)}")
    wanted = set(source.subsets or there)
    written = [path for path in root.glob(TRANSCRIPTS) if _subset(path) in wanted]
    found = [path for path in sounds if _subset(path) in wanted] + written
    ordered = sorted(found, key=lambda path: natural_order(path.as_posix()))
    return ordered + [path for path in [root / SPEAKERS] if path.is_file()]


def list_librispeech(paths: Sequence[Path]) -> list[Recording]:
    """Return the utterances in the given files, each with its speaker and chapter.

    Where they are known, also with what is said, and the speaker's sex. The corpus's own split is
    that of its subsets: of `train-*`, `dev-*` and `test-*`.

    Raises
    ------
    InputError
        If a transcript or the table of speakers cannot be read.
    """
    texts = [line for path in paths if path.name.endswith(".trans.txt") for line in _lines(path)]
    transcripts = {name: text for name, _, text in (line.partition(" ") for line in texts)}
    tables = [line for path in paths if path.name == SPEAKERS for line in _lines(path)]
    sexes = dict(_sexes(tables))
    return [_recording(path, transcripts, sexes) for path in paths if _is_utterance(path)]


def _recording(path: Path, transcripts: dict[str, str], sexes: dict[str, str]) -> Recording:
    speaker, chapter, number = path.stem.split("-")
    origin = {"speaker": speaker, "chapter": chapter, "utterance": number}
    if path.stem in transcripts:
        origin["transcript"] = transcripts[path.stem]
    if speaker in sexes:
        origin["sex"] = sexes[speaker]
    split = SPLITS.get(_subset(path).split("-")[0], "")
    return Recording(path.stem, partial(read_sound, path), origin, split)


def _is_utterance(path: Path) -> bool:
    match = UTTERANCE.fullmatch(path.name)
    return match is not None and path.parts[-3:-1] == match.groups()[:2]


def _subset(path: Path) -> str:
    return path.parts[-4]


def _sexes(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the speakers and their sexes of a table `ID | SEX | SUBSET | MINUTES | NAME`."""
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 1 and cells[1] in SEXES:  # comments start with a semicolon
            yield cells[0], SEXES[cells[1]]


def _lines(path: Path) -> list[str]:
    with explained(path, "text"):
        return path.read_text(encoding="utf-8").splitlines()
