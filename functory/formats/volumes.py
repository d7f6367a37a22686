"""Volumes in NIfTI files, such as MRI, with where they lie in space."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from functory.errors import InputError
from functory.formats.pieces import PIECE, gather, only_variable, whole_numbers

if TYPE_CHECKING:
    from nibabel import Nifti1Image

__all__ = ["read_volume", "write_volume"]

DEFLATE_RATIO = 1032
"""What deflate can shrink bytes by, at most."""
UNITS = {"mm": "mm", "meter": "m", "micron": "um", "unknown": "mm"}


def read_volume(path: Path) -> xr.Dataset:
    """Read NIfTI as `volume(sample, z, y, x)`, float32, where x is the first axis of the file.

    Of four dimensions, the last (time) has the samples. The coordinates are distances from the
    first voxel along the axes of the file, in its units. The attributes are those of its header:
    `affine` (16 numbers, row by row, from indices of voxels to space), `zooms` (of x, y, z and
    time), `xyzt_units`, `dtype`, `scl_slope` and `scl_inter` (from stored numbers to values),
    `qform_code` and `sform_code` (what space is meant) and `description`.

    Raises
    ------
    InputError
        If the file is damaged, truncated, or has other than three or four dimensions of numbers;
        when values are computed, also if some are not finite.
    """
    with _explained(path):
        image = _load(path)
        header, shape = image.header, image.shape
        zooms = [float(zoom) for zoom in header.get_zooms()]
        units = header.get_xyzt_units()
        attributes = _attributes(image)
    if not all(np.isfinite(zooms)) or min(zooms[:3]) <= 0:
        raise InputError(f"{path} has voxels of {zooms[:3]} in size: mend its header.")
    samples, (x, y, z) = shape[3] if len(shape) == 4 else 1, shape[:3]
    rows = max(1, min(z, PIECE // (x * y)))
    heights = (rows,) * (z // rows) + ((z % rows,) if z % rows else ())
    values = da.map_blocks(
        partial(_read_slab, path),
        chunks=((1,) * samples, heights, (y,), (x,)),
        dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32),
    )
    coordinates = {
        axis: (axis, np.arange(count) * zoom, {"units": UNITS.get(units[0], "mm")})
        for axis, count, zoom in zip("xyz", shape, zooms, strict=False)
    }
    return xr.Dataset(
        {"volume": (("sample", "z", "y", "x"), values, {"long_name": "intensity", "units": "1"})},
        coordinates,
        {
            "modality": "volume",
            "sample_dimension": "sample",
            "mask": "none",
            "zooms": zooms,
            "xyzt_units": list(units),
            **attributes,
        },
    )


def write_volume(dataset: xr.Dataset, path: Path) -> None:
    """Write NIfTI with the header that the attributes tell of, or float32 where they tell none.

    The affine follows the coordinates: a volume may have been decoded on a finer grid than its
    own, or in part.
    """
    import nibabel

    attributes = dataset.attrs
    zooms = list(attributes.get("zooms", (1.0, 1.0, 1.0)))
    most = 1 if len(zooms) == 3 else None
    array = only_variable(dataset, "volume", ("z", "y", "x"), path, most)
    affine, zooms[:3] = _placed(dataset, zooms)
    dtype = np.dtype(attributes.get("dtype", "float32"))
    slope, inter = (float(attributes.get(f"scl_{k}", d)) for k, d in (("slope", 1), ("inter", 0)))

    def stored(values: NDArray[Any]) -> NDArray[Any]:
        if (slope, inter) != (1, 0):
            values = (values.astype(np.float64) - inter) / slope
        return values.astype(dtype) if dtype.kind == "f" else whole_numbers(values, dtype)

    numbers = gather(array, "z", stored, dtype).T
    image = nibabel.Nifti1Image(
        numbers if len(zooms) == 4 else numbers[..., 0], affine, dtype=dtype
    )
    header = image.header
    image.set_sform(affine, int(attributes.get("sform_code", 2)))
    image.set_qform(affine, int(attributes.get("qform_code", 0)))
    header.set_zooms(zooms)  # a qform has set them as well
    header.set_xyzt_units(*attributes.get("xyzt_units", ("mm", "unknown")))
    header["descrip"] = str(attributes.get("description", "")).encode()[:79]
    if (slope, inter) != (1, 0):
        header.set_slope_inter(slope, inter)
    nibabel.save(image, path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of damaged headers and bytes, the library raises all sorts
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as NIfTI: {reason}") from error


def _load(path: Path) -> "Nifti1Image":
    """Open a file and check by its header that there is what can be read."""
    import nibabel

    image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):
        raise InputError(f"{path} is no NIfTI file: convert it.")
    dtype, shape = image.get_data_dtype(), image.shape
    if dtype.kind not in "iuf" or len(shape) not in (3, 4) or min(shape) < 1:
        raise InputError(
            f"{path} has {dtype} of the shape {shape}: only plain numbers of three or four "
            "dimensions can be read."
        )
    packed = path.name.lower().endswith(".gz")
    told = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if told > path.stat().st_size * (DEFLATE_RATIO if packed else 1):
        raise InputError(f"{path} is truncated: its header tells of {told} bytes of voxels.")
    return image


def _attributes(image: "Nifti1Image") -> dict[str, Any]:
    """Return what is kept of a header, as texts and numbers."""
    header, affine = image.header, np.asarray(image.affine, np.float64)
    scaling: Any = image.dataobj
    if not np.isfinite(affine).all():
        raise InputError("its affine has numbers that are not finite: mend its header")
    # A qform that tells of another space than the affine cannot be kept beside it.
    same = np.allclose(header.get_qform(), affine, atol=1e-4)
    return {
        "affine": affine.ravel().tolist(),
        "dtype": image.get_data_dtype().name,
        "scl_slope": float(scaling.slope),
        "scl_inter": float(scaling.inter),
        "qform_code": int(header["qform_code"]) if same else 0,
        "sform_code": int(header["sform_code"]),
        "description": bytes(header["descrip"]).rstrip(b"\0").decode("ascii", "replace"),
    }


def _read_slab(path: Path, block_info: Any = None) -> NDArray[np.float32]:
    """Return some slices of a volume, (1, z, y, x)."""
    (sample, _), (start, stop), *_ = block_info[None]["array-location"]
    with _explained(path):
        image = _load(path)
        volume = (sample,) if len(image.shape) == 4 else ()
        stored = image.dataobj[(slice(None), slice(None), slice(start, stop), *volume)]
    values = np.asarray(stored, np.float32).T[None]
    finite = np.isfinite(values)
    if not finite.all():
        _, z, y, x = np.unravel_index(int(np.argmin(finite)), values.shape)
        raise InputError(
            f"{path} has values that are not finite, the first at the voxel ({x}, {y}, "
            f"{start + z}): replace them."
        )
    return values


def _placed(dataset: xr.Dataset, zooms: list[float]) -> tuple[NDArray[np.float64], list[float]]:
    """Return the affine and the zooms of x, y and z of the grid on which a volume now is."""
    affine = np.array(dataset.attrs.get("affine", np.eye(4).ravel()), np.float64).reshape(4, 4)
    change = np.eye(4)
    for row, axis in enumerate("xyz"):
        if axis not in dataset.coords:
            continue
        places = dataset[axis].values / zooms[row]  # in the file's own indices
        change[row, 3] = places[0]
        if len(places) > 1:
            change[row, row] = (places[-1] - places[0]) / (len(places) - 1)
    if np.allclose(change, np.eye(4), atol=1e-6):
        return affine, zooms[:3]
    return affine @ change, [
        float(abs(s) * z) for s, z in zip(np.diag(change), zooms, strict=False)
    ]
