"""Voxels in files: binvox, and arrays of zeros and ones."""

import io
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from trimesh.exchange.binvox import binvox_bytes, parse_binvox
from trimesh.voxel.runlength import dense_to_rle

from functory.errors import InputError
from functory.formats.pieces import gather, only_variable
from functory.sources.binvox import HEADER, LARGEST, read_binvox
from functory.sources.file_reading import explained
from functory.sources.shape_models import Y_UP, Z_UP, Axis, to_zyx

__all__ = ["read_voxels", "write_voxels"]

AXES = {"z": "height", "y": "depth, from front to back", "x": "width, from left to right"}


def read_voxels(path: Path) -> xr.Dataset:
    """Read voxels as `occupancy(sample, z, y, x)`, bool, z up.

    In binvox files y is up, as everywhere in ShapeNet; arrays are [x, y, z]. The coordinates are
    the centres of voxels as shares of each side. The attributes are `translate` and `scale` of a
    binvox file, and `dtype` of an array.

    Raises
    ------
    InputError
        If the file is damaged or too large, or has values other than 0 and 1.
    """
    if path.suffix.lower() == ".binvox":
        occupied, attributes = _read_binvox(path)
    else:
        occupied, attributes = _read_array(path)
    coordinates = {
        axis: (axis, (np.arange(count) + 0.5) / count, {"long_name": AXES[axis], "units": "1"})
        for axis, count in zip(AXES, occupied.shape, strict=True)
    }
    described = {"long_name": "occupancy", "units": "1"}
    return xr.Dataset(
        {"occupancy": (("sample", *AXES), occupied[None], described)},
        coordinates,
        {"modality": "shape", "sample_dimension": "sample", "mask": "none", **attributes},
    )


def write_voxels(dataset: xr.Dataset, path: Path) -> None:
    """Write voxels as binvox or as an array; what is above one half is occupied."""
    array = only_variable(dataset, "occupancy", tuple(AXES), path)[0]
    occupied = gather(array, "z", lambda values: values > 0.5, bool)
    if path.suffix.lower() == ".npy":
        dtype = np.dtype(dataset.attrs.get("dtype", "bool"))
        np.save(path, _from_zyx(occupied, Z_UP).astype(dtype, order="C"), allow_pickle=False)
        return
    if max(occupied.shape) > LARGEST:
        raise InputError(f"{path.name} can hold {LARGEST} voxels a side: write them to .npy.")
    voxels = _from_zyx(occupied, Y_UP)
    runs = dense_to_rle(voxels.transpose(0, 2, 1).ravel(), np.uint8)  # x slowest, y fastest
    translate = dataset.attrs.get("translate", (0.0, 0.0, 0.0))
    path.write_bytes(binvox_bytes(runs, voxels.shape, translate, dataset.attrs.get("scale", 1.0)))


def _read_binvox(path: Path) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    with explained(path, "binvox"), path.open("rb") as file:
        occupied = to_zyx(read_binvox(file, str(path)), Y_UP)
        file.seek(0)
        header = parse_binvox(io.BytesIO(file.read(HEADER)))
        x, y, z = (float(place) for place in header.translate)
    return occupied, {
        "translate": [x, y, z],
        "scale": float(header.scale),
    }


def _read_array(path: Path) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    with explained(path, "npy"):
        try:
            # Not into memory: a header may tell of more than there is.
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except TokenError as error:
            raise ValueError("its header is damaged") from error
        if not isinstance(stored, np.memmap):
            raise ValueError("it is an archive of arrays")
        if stored.ndim != 3 or not 0 < min(stored.shape) <= max(stored.shape) <= LARGEST:
            raise InputError(
                f"{path} has an array of the shape {stored.shape}: voxels have three axes of 1 to "
                f"{LARGEST}."
            )
        if stored.dtype.kind not in "biuf":
            raise InputError(f"{path} has {stored.dtype}: save voxels as bool or uint8.")
        occupied = np.empty(stored.shape, bool)
        for index, plane in enumerate(stored):
            if not ((plane == 0) | (plane == 1)).all():
                raise InputError(
                    f"{path} has values other than 0 and 1 at index {index}: threshold it first."
                )
            occupied[index] = plane
        dtype = stored.dtype.name
    return to_zyx(occupied, Z_UP), {"dtype": dtype}


def _from_zyx(array: NDArray[Any], axes: Sequence[Axis]) -> NDArray[Any]:
    """Return an array (z, y, x) with axes of the given names: the inverse of `to_zyx`."""
    turned = array.transpose(["zyx".index(axis.removeprefix("-")) for axis in axes])
    return turned[tuple(slice(None, None, -1 if axis[0] == "-" else None) for axis in axes)]
