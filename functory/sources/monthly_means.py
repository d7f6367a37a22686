"""Means of a long record by month and hour of the day, in bounded memory."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from functory.sources.zarr_record import Record, read

__all__ = ["fields_as_they_are", "monthly_means"]


def monthly_means(record: Record, span: NDArray[np.intp]) -> xr.Dataset:
    """Return the mean of each hour over the days of a month, at the first of the month."""
    # Block after block: a month of the full grid is 3 GB, its means 0.1.
    total, count, skipped = np.zeros((span.shape[1], *record.field.shape[1:])), 0, []
    for block in record.blocks(span):
        values, gaps = read(record, block)
        total += values[~gaps].sum(axis=0, dtype=np.float64)
        count += int(np.count_nonzero(~gaps))
        skipped.append(block[gaps])
    stamps = span[0] if count else span[0, :0]
    return _dataset(record, stamps, total[: len(stamps)] / max(count, 1), np.concatenate(skipped))


def fields_as_they_are(record: Record, span: NDArray[np.intp]) -> xr.Dataset:
    """Return the fields of some days as they are."""
    values, gaps = read(record, span)
    kept = values[~gaps].reshape(-1, *values.shape[2:])
    return _dataset(record, span[~gaps].ravel(), kept, span[gaps])


def _dataset(
    record: Record,
    stamps: NDArray[np.intp],
    values: NDArray[Any],
    skipped: NDArray[np.intp],
) -> xr.Dataset:
    field = record.field
    coords = {name: (name, field[name].values) for name in ("latitude", "longitude")}
    days = [f"{record.times[day[0]]:%Y-%m-%d}" for day in skipped]
    return xr.Dataset(
        {str(field.name): (field.dims, values.astype(np.float32), field.attrs)},
        {"time": ("time", record.times[stamps].values), **coords},
        {"skipped_days": " ".join(days)} if days else {},
    )
