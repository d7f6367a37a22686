"""What the Climate Data Store answers with, unpacked and compared with what was asked."""

import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import eccodes
import numpy as np
import pandas as pd
import xarray as xr

from functory.errors import FunctoryError, InputError, SourceUnavailable

Stamp = tuple[int, int, int | None]
"""Year, month and hour of a monthly mean. Its day means nothing: the mean of a forecast for 00 to
06 UTC is stamped with the second day of the month."""

MAGIC = {
    b"GRIB": "grib",
    b"CDF": "netcdf",
    b"\x89HDF\r\n\x1a\n": "netcdf",
    b"PK\x03\x04": "zip",
}

MOST_PARTS = 64
PRELIMINARY = "0005"
"""The `expver` of ERA5T, which the final ERA5 (0001) replaces two or three months later."""

LEAST_UNPACKED_LIMIT = 2**30
"""Bytes that a zip may always unpack to; a larger one to 20 times its own size at most, for the
NetCDF inside is compressed already."""


@dataclass(frozen=True)
class Expected:
    """What one year's answer has to hold; `hours` is None for products without hours."""

    year: int
    months: tuple[int, ...]
    hours: tuple[int, ...] | None
    variables: tuple[str, ...]
    area: tuple[float, float, float, float] | None
    data_format: Literal["grib", "netcdf"]

    @property
    def stamps(self) -> set[Stamp]:
        """Year, month and hour of every field of a variable."""
        return {(self.year, month, hour) for month in self.months for hour in self.hours or (None,)}


def unpack(answer: Path, expected: Expected) -> Path:
    """Return the file of data in an answer: itself, or what its zip holds, merged into one.

    Raises
    ------
    SourceUnavailable
        Where it is no data at all, or damaged.
    InputError
        Where it is data of another format, or cannot be one file.
    """
    parts = _unzip(answer, expected.year) if _format(answer) == "zip" else [answer]
    for part in parts:
        found = _format(part)
        if found is None:
            raise SourceUnavailable(
                f"the CDS answered for {expected.year} with neither GRIB nor NetCDF (it begins "
                f"with {_start(part)!r}): try again later"
            )
        if found != expected.data_format:
            raise InputError(
                f"the CDS answered for {expected.year} in {found} where {expected.data_format} "
                "was asked: change data_format"
            )
    if len(parts) == 1:
        return parts[0]
    if expected.data_format == "grib":
        raise InputError(
            f"the CDS answered for {expected.year} with {len(parts)} GRIB files: ask for fewer "
            "variables at once"
        )
    return _merge(parts, answer.with_name("merged.nc"), expected)


def require_expected(path: Path, expected: Expected) -> tuple[int, ...]:
    """Refuse a file whose variables, times or area are not those asked for.

    Returns
    -------
    tuple
        The months that hold preliminary values.

    Raises
    ------
    SourceUnavailable
        Where the file cannot be read.
    InputError
        Where it holds something else than it should.
    """
    read = _grib_contents if expected.data_format == "grib" else _netcdf_contents
    with _readable(expected.year):
        found = read(path, expected.hours is not None)
    _require_times(found.stamps, expected)
    for latitude, longitude in found.grids:
        if not _covers(latitude, longitude, expected.area or (90, -180, -90, 180)):
            raise InputError(
                f"the answer for {expected.year} spans latitudes {latitude.min():g} to "
                f"{latitude.max():g} and longitudes {longitude.min():g} to {longitude.max():g}, "
                f"not the area {expected.area or 'of the globe'}: correct `area`"
            )
    return tuple(sorted(found.preliminary))


def _format(path: Path) -> str | None:
    start = _start(path)
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), None)


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(16)


@contextmanager
def _readable(year: int) -> Iterator[None]:
    """Call a file that the libraries cannot read damaged, whatever they raise."""
    try:
        yield
    except FunctoryError:
        raise
    except (OSError, RuntimeError, ValueError, LookupError, eccodes.CodesInternalError) as error:
        raise SourceUnavailable(
            f"the file that the CDS gave for {year} cannot be read ({error}): try again later"
        ) from error


def _unzip(archive: Path, year: int) -> list[Path]:
    """Unpack next to the archive, under names of our own: those inside are never used as paths."""
    limit = max(LEAST_UNPACKED_LIMIT, 20 * archive.stat().st_size)
    parts = []
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            size = sum(member.file_size for member in members)
            if not 0 < len(members) <= MOST_PARTS or size > limit:
                raise InputError(
                    f"the zip that the CDS gave for {year} holds {len(members)} files of {size} "
                    "bytes, which no answer to this request does: ask for fewer variables at once"
                )
            for number, member in enumerate(members):
                part = archive.with_name(f"part-{number}")
                with opened.open(member) as packed, part.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                parts.append(part)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceUnavailable(
            f"the zip that the CDS gave for {year} is damaged ({error}): try again later"
        ) from error
    return parts


def _merge(parts: list[Path], target: Path, expected: Expected) -> Path:
    """Merge the files that the CDS makes of several step types, which differ in the day stamped."""
    with _readable(expected.year):
        opened = [xr.open_dataset(part, engine="netcdf4", chunks={}) for part in parts]
        stamped = [_stamped_alike(dataset, expected.hours is not None) for dataset in opened]
    try:
        merged = xr.merge(stamped, join="exact", compat="override", combine_attrs="override")
        merged.to_netcdf(target, engine="netcdf4")
    except ValueError as error:
        raise InputError(
            f"the CDS answered for {expected.year} with {len(parts)} files whose grids or times "
            "differ: make a source of its own for each kind of variable, or set data_format to "
            "grib"
        ) from error
    finally:
        for dataset in opened:
            dataset.close()
    return target


def _stamped_alike(dataset: xr.Dataset, by_hour: bool) -> xr.Dataset:
    name = "valid_time" if "valid_time" in dataset.dims else "time"
    times = dataset[name].values
    stamps = times.astype("datetime64[M]").astype(times.dtype)
    if by_hour:
        stamps = stamps + (times - times.astype("datetime64[D]"))
    return dataset.assign_coords({name: (name, stamps, dataset[name].attrs)}).sortby(name)


class Contents(NamedTuple):
    """What a file holds: each variable's times, its grids, and which months are preliminary."""

    stamps: dict[str, set[Stamp]]
    grids: list[tuple[np.ndarray, np.ndarray]]
    preliminary: set[int]


def _grib_contents(path: Path, by_hour: bool) -> Contents:
    """Read message by message, which fails on damage that cfgrib would skip.

    Of a field that is there twice, cfgrib takes one and says nothing: they have to be the same.
    """
    stamps: dict[str, set[Stamp]] = defaultdict(set)
    grids, preliminary = {}, set()
    values: dict[tuple[str, Stamp, int], str] = {}
    for message in _messages(path):
        date, time = (eccodes.codes_get(message, f"validity{key}") for key in ("Date", "Time"))
        # Names are unknown of some parameters, their numbers never.
        name, number = (eccodes.codes_get(message, key) for key in ("shortName", "paramId"))
        variable = f"{name} ({number})"
        stamp = (date // 10000, date // 100 % 100, time // 100 if by_hour else None)
        stamps[variable].add(stamp)
        field = variable, stamp, eccodes.codes_get(message, "level")
        digest = eccodes.codes_get(message, "md5DataSection")
        if values.setdefault(field, digest) != digest:
            raise InputError(
                f"the CDS answered with {variable} of {stamp[0]}-{stamp[1]:02} twice, with "
                "different values: run again, and report it to the CDS if it stays so"
            )
        if eccodes.codes_get_string(message, "expver") == PRELIMINARY:
            preliminary.add(date // 100 % 100)
        grid = eccodes.codes_get(message, "md5GridSection")
        if grid not in grids:
            grids[grid] = (
                eccodes.codes_get_array(message, "distinctLatitudes"),
                eccodes.codes_get_array(message, "distinctLongitudes"),
            )
    return Contents(stamps, list(grids.values()), preliminary)


def _messages(path: Path) -> Iterator[int]:
    with path.open("rb") as stream:
        while (message := eccodes.codes_grib_new_from_file(stream)) is not None:
            try:
                yield message
            finally:
                eccodes.codes_release(message)


def _netcdf_contents(path: Path, by_hour: bool) -> Contents:
    stamps, preliminary = {}, set()
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        for name, variable in dataset.data_vars.items():
            if not {"latitude", "longitude"} <= set(variable.dims):
                continue
            time = "valid_time" if "valid_time" in variable.coords else "time"
            times = pd.DatetimeIndex(np.ravel(variable[time].values))
            stamps[str(name)] = {(t.year, t.month, t.hour if by_hour else None) for t in times}
            preliminary |= {int(month) for month in times.month[_preliminary(variable, time)]}
        if not stamps:
            return Contents(stamps, [], preliminary)
        grids = [(dataset["latitude"].values, dataset["longitude"].values)]
        return Contents(stamps, grids, preliminary)


def _preliminary(variable: xr.DataArray, time: str) -> np.ndarray:
    """Tell which times of a variable are preliminary, (times,)."""
    if "expver" not in variable.coords:
        return np.zeros(variable[time].size, bool)
    version = np.char.zfill(variable["expver"].values.astype(str), 4)
    if "expver" not in variable.dims:  # of each time, or one of all
        return np.broadcast_to(version == PRELIMINARY, variable[time].size)
    # how files were converted until 2024: both versions side by side, each with gaps
    final = variable.isel(expver=np.flatnonzero(version != PRELIMINARY))
    missing = final.isnull().all("expver").any(("latitude", "longitude"))
    return np.ravel(missing.values)


def _require_times(found: dict[str, set[Stamp]], expected: Expected) -> None:
    if len(found) != len(expected.variables):
        raise InputError(
            f"the answer for {expected.year} holds {len(found)} variables "
            f"({', '.join(sorted(found)) or 'none'}) where {len(expected.variables)} were asked "
            f"({', '.join(expected.variables)}): check their names in `variables`"
        )
    for name, stamps in found.items():
        years = {year for year, _, _ in stamps}
        if years != {expected.year}:
            raise InputError(
                f"the CDS answered with {name} of {', '.join(map(str, sorted(years)))} where "
                f"{expected.year} was asked: run again, and report it to the CDS if it stays so"
            )
        missing = expected.stamps - stamps
        if missing:
            _, month, hour = min(missing)
            raise InputError(
                f"the answer for {expected.year} lacks {len(missing)} of {len(expected.stamps)} "
                f"fields of {name}, first month {month}{'' if hour is None else f' hour {hour}'}: "
                "leave out of `months` and `hours` what the CDS does not have yet"
            )
        if stamps != expected.stamps:
            raise InputError(
                f"the answer for {expected.year} holds {len(stamps - expected.stamps)} fields of "
                f"{name} that were not asked for: run again, and report it to the CDS if it stays "
                "so"
            )


def _covers(
    latitude: np.ndarray, longitude: np.ndarray, area: tuple[float, float, float, float]
) -> bool:
    """Whether a grid reaches the borders of an area to within its own spacing."""
    north, west, south, east = area
    near = _spacing(latitude)
    if abs(latitude.max() - north) > near or abs(latitude.min() - south) > near:
        return False
    near = _spacing(longitude)
    # Degrees east of the western border; half of what is outside of the area counts as west of it.
    outside = (360 - (east - west)) / 2
    offset = (longitude - west + outside) % 360 - outside
    return bool(abs(offset.min()) <= near and abs(offset.max() - (east - west)) <= near)


def _spacing(coordinate: np.ndarray) -> float:
    """Return the usual distance of neighbours in degrees, a little more for rounding."""
    return 1.001 * float(np.median(np.diff(np.sort(coordinate)))) if coordinate.size > 1 else 0.5
