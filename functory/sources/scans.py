"""Scans: volumes of voxels in NIfTI files that people have."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.file_reading import explained
from functory.sources.finding import find_files, name_files

if TYPE_CHECKING:
    from nibabel.arrayproxy import ArrayProxy
    from nibabel.nifti1 import Nifti1Image

__all__ = ["NiftiFiles", "Scan", "find_nifti", "list_nifti"]

SUFFIXES = (".nii", ".nii.gz")
LARGEST = 2**30  # voxels


@dataclass(frozen=True)
class Scan:
    """One volume, read when it is needed."""

    name: str
    """Unique in its data set and independent of where files lie."""
    dtype: np.dtype[Any]
    """Of its voxels, as they are read."""
    spacing: tuple[float, float, float]
    """Sides of a voxel along z, y and x, in mm."""
    read: Callable[[], NDArray[Any]]
    """Return (z, y, x); of a body, z points up, y to the front and x to its right."""


class NiftiFiles(Config):
    """Volumes in NIfTI files that the user has."""

    kind: Literal["nifti"] = "nifti"
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders or globs of `.nii` and `.nii.gz`."""
    scaled: bool = True
    """Whether a file's slope and intercept are applied, which give units; without them, whole
    numbers stay whole. The units of most MRI mean nothing."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def find_nifti(source: NiftiFiles) -> list[Path]:
    """Return the files of a source, absolute, in natural order.

    Raises
    ------
    InputError
        If one of the source's paths has none.
    """
    return find_files(source.paths, SUFFIXES, "volumes")


def list_nifti(source: NiftiFiles, paths: Sequence[Path]) -> list[Scan]:
    """Return the volumes in the given files; only their headers are read.

    Raises
    ------
    InputError
        If a header cannot be read or is of no volume, or two volumes have the same name.
    """
    origins: dict[str, Path] = {}
    scans = []
    for path, below in zip(paths, name_files(source.paths, paths), strict=True):
        name = below[: below.lower().rindex(".nii")]
        if name in origins:
            raise InputError(
                f"two volumes have the name {name!r}, {origins[name]} and {path}: leave one of "
                "them out"
            )
        origins[name] = path
        scans.append(_scan(name, path, source.scaled))
    return scans


def _scan(name: str, path: Path, scaled: bool) -> Scan:
    with _opened(path) as image:
        stored, shape = image.get_data_dtype(), image.shape
        values = cast("ArrayProxy", image.dataobj)
        plain = not scaled or (values.slope, values.inter) == (1, 0)
        orders = _orders(path, image)
        sides = image.header.get_zooms()[:3]
    if len(shape) < 3 or math.prod(shape) != math.prod(shape[:3]) or math.prod(shape) < 1:
        sizes = "×".join(map(str, shape))
        raise InputError(
            f"{path} has {sizes} values, which is no volume: save each in its own file"
        )
    if math.prod(shape) > LARGEST:
        raise InputError(f"{path} has {math.prod(shape):,} voxels: at most {LARGEST:,} can be used")
    if stored.kind not in "iuf":
        raise InputError(f"{path} has values of type {stored}: save whole or real numbers")
    dtype = stored.newbyteorder("=") if plain and stored.kind in "iu" else np.dtype(np.float32)
    spacing = np.ones(3)
    spacing[orders[:, 0].astype(int)] = sides
    z, y, x = (float(side) for side in spacing[::-1])
    return Scan(name, dtype, (z, y, x), partial(_read, path, dtype, scaled))


def _read(path: Path, dtype: np.dtype[Any], scaled: bool) -> NDArray[Any]:
    from nibabel.orientations import apply_orientation

    with _opened(path) as image:
        stored = cast("ArrayProxy", image.dataobj)
        values = np.asanyarray(stored) if scaled else stored.get_unscaled()
        turned = apply_orientation(values.reshape(image.shape[:3]), _orders(path, image))
        return np.array(turned.T, dtype, order="C")


def _orders(path: Path, image: "Nifti1Image") -> NDArray[np.float64]:
    """Return for each axis of the file which one of right, front and up it is, and its sense."""
    from nibabel.orientations import io_orientation

    orders = np.asarray(io_orientation(image.affine))
    if np.isnan(orders).any():
        raise InputError(f"{path} does not say how its axes lie: repair the matrix in its header")
    return orders


@contextmanager
def _opened(path: Path) -> "Iterator[Nifti1Image]":
    """Open a file, and turn what goes wrong with it into one sentence."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    with explained(path, "NIfTI"):
        try:
            image = nibabel.load(path)
            if not isinstance(image, nibabel.Nifti1Image):
                raise ValueError("it is of another format")
            yield image
        except (ImageFileError, HeaderDataError) as error:
            raise ValueError(str(error)) from error
