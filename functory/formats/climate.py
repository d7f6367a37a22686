"""Climate fields of NetCDF, Zarr and GRIB as a signal set that is coded."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from functory.errors import InputError
from functory.formats.arrays import are_signals, in_parts, open_arrays
from functory.sources.climate_files import FilesSource, open_files
from functory.sources.climate_variables import SHORT_NAMES

__all__ = ["GRIB_SUFFIXES", "read_arrays", "read_grib"]

GRIB_SUFFIXES = (".grib", ".grib2", ".grb", ".grb2")
AXES = ("time", "latitude", "longitude")


def read_arrays(
    path: Path, variables: Sequence[str] | None, select: Mapping[str, float | int | str]
) -> xr.Dataset:
    """Read NetCDF or Zarr: climate fields in canonical form, or signals that say what they are.

    Fields are float32 (time, latitude, longitude) as of `climate_files`, with the attributes of
    the file and its coordinates of a single value.

    Raises
    ------
    InputError
        If the file is damaged, has no such variable or further dimensions, or its grid is not
        regular in latitude and longitude.
    """
    file = open_arrays(path)
    if are_signals(file):
        chosen = list(variables or map(str, file.data_vars))
        if select or not set(chosen) <= set(file.data_vars):
            there = ", ".join(map(str, file.data_vars))
            raise InputError(f"{path} has the signals {there}: take of these, and select no label.")
        return in_parts(file[chosen])
    with file:
        names = variables or [str(name) for name in file.data_vars if _is_field(file[name])]
        if not names:
            there = ", ".join(map(str, file.data_vars)) or "no variable"
            raise InputError(f"{path} has no variable on latitudes and longitudes: it has {there}.")
        return _described(_open(path, names, select), file)


def read_grib(
    path: Path, variables: Sequence[str] | None, select: Mapping[str, float | int | str]
) -> xr.Dataset:
    """Read GRIB: climate fields in canonical form, with their units and names.

    Raises
    ------
    InputError
        As `read_arrays`.
    """
    return _described(_open(path, variables or _grib_variables(path), select), xr.Dataset())


def _grib_variables(path: Path) -> list[str]:
    from cfgrib.dataset import open_fileindex
    from cfgrib.messages import FileStream

    try:
        index = open_fileindex(FileStream(str(path)), indexpath="", index_keys=["cfVarName"])
        return [str(name) for name in index["cfVarName"]]
    except Exception as error:  # cfgrib raises all sorts on bytes that it cannot read
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as GRIB: {reason}") from error


def _open(path: Path, names: Sequence[str], select: Mapping[str, float | int | str]) -> xr.Dataset:
    source = FilesSource(paths=(str(path),), variables=tuple(names), select=dict(select))
    return open_files(source, [path])


def _is_field(array: xr.DataArray) -> bool:
    dims = {SHORT_NAMES.get(str(name), str(name)) for name in array.dims}
    return array.dtype.kind in "iuf" and {"latitude", "longitude"} <= dims


def _described(fields: xr.Dataset, file: xr.Dataset) -> xr.Dataset:
    """Add to canonical fields what else their file tells of them."""
    for name, array in fields.data_vars.items():
        if name in file:
            array.attrs = file[name].attrs | array.attrs
    for name, axis in file.coords.items():
        known = SHORT_NAMES.get(str(name), str(name))
        if known in AXES and axis.dims == (name,):
            told = {k: v for k, v in axis.attrs.items() if k not in ("bounds", "units")}
            fields[known].attrs = told | fields[known].attrs
        elif axis.ndim == 0 and known not in fields.coords and axis.dtype.kind in "biufUM":
            plain = axis.drop_vars(list(axis.coords)).compute()
            fields = fields.assign_coords({known: plain.assign_attrs(axis.attrs)})
    fields.attrs = {
        **file.attrs,
        "modality": "climate",
        "sample_dimension": "time",
        "mask": "none",
    }
    for name in ("time", "valid_time"):  # of two, times are those at which fields are valid
        if name in file.coords and "units" in file[name].encoding:
            fields.attrs["time_units"] = str(file[name].encoding["units"])
    return fields
