"""NetCDF and Zarr: opened lazily, and written part after part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from functory.errors import InputError

__all__ = ["are_signals", "in_parts", "open_arrays", "write_netcdf", "write_zarr"]

CLIMATE_ONLY = ("modality", "sample_dimension", "mask", "functory_schema", "time_units")
"""Attributes that files of climate fields do without: every program knows what these are."""
PARTS_FROM = 2**25  # bytes from which a variable is read in parts


def open_arrays(path: Path) -> xr.Dataset:
    """Open a NetCDF file or a Zarr folder; nothing but coordinates is read.

    Attributes are texts, numbers and lists of them; others are left out.

    Raises
    ------
    InputError
        If it is damaged or of another format.
    """
    try:
        if path.is_dir():
            dataset = xr.open_zarr(path, chunks=None, consolidated=False)
        else:
            dataset = xr.open_dataset(path, engine="netcdf4")
    except Exception as error:  # libraries raise all sorts on bytes that they cannot read
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        kind = "Zarr" if path.suffix.lower() == ".zarr" else "NetCDF"
        raise InputError(f"{path} cannot be read as {kind}: {reason}") from error
    for described in (dataset, *dataset.variables.values()):
        described.attrs = _plain(described.attrs)
    return dataset


def are_signals(dataset: xr.Dataset) -> bool:
    """Tell whether a Dataset says of itself what its signals are."""
    return "modality" in dataset.attrs and dataset.attrs.get("sample_dimension") in dataset.dims


def in_parts(dataset: xr.Dataset) -> xr.Dataset:
    """Make large variables lazy that are not yet, so that they are computed in parts."""
    large = {
        name: array.chunk("auto")
        for name, array in dataset.data_vars.items()
        if array.chunks is None and array.nbytes > PARTS_FROM and array.dtype.kind in "biuf"
    }
    return dataset.assign(large)


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a new NetCDF-4 file, uncompressed, whose floats are float32."""
    prepared = _prepared(dataset)
    # Coordinates have no gaps (CF 1.11, section 2.5.1).
    encoding = {name: {"_FillValue": None} for name in prepared.coords} | _times(dataset)
    prepared.to_netcdf(path, mode="w", format="NETCDF4", engine="netcdf4", encoding=encoding)


def write_zarr(dataset: xr.Dataset, path: Path) -> None:
    """Write a new Zarr v3 folder, whose floats are float32."""
    prepared = _prepared(dataset)
    for name, array in list(prepared.variables.items()):
        if array.dtype.kind == "U":  # Zarr v3 has no texts of fixed length
            prepared[name] = array.astype(object)
        elif array.chunks is not None:  # Zarr's chunks are all of one size
            chunks = {dim: max(sizes) for dim, sizes in array.chunksizes.items()}
            prepared[name] = prepared[name].chunk(chunks)
    prepared.to_zarr(path, mode="w-", zarr_format=3, consolidated=False, encoding=_times(dataset))


def _prepared(dataset: xr.Dataset) -> xr.Dataset:
    """Return a Dataset as it is written: without what only readers of its source need to know."""
    prepared = in_parts(dataset).drop_encoding()
    floats = {n: a.astype(np.float32) for n, a in prepared.data_vars.items() if a.dtype.kind == "f"}
    prepared = prepared.assign(floats)
    if dataset.attrs.get("modality") == "climate":
        prepared.attrs = {n: v for n, v in dataset.attrs.items() if n not in CLIMATE_ONLY}
    return prepared


def _times(dataset: xr.Dataset) -> dict[Any, dict[str, Any]]:
    """Return how times are written, where the file that they are from told it."""
    if "time" in dataset.coords and "time_units" in dataset.attrs:
        return {"time": {"units": dataset.attrs["time_units"]}}
    return {}


def _plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes as texts, numbers and lists of them; others are left out."""
    found: dict[str, Any] = {}
    for name, value in attributes.items():
        values = np.asarray(value)
        if values.ndim > 1 or values.dtype.kind not in "Uiuf":
            continue
        if values.dtype.kind != "f" or np.isfinite(values).all():
            found[str(name)] = values.tolist()
    return found
