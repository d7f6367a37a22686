"""A record of ERA5 in a Zarr store: opened without an account, brought to one layout."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from functory.errors import FunctoryError, InputError, SourceUnavailable
from functory.sources.climate_variables import SHORT_NAMES

__all__ = ["Record", "open_record", "read"]

CHUNK = 32 * 2**20  # bytes read at once, or a day where it has more
DESCRIPTIONS = ("long_name", "standard_name")  # attributes that stay
LISTED = 40  # variables that an error names, of some hundred

# Short name and units in the archive; the stores of coarser grids state neither.
NAMES = {
    "2m_temperature": ("t2m", "K"),
    "2m_dewpoint_temperature": ("d2m", "K"),
    "skin_temperature": ("skt", "K"),
    "sea_surface_temperature": ("sst", "K"),
    "mean_sea_level_pressure": ("msl", "Pa"),
    "surface_pressure": ("sp", "Pa"),
    "10m_u_component_of_wind": ("u10", "m s**-1"),
    "10m_v_component_of_wind": ("v10", "m s**-1"),
    "100m_u_component_of_wind": ("u100", "m s**-1"),
    "100m_v_component_of_wind": ("v100", "m s**-1"),
    "total_precipitation": ("tp", "m"),
    "total_cloud_cover": ("tcc", "(0 - 1)"),
    "total_column_water_vapour": ("tcwv", "kg m**-2"),
    "sea_ice_cover": ("siconc", "(0 - 1)"),
}
ANONYMOUS: dict[str, dict[str, Any]] = {
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
    "s3": {"anon": True},
}


@dataclass(frozen=True)
class Record:
    """One variable of a store, nothing of its values read yet."""

    url: str
    field: xr.DataArray
    """(time, latitude, longitude) under its short name, north first, east from 0."""
    first: pd.Timestamp
    """Where the record begins, as the store says: its times may begin long before."""
    last: pd.Timestamp
    """Where it ends, the final data alone: not the preliminary ones (ERA5T)."""

    @property
    def times(self) -> pd.DatetimeIndex:
        """All times that the store has room for."""
        return pd.DatetimeIndex(self.field.indexes["time"])

    @property
    def hours(self) -> tuple[int, ...]:
        """The hours of the day that there are fields of."""
        return tuple(int(hour) for hour in np.unique(self.times.hour))

    @property
    def name(self) -> str:
        """Name for messages."""
        return f"{self.field.name} in {self.url}"

    def positions(self, year: int, month: int, hours: tuple[int, ...]) -> NDArray[np.intp] | None:
        """Return where the fields of a month are, as (day, hour); None where it is not complete."""
        begin = pd.Timestamp(year, month, 1)
        days = pd.date_range(begin, periods=begin.days_in_month)
        stamps = days.values[:, None] + np.array(hours, "timedelta64[h]")
        positions = self.times.get_indexer(pd.DatetimeIndex(stamps.ravel()))
        if (positions < 0).any() or stamps[0, 0] < self.first or stamps[-1, -1] > self.last:
            return None
        return positions.reshape(stamps.shape)

    def blocks(self, positions: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Split days into what is read at once: bounded memory, but chunks of the store whole."""
        day = positions.shape[1] * self.field[0].nbytes
        stored = self.field.encoding.get("preferred_chunks", {}).get("time", 1)
        step = max(1, CHUNK // day, stored // len(self.hours))
        return [positions[start : start + step] for start in range(0, len(positions), step)]


def open_record(url: str, variable: str) -> Record:
    """Find a variable, by its long or its short name, in a store at any address of fsspec's.

    Raises
    ------
    SourceUnavailable
        What may pass: no connection, an overloaded server.
    InputError
        What will not: no such store or variable, a grid that is not regular.
    """
    protocol = urlsplit(url).scheme
    address = url if protocol else str(Path(url).expanduser())
    with _explained(url), warnings.catch_warnings():
        # A store without consolidated metadata opens from a disk; elsewhere it has no variables.
        warnings.filterwarnings("ignore", message=".*consolidated")
        opened = xr.open_zarr(address, chunks=None, storage_options=ANONYMOUS.get(protocol))
    field = _find(opened, variable, url)
    limits = [_limit(opened, name, url) for name in ("valid_time_start", "valid_time_stop")]
    first, last = field.indexes["time"].min(), field.indexes["time"].max()
    return Record(
        url,
        _in_layout(field),
        first if limits[0] is None else max(first, limits[0].start_time),
        last if limits[1] is None else min(last, limits[1].end_time),
    )


def read(record: Record, positions: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Read the fields of some days, and say which days have gaps.

    A day has a gap where a field of it has no value at all: its chunks are missing from the store,
    whatever the metadata say.

    Parameters
    ----------
    positions
        Where the fields are, as (day, hour).

    Returns
    -------
    values
        (day, hour, latitude, longitude).
    gaps
        Whether each day has a gap.
    """
    with _explained(record.url):
        fields = record.field.isel(time=positions.ravel()).values.astype(np.float32, copy=False)
    # Missing chunks read as the fill value of the store, which need not be NaN.
    empty = ((fields == fields[:, :1, :1]) | np.isnan(fields)).all(axis=(1, 2))
    values = fields.reshape(*positions.shape, *fields.shape[1:])
    return values, empty.reshape(positions.shape).any(axis=1)


def _find(opened: xr.Dataset, variable: str, url: str) -> xr.DataArray:
    """Return the field that a name means, under its short name and with its units."""
    opened = opened.rename({a: b for a, b in SHORT_NAMES.items() if a in opened.dims})
    dims = {"time", "latitude", "longitude"}
    found = {str(n): field for n, field in opened.data_vars.items() if dims == set(field.dims)}
    wanted = {variable, NAMES.get(variable, (variable,))[0]}
    chosen = next((name for name in found if wanted & {name, _known(found[name])[0]}), None)
    if chosen is None:
        names = [*sorted(found)[:LISTED], *(["…"] if len(found) > LISTED else [])]
        raise InputError(
            f"{url} has no variable {variable!r} of (time, latitude, longitude): set `variable` to "
            f"one of those that it has ({', '.join(names) or 'none'})"
        )
    field = found[chosen]
    if dims - set(field.indexes) or not isinstance(field.indexes["time"], pd.DatetimeIndex):
        raise InputError(
            f"{chosen} in {url} lacks times of the standard calendar, latitudes or longitudes: "
            "choose a store on a regular grid"
        )
    if not len(field["time"]) or not field.indexes["time"].is_unique:
        raise InputError(f"{chosen} in {url} has no times or some of them twice: choose another")
    short, units = _known(field)
    kept = {name: field.attrs[name] for name in DESCRIPTIONS if name in field.attrs}
    field.attrs = kept | ({"units": units} if units else {})
    return field.rename(short)


def _known(field: xr.DataArray) -> tuple[str, str]:
    """Return the short name and the units that a store states, or those of the archive."""
    short, units = NAMES.get(str(field.name), (str(field.name), ""))
    return str(field.attrs.get("short_name", short)), str(field.attrs.get("units", units))


def _in_layout(field: xr.DataArray) -> xr.DataArray:
    """Return a field as (time, latitude, longitude), north first, east from 0, still lazily."""
    field = field.transpose("time", "latitude", "longitude")
    field["longitude"] = np.round(field["longitude"].values.astype(np.float64), 6) % 360
    for name, sign in (("latitude", -1), ("longitude", 1)):
        order = np.argsort(sign * field[name].values, kind="stable")
        places = np.arange(len(order))
        if np.array_equal(order, places[::-1]):
            field = field.isel({name: slice(None, None, -1)})  # the usual case, read as it lies
        elif not np.array_equal(order, places):
            field = field.isel({name: order})
    return field


def _limit(opened: xr.Dataset, name: str, url: str) -> pd.Period | None:
    """Return the day, or the hour, that a store says its record begins or ends with."""
    text = opened.attrs.get(name)
    if text is None:
        return None
    try:
        return pd.Period(str(text))
    except ValueError as error:
        raise InputError(f"{url} says {name} {text!r}, which is no date: choose another") from error


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """Make one sentence of what reading a store raises: each protocol has its own errors."""
    try:
        yield
    except (FunctoryError, MemoryError):
        raise
    except Exception as error:
        # aiohttp's and gcsfs's name for the HTTP status.
        status = getattr(error, "status", None) or getattr(error, "code", None)
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, ImportError) or "Protocol not known" in reason:
            raise InputError(
                f"{url} cannot be opened ({reason}): install what that names, or give an https "
                "address (the one of gs://NAME is https://storage.googleapis.com/NAME)"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise InputError(f"there is no Zarr store at {url}: correct the address") from error
        if isinstance(error, PermissionError) or status in (401, 403):
            raise InputError(
                f"{url} is not open to everybody ({reason}): choose a public store, or copy it to "
                "a disk of yours"
            ) from error
        if isinstance(status, int) and 400 <= status < 500 and status not in (408, 429):
            raise InputError(
                f"{url} cannot be asked for ({reason}): correct the address"
            ) from error
        raise SourceUnavailable(
            f"{url} cannot be reached or broke off ({type(error).__name__}: {reason}): check the "
            "address and the network, or try again later"
        ) from error
