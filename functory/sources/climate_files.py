"""Gridded climate data as people have them: GRIB, NetCDF and Zarr files brought to one form."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import eccodes
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr
from cfgrib.dataset import open_fileindex
from cfgrib.messages import FileStream
from pydantic import BeforeValidator, Field
from scipy.io import netcdf_file

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.climate_variables import canonical, reorder

__all__ = ["FilesSource", "check_units", "find_files", "open_files"]

GRID_TOLERANCE = 1e-4  # degrees: longitudes in float32 are no better than 2e-5
FORMATS = {
    b"GRIB": "GRIB",
    b"\x89HDF": "NetCDF-4",
    b"CDF\x01": "NetCDF-3",
    b"CDF\x02": "NetCDF-3",
    b"CDF\x05": "CDF-5",
}

Strings = Annotated[
    tuple[str, ...],
    BeforeValidator(
        lambda value: (value,) if isinstance(value, str) else value,
        json_schema_input_type=str | tuple[str, ...],
    ),
    Field(min_length=1),
]


class FilesSource(Config):
    """Fields on a regular latitude-longitude grid, in files that the user has."""

    kind: Literal["files"] = "files"
    paths: Strings
    """Files, globs or Zarr folders; a single one may be given as it is."""
    variables: Strings = ("t2m",)
    """Names as xarray shows them; several become channels."""
    select: dict[str, float | int | str] = Field(default_factory=dict)
    """The label to take of each further dimension, such as level or member (steps in hours)."""
    units: dict[str, str] = Field(default_factory=dict)
    """Units that the variables must be in; a variable not named here keeps what its files say."""
    attribution: str = ""
    """Licence and attribution of the data."""


def find_files(source: FilesSource) -> list[Path]:
    """Return the files that the paths and globs of the source name, sorted."""
    found: set[Path] = set()
    for pattern in source.paths:
        expanded = str(Path(pattern).expanduser())
        matches = [expanded] if Path(expanded).exists() else glob.glob(expanded, recursive=True)
        # cfgrib leaves its indexes (FILE.grib.HASH.idx) where a glob for the GRIB files finds them.
        files = {Path(match) for match in matches if not match.endswith(".idx")}
        if not files:
            raise InputError(f"no such file: nothing matches {pattern!r} in {Path.cwd()}")
        found |= files
    return sorted(found)


def open_files(source: FilesSource, paths: Sequence[Path]) -> xr.Dataset:
    """Return the variables of the files as one lazy dataset in canonical form.

    Every variable is float32 (time, latitude, longitude) with its units and names: times ascending,
    latitudes from north to south, longitudes ascending without a gap (from 0 where they close the
    circle, else beginning in -180..180). A coordinate `expver` along time is kept. Chunks run along
    time, each within one file. A variable may be spread over files along time, and different
    variables may be in different files.
    """
    opened = {path: _open(path, source) for path in paths}
    _check_alike([(path, field) for path, fields in opened.items() for field in fields.values()])
    joined: dict[str, xr.DataArray] = {}
    for name in source.variables:
        parts = {path: fields[name] for path, fields in opened.items() if name in fields}
        if not parts:
            raise InputError(f"none of the {len(opened)} files has the variable {name!r}")
        joined[name] = _join(name, parts)
    first, *others = joined
    times = joined[first].indexes["time"]
    for other in others:
        odd = times.symmetric_difference(joined[other].indexes["time"])
        if len(odd):
            raise InputError(
                f"{first!r} and {other!r} are not given at the same times: {len(odd)} times, "
                f"the first of them {odd[0]}, are in the files of one only"
            )
    return xr.Dataset(
        {name: (field.dims, field.data, field.attrs) for name, field in joined.items()},
        joined[first].coords,
        {"attribution": source.attribution},
    )


def check_units(dataset: xr.Dataset) -> None:
    """Refuse a variable declared in kelvin whose first, middle or last field goes below 100."""
    for name, field in dataset.data_vars.items():
        if str(field.attrs.get("units")).lower() not in ("k", "kelvin"):
            continue
        count = field.sizes["time"]
        sample = field.isel(time=sorted({0, count // 2, count - 1})).values
        seen = sample[np.isfinite(sample)]
        if seen.size and seen.min() < 100:
            raise InputError(
                f"{name!r} is declared in K but has values from {seen.min():.1f} to "
                f"{seen.max():.1f}, as in degrees Celsius: correct the values or their units"
            )


# The bytes of one file


def _open(path: Path, source: FilesSource) -> dict[str, xr.DataArray]:
    """Return the requested variables that a file has, in canonical form."""
    kind = _format(path)
    try:
        variables, names = _decode(path, kind, source)
    except Exception as error:  # libraries raise all sorts on bytes that they cannot read
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as {kind}: {reason}") from error
    found = [name for name in source.variables if name in variables]
    if not found:
        wanted = " or ".join(repr(name) for name in source.variables)
        raise InputError(f"{path} has no variable {wanted}: it has {', '.join(sorted(names))}")
    return {
        name: canonical(variables[name], source.select, source.units, f"{name!r} of {path}")
        for name in found
    }


def _format(path: Path) -> str:
    if path.is_dir():
        if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            return "Zarr"
        raise InputError(f"{path} is a folder but no Zarr store: name the files in it, or a glob")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be opened: {error.strerror}") from error
    if magic == b"PK\x03\x04":
        raise InputError(f"{path} is a zip archive: unpack it and name the files in it")
    if magic not in FORMATS:
        raise InputError(f"{path} is neither GRIB, NetCDF nor Zarr: it begins with {magic!r}")
    return FORMATS[magic]


def _decode(
    path: Path, kind: str, source: FilesSource
) -> tuple[Mapping[Any, xr.DataArray], Iterable[str]]:
    """Return variables of a file, not loaded, and the names of all that it has."""
    if kind == "GRIB":
        _check_grib(path)
        opened = {name: _decode_grib(path, name, source) for name in source.variables}
        fields = {name: field for name, field in opened.items() if field is not None}
        if fields:
            return fields, fields
        index = open_fileindex(FileStream(str(path)), indexpath="", index_keys=["cfVarName"])
        return fields, index["cfVarName"]
    if kind == "Zarr":
        dataset = xr.open_zarr(path, chunks=None, consolidated=False)
    else:
        if kind == "NetCDF-3":
            _check_netcdf(path)
        # By default the library keeps up to 64 MiB of decoded chunks of each of 128 open files;
        # nothing here is read twice.
        netCDF4.set_chunk_cache(2**20)
        dataset = xr.open_dataset(path, engine="netcdf4")
    return dataset.data_vars, map(str, dataset.data_vars)


def _decode_grib(path: Path, name: str, source: FilesSource) -> xr.DataArray | None:
    # errors="raise": by default cfgrib leaves out, with a warning, what it cannot fit in.
    options: dict[str, Any] = {
        "indexpath": "",
        "errors": "raise",
        "filter_by_keys": {"cfVarName": name},
    }
    field = xr.open_dataset(path, engine="cfgrib", backend_kwargs=options).get(name)
    if field is None or not {"time", "step"} <= set(field.dims) - set(source.select):
        return field
    if not pd.Index(field["valid_time"].values.ravel()).is_unique:
        return field
    # Accumulations come as several steps from each start that never overlap: plainly hours.
    options["time_dims"] = ("valid_time",)
    return xr.open_dataset(path, engine="cfgrib", backend_kwargs=options)[name]


def _check_grib(path: Path) -> None:
    """Raise unless messages and zero padding fill the file: cfgrib skips a broken message."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 2**16))
        if not file.read().rstrip(b"\0").endswith(b"7777"):
            raise ValueError("truncated, it does not end with the end of a message")
        messages = eccodes.codes_extract_offsets_sizes(str(path), eccodes.CODES_PRODUCT_GRIB)
        end = 0
        for offset, length in [*messages, (size, 0)]:
            file.seek(end)
            if file.read(offset - end).strip(b"\0"):
                raise ValueError(f"damaged, no whole message begins at byte {end}")
            end = offset + length


def _check_netcdf(path: Path) -> None:
    """Raise if a classic file is shorter than its header says: the NetCDF library reads zeros."""
    try:
        netcdf_file(path, mmap=True).close()
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError("truncated or damaged, its header tells of more data") from error


# Several files


def _check_alike(parts: Sequence[tuple[Path, xr.DataArray]]) -> None:
    """Refuse files on different grids or calendars."""
    reference, first = parts[0]
    for path, field in parts[1:]:
        sizes = [f"{f.sizes['latitude']} x {f.sizes['longitude']}" for f in (first, field)]
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{reference} has {sizes[0]} latitudes x longitudes and {path} has {sizes[1]}: "
                "bring them to one grid first, or open them apart"
            )
        for name in ("latitude", "longitude"):
            one, other = first[name].values, field[name].values
            off = np.flatnonzero(np.abs(one - other) > GRID_TOLERANCE)
            if off.size:
                raise InputError(
                    f"{reference} and {path} are on different grids, {name} number {off[0]} is "
                    f"{one[off[0]]:g} in one and {other[off[0]]:g} in the other: bring them to one "
                    "grid first, or open them apart"
                )
        calendars = [f["time"].dt.calendar for f in (first, field)]
        if calendars[0] != calendars[1]:
            raise InputError(
                f"{reference} has the calendar {calendars[0]} and {path} has {calendars[1]}: "
                "open them apart"
            )


def _join(name: str, parts: Mapping[Path, xr.DataArray]) -> xr.DataArray:
    """Concatenate the parts of one variable along time; a field given twice is taken once."""
    paths = sorted(parts, key=lambda path: parts[path]["time"].values[0])
    units = {str(part.attrs.get("units")): path for path, part in parts.items()}
    if len(units) > 1:
        listed = ", ".join(f"{unit} in {path}" for unit, path in units.items())
        raise InputError(f"{name!r} is in different units ({listed}): convert the files to one")
    fields = [parts[path] for path in paths]
    if not all("expver" in field.coords for field in fields):
        fields = [field.drop_vars("expver", errors="ignore") for field in fields]
    joined = xr.concat(
        fields,
        "time",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    owners = np.repeat(np.arange(len(paths)), [field.sizes["time"] for field in fields])
    order = np.argsort(joined["time"].values, kind="stable")
    times = joined["time"].values[order]
    again = np.flatnonzero(times[1:] == times[:-1]) + 1
    if again.size:
        pairs = joined.data[order[again - 1]], joined.data[order[again]]
        same = ((pairs[0] == pairs[1]) | np.isnan(pairs[0]) & np.isnan(pairs[1])).all(axis=(1, 2))
        for index in again[~same.compute()]:
            files = " and ".join(str(paths[owners[order[i]]]) for i in (index - 1, index))
            raise InputError(
                f"{name!r} is given twice, with different values, for {times[index]} ({files}): "
                "leave one of them out"
            )
    kept = np.delete(order, again)
    return reorder(joined, "time", kept)
