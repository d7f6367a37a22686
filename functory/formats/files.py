"""Files by their suffixes: which can be read and written, and how a file replaces another."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
import xarray as xr

from functory.errors import FunctoryError, InputError
from functory.formats.arrays import write_netcdf, write_zarr
from functory.formats.audio import read_audio, write_audio
from functory.formats.climate import GRIB_SUFFIXES, read_arrays, read_grib
from functory.formats.images import IMAGE_FORMATS, read_image_file, write_image_file
from functory.formats.volumes import read_volume, write_volume
from functory.formats.voxels import read_voxels, write_voxels

__all__ = ["read", "write"]

Labels = Mapping[str, float | int | str]
FieldsReader = Callable[[Path, Sequence[str] | None, Labels], xr.Dataset]
Writer = Callable[[xr.Dataset, Path], None]


@dataclass(frozen=True)
class _Format:
    """How files of some suffixes are read and, unless they are only read, written."""

    suffixes: tuple[str, ...]
    write: Writer | None
    read: Callable[[Path], xr.Dataset] | None = None
    read_fields: FieldsReader | None = None
    """Instead of `read`, where a file has several variables, and dimensions to select from."""


FORMATS = (
    _Format((".nc", ".nc4"), write_netcdf, read_fields=read_arrays),
    _Format((".zarr",), write_zarr, read_fields=read_arrays),
    _Format(GRIB_SUFFIXES, None, read_fields=read_grib),
    _Format(tuple(IMAGE_FORMATS), write_image_file, read_image_file),
    _Format((".wav", ".flac"), write_audio, read_audio),
    _Format((".ogg",), None, read_audio),
    _Format((".nii", ".nii.gz"), write_volume, read_volume),
    _Format((".npy", ".binvox"), write_voxels, read_voxels),
)


def read(
    path: Path | str, variables: Sequence[str] | None = None, select: Labels | None = None
) -> xr.Dataset:
    """Return the signals of a file, lazily, in the form of the signal sets.

    NetCDF, GRIB and Zarr have climate fields (time, latitude, longitude), or signals of any kind
    where `write` made them; images are `image(sample, y, x, channel)`, audio is `audio(sample, t)`
    with channels where it has several, NIfTI is `volume(sample, z, y, x)`, and voxels are
    `occupancy(sample, z, y, x)`. The attributes `modality` and `sample_dimension` tell which; the
    others are those of the file, and what `write` needs to make such a file again: texts, numbers
    and lists of them.

    Parameters
    ----------
    variables
        Those of climate fields to read; if absent, all that lie on latitudes and longitudes.
    select
        The label to take of each further dimension of climate fields, such as level or member.

    Raises
    ------
    InputError
        If the file is missing, of an unknown suffix, damaged, or has what cannot be coded. Where
        files are read lazily, some damage shows only when the values are computed.
    """
    path = Path(path)
    form = _format(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name and the folder.")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise InputError(f"{path} is a folder: name a file in it.")
    if form.read_fields is not None:
        return form.read_fields(path, variables, select or {})
    assert form.read is not None
    signals = form.read(path)
    if select or variables not in (None, [*signals.data_vars]):
        name = next(iter(signals.data_vars))
        raise InputError(f"{path} has only the variable {name!r}: select nothing from it.")
    return signals


def write(dataset: xr.Dataset, path: Path | str) -> None:
    """Write signals to a file of the format that its suffix names, or to a Zarr folder.

    What is lazy is computed and written part after part. The file appears when it is whole, and
    replaces one of its name; a Zarr folder that exists is not touched. Values of formats of whole
    numbers are clipped and rounded; the attributes that `read` gave say how many bits they have.

    Raises
    ------
    InputError
        If the suffix is unknown, the format cannot hold the signals, or the place cannot be
        written to.
    """
    path = Path(path)
    form = _format(path)
    if form.write is None:
        raise InputError(f"{path} cannot be written, as that format is only read: {_known(True)}")
    _check_place(path)
    with _explained(path), _replacing(path) as partial, _own_threads():
        form.write(dataset, partial)


def _format(path: Path) -> _Format:
    for form in FORMATS:
        if path.name.lower().endswith(form.suffixes):
            return form
    raise InputError(f"{path} is of no format that is known by its suffix: {_known(False)}")


def _known(written: bool) -> str:
    suffixes = (s for form in FORMATS if form.write or not written for s in form.suffixes)
    return f"choose one of {', '.join(suffixes)}."


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written, as there is no folder {path.parent}: make it.")
    if path.suffix.lower() == ".zarr" and path.exists():
        raise InputError(f"{path} exists already: remove it, or choose another name.")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it.")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what is raised where a disk is full, say, into one sentence."""
    try:
        yield
    except FunctoryError:
        raise
    except Exception as error:  # of attributes that make no sense, libraries raise all sorts
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be written: {reason}") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a folder beside, and put what is there in its place."""
    with TemporaryDirectory(prefix=".functory-", dir=path.parent) as folder:
        partial = Path(folder, path.name)
        yield partial
        os.replace(partial, path)


@contextmanager
def _own_threads() -> Iterator[None]:
    """Compute lazy values on threads that are over at the end.

    When a chunk fails, dask's own threads go on with theirs, and write into a folder that is
    being removed.
    """
    workers = dask.config.get("num_workers", None) or os.cpu_count()
    with ThreadPoolExecutor(workers) as pool, dask.config.set(pool=pool):
        yield
