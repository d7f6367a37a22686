"""A signal set of a record: its months, and how it goes on where it was left off."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from functory.errors import InputError
from functory.signals import signal_variables
from functory.sources.era5 import open_raw
from functory.sources.era5_record import CdsRecord, Month, Piece, months_of
from functory.sources.preparation import Preparation, check_values
from functory.sources.regridding import regrid

__all__ = ["NEW", "continued", "month_chunk", "months_in", "open_pieces", "versions_of"]

NEW = "new"
"""The split of months that came after the base network: they neither train nor test it."""


def open_pieces(source: CdsRecord, pieces: Sequence[Piece], paths: Sequence[Path]) -> xr.Dataset:
    """Open the fields of some pieces lazily, as `open_raw` does."""
    fields = open_raw(source.part(pieces[0].year, pieces[0].months), paths)
    return fields.drop_vars("expver", errors="ignore")  # GRIB files are opened without it


def versions_of(source: CdsRecord, pieces: Sequence[Piece]) -> xr.Variable:
    """Return the `expver` of each field of a record: 1 for ERA5, 5 for ERA5T."""
    preliminary = {(piece.year, month) for piece in pieces for month in piece.preliminary}
    months = [5 if month in preliminary else 1 for month in months_of(pieces)]
    attributes = {
        "long_name": "version of the experiment; ERA5T is preliminary",
        "flag_values": [1, 5],
        "flag_meanings": "ERA5 ERA5T",
    }
    return xr.Variable("time", np.repeat(months, len(source.hours)), attributes)


def month_chunk(signals: xr.Dataset) -> int:
    """Return how many fields a month has, which is how a record's signal set is chunked."""
    return int(signals[signal_variables(signals)[0]].encoding["chunks"][0])


def months_in(fields: xr.Dataset | xr.DataArray) -> list[Month]:
    """Return the month of each field."""
    times = fields["time"].dt
    return list(zip(times.year.values.tolist(), times.month.values.tolist(), strict=True))


def continued(
    signals: xr.Dataset, source: CdsRecord, raw: xr.Dataset, config: Preparation, length: int
) -> tuple[xr.Dataset, dict[int, xr.Dataset]]:
    """Prepare months that are added to a signal set, or replace what it has of them.

    Parameters
    ----------
    signals
        The signal set so far; its grid, variables and normalisation stay.
    raw
        All fields of some months.
    length
        How many months the record has now.

    Returns
    -------
    tuple
        The coordinates of the whole signal set, and the fields of each month of `raw` by its number
        in the record, from 0; months that are added are in the split `new`.

    Raises
    ------
    InputError
        If values are missing where the mask does not allow it, or variables or grid have changed.
    """
    fields = regrid(raw, config.regrid).load()
    _require_alike(signals, fields)
    for variable in fields.data_vars.values():
        check_values(variable, config.mask)
    period, before = len(source.hours), signals.sizes["time"]
    times = np.full(length * period, np.datetime64("NaT"), signals["time"].dtype)
    times[:before] = signals["time"].values
    split = np.full(length * period, NEW, dtype=object)
    split[:before] = signals["split"].values
    numbers = np.array([(y - source.first_year) * 12 + m - 1 for y, m in months_in(fields)])
    months = {int(n): fields.isel(time=np.flatnonzero(numbers == n)) for n in np.unique(numbers)}
    for number, month in months.items():
        times[number * period : (number + 1) * period] = month["time"].values
    whole = xr.Dataset(
        coords={
            "time": ("time", times, signals["time"].attrs),
            "split": ("time", split),
            "latitude": signals["latitude"],
            "longitude": signals["longitude"],
        },
        attrs=signals.attrs,
    )
    for coordinate in whole.variables.values():
        coordinate.encoding = {}
    return whole, months


def _require_alike(signals: xr.Dataset, fields: xr.Dataset) -> None:
    before, now = sorted(signal_variables(signals)), sorted(map(str, fields.data_vars))
    if before != now:
        raise InputError(
            f"The new months have the variables {', '.join(now)}, but the signal set has "
            f"{', '.join(before)}; begin a record of another name with them."
        )
    for axis in ("latitude", "longitude"):
        if not np.array_equal(signals[axis], fields[axis]):
            raise InputError(
                f"The {axis} of the new months, {_extent(fields[axis])}, is not that of the signal "
                f"set, {_extent(signals[axis])}; begin a record of another name with them."
            )


def _extent(axis: xr.DataArray) -> str:
    return f"{axis.size} from {float(axis[0]):g} to {float(axis[-1]):g}"
