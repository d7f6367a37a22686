"""From recordings of any origin to a signal set of sounds."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.sources.growing_array import GrowingArray
from functory.sources.recordings import Recording, Sound
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomShares, RandomSizes, SourceSplit, draw, given

__all__ = ["AudioPreparation", "prepare_audio"]

LOG = logging.getLogger("functory.sources")
SCHEMA = 1
CHUNK_BYTES = 2**20  # of a chunk: what one random sound costs to read
FULL_SCALE = 2**15  # of 16 bits
BEYOND = 0.1  # seconds that are read beyond the end, for the filter that resamples there


class AudioPreparation(Config):
    """How recordings become a signal set (section 4.A.4 of the thesis)."""

    seconds: PositiveFloat = Field(default=3.0, le=600)
    """What is taken of each recording, from its start."""
    rate: Annotated[int, Field(ge=1_000, le=192_000)] = 16_000
    """Samples a second; recordings of other rates are resampled."""
    short: Literal["skip", "pad"] = "skip"
    """Whether a recording that is shorter is left out and counted, or followed by silence."""
    split: Annotated[RandomShares | RandomSizes | SourceSplit, Field(discriminator="method")] = (
        RandomShares()
    )
    """Which speakers train, validate and test, with all that they say; where recordings have no
    speaker, which recordings."""


@dataclass
class _Kept:
    """The recordings that are used, and the names of those that are not."""

    recordings: list[Recording] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    short: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def prepare_audio(
    recordings: Sequence[Recording],
    config: AudioPreparation,
    folder: Path,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Write a signal set as Zarr, one recording at a time, and return it opened.

    Channels are averaged, and samples kept at 16 bits. All but the first of equal sounds are left
    out and counted: an equal one in another split would be known from training.

    Raises
    ------
    InputError
        If a recording cannot be read, none can be used, or the split cannot be made.
    """
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    samples = round(config.seconds * config.rate)
    kept = _write(recordings, config, GrowingArray(_create(group, samples)))
    described = _describe(kept.recordings, _splits(kept.recordings, config), samples, config.rate)
    described.attrs = {
        "functory_schema": SCHEMA,
        "modality": "audio",
        "sample_dimension": "sample",
        "mask": "none",
        "sample_rate": config.rate,
        "recordings": len(kept.recordings),
        "recordings_short": len(kept.short),
        "recordings_repeated": len(kept.repeated),
        **attributes,
    }
    described.to_zarr(folder, mode="a", zarr_format=3, consolidated=False)
    return open_signals(folder, consolidated=False)


def _create(group: zarr.Group, samples: int) -> zarr.Array:
    return group.create_array(
        "audio",
        shape=(0, samples),
        chunks=(max(1, CHUNK_BYTES // (2 * samples)), samples),
        dtype=np.int16,
        dimension_names=("sample", "t"),
        attributes={
            "long_name": "sound pressure, as a share of full scale",
            "units": "1",
            "scale_factor": 1 / FULL_SCALE,  # whole numbers as stored, [-1, 1) as opened
            "normalisation_offset": -1.0,
            "normalisation_scale": 2.0,
            "normalisation_over": "none",
        },
    )


def _write(
    recordings: Sequence[Recording], config: AudioPreparation, stored: GrowingArray
) -> _Kept:
    """Write every recording that is long enough and not there already."""
    kept = _Kept()
    with progress(len(recordings), "preparing", "recording") as bar:
        for recording in recordings:
            values = _start(recording.read(config.seconds + BEYOND), config)
            bar.update(1)
            if values is None:
                kept.short.append(recording.name)
                continue
            digest = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
            if digest in kept.digests:
                kept.repeated.append(recording.name)
                continue
            kept.digests.add(digest)
            kept.recordings.append(recording)
            stored.extend([values])
    stored.flush()
    if not kept.recordings:
        raise InputError(
            f"None of {len(recordings)} recordings has {config.seconds} seconds; set "
            "preparation.seconds to less, or preparation.short to 'pad'."
        )
    for what, names in (("short", kept.short), ("repeated", kept.repeated)):
        if names:
            LOG.warning("%d %s recordings are left out (first: %s)", len(names), what, names[0])
    return kept


def _start(sound: Sound, config: AudioPreparation) -> NDArray[np.int16] | None:
    """Return the first samples of a sound at the wanted rate, or None where it is too short."""
    samples, values = round(config.seconds * config.rate), sound.values.mean(1)
    if sound.rate != config.rate and len(values):
        from scipy.signal import resample_poly  # slow to import

        common = np.gcd(sound.rate, config.rate)
        values = resample_poly(values, config.rate // common, sound.rate // common)
    if len(values) < samples:
        if config.short == "skip":
            return None
        values = np.pad(values, (0, samples - len(values)))
    levels = np.rint(values[:samples] * FULL_SCALE).clip(-FULL_SCALE, FULL_SCALE - 1)
    return levels.astype(np.int16)


def _splits(recordings: Sequence[Recording], config: AudioPreparation) -> np.ndarray:
    """Return the split of every recording: that of its speaker."""
    if isinstance(config.split, SourceSplit):
        return given([r.name for r in recordings], [r.split for r in recordings])
    speakers = [recording.origin.get("speaker", recording.name) for recording in recordings]
    names = list(dict.fromkeys(speakers))
    marks = dict(zip(names, draw(names, config.split), strict=True))
    return np.array([marks[speaker] for speaker in speakers])


def _describe(
    recordings: Sequence[Recording], marks: np.ndarray, samples: int, rate: int
) -> xr.Dataset:
    """Return all of a signal set but its samples."""
    time = {"long_name": "time since the start of the recording", "units": "s"}
    known = [key for key in recordings[0].origin if all(key in r.origin for r in recordings)]
    origin = {
        key: ("sample", np.array([r.origin[key] for r in recordings], object)) for key in known
    }
    return xr.Dataset(
        coords={
            "t": ("t", np.arange(samples) / rate, time),
            "split": ("sample", marks.astype(object)),
            "name": ("sample", np.array([r.name for r in recordings], object)),
            **origin,
        }
    )
