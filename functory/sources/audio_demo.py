"""Synthetic voices, so that the pipeline of sounds runs with no data at hand.

A voice is a pitch and the strengths of its harmonics; a recording is a few notes of one voice, each
struck and decaying. A sound has no rate of its own; samples only take its values.
"""

from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from functory.configuration import Config
from functory.sources.recordings import Recording, Sound

__all__ = ["AudioDemo", "demo_recordings"]

HARMONICS = np.arange(1, 9)
HIGHEST = 0.45  # of the rate: harmonics above it would alias
LOUDEST = 0.3  # of full scale, as speech is recorded
SCALE = 2 ** (np.array([0, 2, 4, 5, 7, 9, 11]) / 12)  # the notes above a voice's pitch


class AudioDemo(Config):
    """The embedded generator of sounds: decaying harmonics of a few voices."""

    kind: Literal["demo"] = "demo"
    recordings: int = Field(default=60, ge=1, le=100_000)
    """Number of recordings, of the voices in turn."""
    speakers: int = Field(default=6, ge=1, le=1000)
    """Number of voices."""
    seconds: PositiveFloat = Field(default=3.0, le=60)
    """Length of each."""
    rate: PositiveInt = Field(default=16_000, ge=1_000, le=192_000)
    """Samples a second."""
    seed: int = Field(default=0, ge=0)
    """Chooses voices and notes."""


def demo_recordings(source: AudioDemo) -> list[Recording]:
    """Return the recordings; the samples of one are computed when it is read.

    A recording is a matter of its voice, its number and the seed; `rate` only samples it.
    """
    found = []
    for i in range(source.recordings):
        number, voice = divmod(i, source.speakers)
        origin = {"speaker": f"voice-{voice}", "chapter": "0", "utterance": f"{number:04d}"}
        name = "-".join(origin.values())
        found.append(Recording(name, partial(_sound, source, voice, number), origin))
    return found


def _sound(source: AudioDemo, voice: int, number: int, seconds: float) -> Sound:
    timbre = np.random.default_rng([source.seed, voice])
    pitch = timbre.uniform(90, 250)
    strengths = timbre.uniform(0.2, 1, len(HARMONICS)) / HARMONICS
    decays = timbre.uniform(2, 4) * (1 + 0.3 * HARMONICS)  # per second: high ones fade sooner
    rng = np.random.default_rng([source.seed, voice, number])
    notes = max(2, round(2.5 * source.seconds))
    onsets = np.sort(rng.uniform(0, source.seconds, notes))
    onsets[0] = 0
    tones = zip(onsets, pitch * rng.choice(SCALE, notes), rng.uniform(0.3, 1, notes), strict=True)
    t = np.arange(round(min(seconds, source.seconds) * source.rate)) / source.rate
    values = np.zeros(len(t))
    for onset, frequency, loudness in tones:
        heard = t >= onset
        since = t[heard, None] - onset
        audible = HARMONICS * frequency < HIGHEST * source.rate
        partials = np.sin(2 * np.pi * frequency * HARMONICS * since) * np.exp(-decays * since)
        values[heard] += loudness * (partials @ (strengths * audible))
    # the loudest that a recording could be, so that it does not depend on how much of it is read
    return Sound(
        (LOUDEST / strengths.sum() / 1.5 * values[:, None]).astype(np.float32), source.rate
    )
