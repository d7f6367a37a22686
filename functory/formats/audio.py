"""Audio files: any number of channels at any rate, as shares of full scale."""

from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.indexes import RangeIndex

from functory.errors import InputError
from functory.formats.pieces import PIECE, only_variable, pieces, whole_numbers
from functory.sources.file_reading import explained

__all__ = ["read_audio", "write_audio"]

BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
LONGEST_WAV = 2**31  # bytes; WAV counts to 2³², and RF64 is WAV that counts on
UNKNOWN_LENGTH = 0x7FFF0000
"""From here on, the length of a WAV file is what programs write that do not know it yet."""


def read_audio(path: Path) -> xr.Dataset:
    """Read audio as `audio(sample, t)`, or (sample, t, channel), float32 in [-1, 1].

    The coordinate t is in seconds and takes no memory. The attributes `sample_rate` (Hz) and
    `subtype` (soundfile's name for how values are stored) are those of the file.

    Raises
    ------
    InputError
        If the file is damaged, truncated or too short; when values are computed, also if some are
        not finite.
    """
    import soundfile

    with explained(path, "audio"):
        _check_whole(path)
        with soundfile.SoundFile(path) as file:
            frames, channels, rate = file.frames, file.channels, int(file.samplerate)
            subtype = str(file.subtype)
            if frames < 2:
                raise InputError(f"{path} has {frames} sample of audio: there is nothing to code.")
            file.seek(frames - 1)  # where a truncated file ends earlier
            if len(file.read(1)) != 1:
                raise EOFError("truncated, it ends before its last sample")
    step = max(1, PIECE // channels)
    lengths = (step,) * (frames // step) + ((frames % step,) if frames % step else ())
    values = da.map_blocks(
        partial(_read_frames, path),
        chunks=(lengths, (channels,)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    dims = ("sample", "t", "channel") if channels > 1 else ("sample", "t")
    attributes = {"long_name": "sound pressure, as a share of full scale", "units": "1"}
    audio = xr.DataArray(values[None] if channels > 1 else values[None, :, 0], dims=dims)
    # An hour of t as numbers would take more memory than its audio.
    times = RangeIndex.linspace(0.0, frames / rate, frames, endpoint=False, dim="t")
    signals = xr.Dataset(
        {"audio": audio.assign_attrs(attributes)},
        xr.Coordinates.from_xindex(times),
        {
            "modality": "audio",
            "sample_dimension": "sample",
            "mask": "none",
            "sample_rate": rate,
            "subtype": subtype,
        },
    )
    signals["t"].attrs = {"long_name": "time", "units": "s"}
    if channels > 1:
        signals = signals.assign_coords(channel=np.array(_names(channels), object))
    return signals


def write_audio(dataset: xr.Dataset, path: Path) -> None:
    """Write audio as the suffix says, stored as the attribute `subtype` says where that fits.

    The rate is that of the coordinate t: a signal may have been decoded at another than its own.
    """
    import soundfile

    dims = ("t", "channel") if "channel" in dataset.dims else ("t",)
    array = only_variable(dataset, "audio", dims, path)[0]
    form, subtype = path.suffix.removeprefix(".").upper(), str(dataset.attrs.get("subtype"))
    if not soundfile.check_format(form, subtype):
        subtype = soundfile.default_subtype(form)
    if form == "WAV" and array.size * 4 > LONGEST_WAV:
        form = "RF64"
    channels, bits = array.sizes.get("channel", 1), BITS.get(subtype)
    with soundfile.SoundFile(path, "w", _rate(dataset), channels, subtype, format=form) as file:
        for _, values in pieces(array, "t"):
            file.write(values.astype(np.float32) if bits is None else _as_pcm(values, bits))


def _check_whole(path: Path) -> None:
    """Raise if a file is shorter than it tells: the library reads of it what there is."""
    with path.open("rb") as file:
        head = file.read(8)
        size = file.seek(0, 2)
        file.seek(max(0, size - 2**16))
        tail = file.read()
    told = int.from_bytes(head[4:], "little") + 8
    if head[:4] == b"RIFF" and size < told < UNKNOWN_LENGTH:
        raise EOFError(f"truncated, it has {size} of {told} bytes")
    if head[:4] == b"OggS" and not _has_last_page(tail):
        raise EOFError("truncated, it has no last page")


def _has_last_page(tail: bytes) -> bool:
    """Tell whether the end of an Ogg file is its last page, as a whole (RFC 3533, section 6)."""
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return False
    flags, segments = page[5], page[26]
    return bool(flags & 4) and len(page) >= 27 + segments + sum(page[27 : 27 + segments])


def _read_frames(path: Path, block_info: Any = None) -> NDArray[np.float32]:
    """Return one block of an audio file, (frames, channels)."""
    import soundfile

    (start, stop), _ = block_info[None]["array-location"]
    with explained(path, "audio"), soundfile.SoundFile(path) as file:
        file.seek(start)
        values = file.read(stop - start, dtype="float32", always_2d=True)
        if len(values) != stop - start:
            raise EOFError(f"truncated, it ends after {start + len(values)} samples")
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            second = (start + int(np.argmin(finite))) / file.samplerate
            raise InputError(
                f"{path} has values that are not finite, the first at {second:g} s: mend them."
            )
    return values


def _names(channels: int) -> list[str]:
    return ["left", "right"] if channels == 2 else [str(n + 1) for n in range(channels)]


def _rate(dataset: xr.Dataset) -> int:
    """Return the samples a second, of the coordinate t where there is one."""
    count = dataset.sizes["t"]
    if "t" not in dataset.coords or count < 2:
        return int(dataset.attrs.get("sample_rate", 0)) or 1
    first, last = (float(dataset["t"][index]) for index in (0, -1))
    return round((count - 1) / (last - first))


def _as_pcm(values: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Return values as the highest bits of 32, rounded: the library would cut off the rest."""
    scaled = values.astype(np.float64) * 2 ** (bits - 1)
    limit = 2 ** (bits - 1)
    return whole_numbers(scaled.clip(-limit, limit - 1), np.int32) << (32 - bits)
