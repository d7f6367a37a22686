"""One variable of a file of climate data, brought to canonical form."""

from collections.abc import Hashable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from functory.errors import InputError

__all__ = ["canonical", "reorder"]

CHUNK = 32 * 2**20  # bytes: a few fields of 721 x 1440
SHORT_NAMES = {"lat": "latitude", "lon": "longitude"}


def canonical(
    field: xr.DataArray,
    select: Mapping[str, float | int | str],
    units: Mapping[str, str],
    where: str,
) -> xr.DataArray:
    """Return a variable as lazy float32 (time, latitude, longitude) on canonical coordinates.

    Times stay in their order, latitudes run from north to south and longitudes ascend without a
    gap. Chunks run along time.

    Parameters
    ----------
    select
        The label to take of each further dimension.
    units
        Units that variables must be in, by name.
    where
        The variable and its file, for messages.

    Raises
    ------
    InputError
        If the grid is not regular, dimensions remain, or times or units are not as they must be.
    """
    field = field.rename({a: b for a, b in SHORT_NAMES.items() if a in field.dims})
    if not {"latitude", "longitude"} <= set(field.dims) & set(field.coords):
        raise InputError(
            f"{where} has the dimensions {', '.join(map(str, field.dims))}: only regular "
            "latitude-longitude grids can be read, so bring it to one first"
        )
    for dim, label in select.items():
        field = _choose(field, dim, label, where)
    single = [name for name, size in field.sizes.items() if size == 1]
    field = field.squeeze([name for name in single if name not in ("latitude", "longitude")])
    times = _times(field, where)
    field = _combine_versions(_chunk(field, times.dims))
    further = [d for d in field.dims if d not in ("latitude", "longitude", *times.dims)]
    if further:
        listed = "; ".join(f"{dim}: {_listing(_labels(field, dim))}" for dim in further)
        raise InputError(f"{where} has further dimensions, select one label of each ({listed})")
    columns, longitude = _unwrap(field["longitude"].values.astype(np.float64))
    field = reorder(field, "latitude", np.argsort(-field["latitude"].values))
    field = reorder(field, "longitude", columns)
    data = field.transpose(*times.dims, "latitude", "longitude").data.astype(np.float32)
    coords: dict[str, Any] = {
        "time": ("time", times.values.reshape(-1), {"standard_name": "time"}),
        "latitude": (
            "latitude",
            field["latitude"].values.astype(np.float64),
            {"units": "degrees_north", "standard_name": "latitude"},
        ),
        "longitude": (
            "longitude",
            longitude,
            {"units": "degrees_east", "standard_name": "longitude"},
        ),
    }
    version = field.coords.get("expver")
    if version is not None:
        names = np.char.zfill(version.values.astype(str), 4)
        coords["expver"] = ("time", np.broadcast_to(names, times.size))
    return xr.DataArray(
        data if times.dims else data[None],
        coords,
        ("time", "latitude", "longitude"),
        attrs=_attributes(field, units, where),
    )


def reorder(field: xr.DataArray, dim: str, order: NDArray[np.intp]) -> xr.DataArray:
    """Return the elements along a dimension in the order of the given indices."""
    # Taking every element in place would still copy every chunk.
    same = np.array_equal(order, np.arange(field.sizes[dim]))
    return field if same else field.isel({dim: order})


def _choose(field: xr.DataArray, dim: str, label: float | int | str, where: str) -> xr.DataArray:
    """Select exactly one label of a dimension; a scalar coordinate must have it already."""
    if dim not in field.dims and not (dim in field.coords and field[dim].ndim == 0):
        others = [str(name) for name in field.dims if name not in ("latitude", "longitude")]
        raise InputError(f"{where} has no dimension {dim!r} to select from: {', '.join(others)}")
    labels = _labels(field, dim)
    if labels.dtype.kind in "iuf" and not isinstance(label, str):
        found = np.flatnonzero(np.isclose(labels, label, rtol=1e-6))
    else:
        found = np.flatnonzero(labels.astype(str) == str(label))
    if not found.size:
        raise InputError(f"{where} has no {dim} {label!r}: select one of {_listing(labels)}")
    return field.isel({dim: int(found[0])}) if dim in field.dims else field


def _labels(field: xr.DataArray, dim: Hashable) -> NDArray[Any]:
    labels = np.atleast_1d(field[dim].values)
    return labels / np.timedelta64(1, "h") if labels.dtype.kind == "m" else labels


def _listing(labels: NDArray[Any]) -> str:
    shown = [str(label) for label in labels[:20]]
    return ", ".join([*shown, "…"] if len(labels) > 20 else shown)


def _times(field: xr.DataArray, where: str) -> xr.DataArray:
    """Return the time that each field is valid at: dates along one dimension, or a single one."""
    names: list[Hashable] = [
        n for n in ("valid_time", "time") if n in field.coords and field[n].ndim <= 1
    ]
    # Some files have dates as text beside a time dimension without a coordinate of its own.
    names += [n for n, c in field.coords.items() if c.dims == ("time",) and n != "expver"]
    if not names or not field[names[0]].size:
        raise InputError(f"{where} has no times: add a coordinate 'time'")
    times = field[names[0]]
    if isinstance(times.values.flat[0], str):
        return times.copy(data=pd.to_datetime(times.values).as_unit("ns"))
    if times.dtype.kind not in "MO":
        raise InputError(f"{where} has times that are not dates: add units 'days since ...'")
    return times


def _chunk(field: xr.DataArray, along: Sequence[Hashable]) -> xr.DataArray:
    """Make a field lazy: chunks along time of whole chunks of the file, about `CHUNK` bytes."""
    chunks: dict[Hashable, int] = dict.fromkeys(field.dims, -1)
    for dim in along:
        fit = max(1, CHUNK * field.sizes[dim] // field.nbytes)
        stored = field.encoding.get("preferred_chunks", {}).get(dim, 1)
        chunks[dim] = fit - fit % stored or fit
    return field.chunk(chunks)


def _combine_versions(field: xr.DataArray) -> xr.DataArray:
    """Fill the final data (expver 1) with the preliminary (5) where these are a dimension."""
    if "expver" not in field.dims:
        return field
    ordered = field.sortby("expver")
    versions = [ordered.isel(expver=i, drop=True) for i in range(field.sizes["expver"])]
    return reduce(xr.DataArray.fillna, versions).assign_attrs(field.attrs)


def _unwrap(longitude: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the order of the columns and their longitudes, ascending and without a gap."""
    # Rounding keeps -1e-14 from becoming 360; a column given at both 0 and 360 is taken once.
    circle, order = np.unique(np.round(longitude, 6) % 360, return_index=True)
    gaps = np.diff(circle, append=circle[0] + 360)
    widest = int(np.argmax(gaps))
    if gaps[widest] < 1.5 * np.median(gaps):
        return order, circle
    start = (widest + 1) % len(circle)
    unwrapped = np.roll(circle, -start)
    unwrapped[len(circle) - start :] += 360
    return np.roll(order, -start), unwrapped - 360 * (unwrapped[0] >= 180)


def _attributes(field: xr.DataArray, units: Mapping[str, str], where: str) -> dict[str, str]:
    found = {
        name: str(field.attrs[name])
        for name in ("units", "long_name", "standard_name")
        if name in field.attrs
    }
    declared = units.get(str(field.name))
    if declared is not None and found.setdefault("units", declared) != declared:
        raise InputError(
            f"{where} is in {found['units']} but the configuration says {declared}: correct the "
            "configured units or convert the file"
        )
    return found
