"""The signal set of a record: begun with all months that there are, and extended by later ones."""

from typing import Any

import numpy as np
import xarray as xr

from functory.configuration import Config
from functory.signals import signal_variables
from functory.sources.era5_record import CdsRecord, Piece
from functory.sources.preparation import Preparation, prepare_fields
from functory.sources.record_signals import continued, months_in, open_pieces, versions_of
from functory.sources.signal_sets import open_signals
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.acquire_record import pieces_in
from tasks.shared_chunks import share_chunks
from tasks.stage import Outcome, Work, stage
from tasks.workers import dask_workers

__all__ = ["PrepareRecord", "begin_signals", "extend_signals"]


class PrepareRecord(Config):
    """What is prepared, and how."""

    source: CdsRecord
    """What was asked for of every month."""
    preparation: Preparation
    """Grid, split, normalisation and mask."""


@stage("signals", version=1)
def begin_signals(work: Work, config: PrepareRecord, raw: Reference) -> Outcome:
    """Prepare all months of a record, a chunk for each, so that it can be extended."""
    folder = work.path(raw)
    pieces = pieces_in(folder)
    opened = open_pieces(config.source, pieces, raw_files(folder))
    opened = opened.assign_coords(expver=versions_of(config.source, pieces))
    opened.attrs["licence"] = work.licence(raw)
    period = len(config.source.hours)
    with dask_workers():
        signals = prepare_fields(opened, config.preparation, work.result, period)
    summary = {
        **_counts(signals),
        "grid": [signals.sizes["latitude"], signals.sizes["longitude"]],
        "variables": signal_variables(signals),
    }
    return Outcome(work.licence(raw), summary)


@stage("signals", version=1)
def extend_signals(
    work: Work, config: PrepareRecord, signals: Reference, raw: Reference
) -> Outcome:
    """Add months to a signal set, or replace them; it shares all others with the earlier version.

    Grid and normalisation stay as they were when the record was begun.
    """
    earlier = work.record(signals)
    before, pieces = (pieces_in(work.path(r)) for r in (earlier.parents["raw"], raw))
    known = {_contents(piece) for piece in before}
    changed = {
        piece: path
        for piece, path in zip(pieces, raw_files(work.path(raw)), strict=True)
        if _contents(piece) not in known
    }
    opened = open_pieces(config.source, list(changed), list(changed.values()))
    length = sum(len(piece.months) for piece in pieces)
    whole, months = continued(
        open_signals(work.path(signals)), config.source, opened, config.preparation, length
    )
    whole = whole.assign_coords(expver=versions_of(config.source, pieces))
    whole.to_zarr(work.result, zarr_format=3, consolidated=False, mode="w-")
    period = len(config.source.hours)
    for name in map(str, opened.data_vars):
        array = share_chunks(
            work.path(signals), earlier, work.result, name, length * period, months
        )
        for number, fields in months.items():
            array[number * period : (number + 1) * period] = fields[name].values
    written = [f"{year}-{month:02d}" for year, month in sorted(set(months_in(opened)))]
    return Outcome(work.licence(raw), earlier.summary | _counts(whole) | {"written": written})


def _contents(piece: Piece) -> tuple[int, tuple[int, ...], str]:
    return piece.year, piece.months, piece.sha256


def _counts(signals: xr.Dataset) -> dict[str, Any]:
    splits, counts = np.unique(signals["split"].values, return_counts=True)
    return {
        "signals": signals.sizes["time"],
        "splits": dict(zip(map(str, splits), counts.tolist(), strict=True)),
    }
