"""Prepare: from raw files to a signal set."""

import numpy as np

from functory.configuration import Config
from functory.sources.era5 import Source, open_raw
from functory.sources.preparation import Preparation, prepare_fields
from storage.references import Reference
from tasks.acquire import raw_files
from tasks.stage import Outcome, Work, stage
from tasks.workers import dask_workers

__all__ = ["PrepareERA5", "prepare"]


class PrepareERA5(Config):
    """What is prepared, and how."""

    source: Source
    """The source that was acquired: says which variables to read."""
    preparation: Preparation
    """Grid, split, normalisation and mask."""


@stage("signals", version=1)
def prepare(work: Work, config: PrepareERA5, raw: Reference) -> Outcome:
    """Select, check, regrid, split and normalise, a few fields at a time."""
    opened = open_raw(config.source, raw_files(work.path(raw)))
    opened.attrs["licence"] = work.licence(raw)
    with dask_workers():
        signals = prepare_fields(opened, config.preparation, work.result)
        splits, counts = np.unique(signals["split"].values, return_counts=True)
    summary = {
        "signals": signals.sizes["time"],
        "grid": [signals.sizes["latitude"], signals.sizes["longitude"]],
        "splits": dict(zip(map(str, splits), counts.tolist(), strict=True)),
        "variables": list(signals.data_vars),
    }
    return Outcome(work.licence(raw), summary)
