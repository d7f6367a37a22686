"""The state of a record after a refresh: its versions, and whether later months have drifted."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from functory.configuration import Config
from functory.drift import MEASURES, Drift, monthly_means, probability_of_lower
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.models.flow_prior import FlowPrior, FlowTraining
from functory.sources.era5_record import CdsRecord
from functory.sources.preparation import Preparation
from functory.sources.record_signals import NEW, month_chunk
from functory.sources.signal_sets import open_signals
from storage.priors import read_prior
from storage.references import Record, Reference
from storage.versions import Store
from tasks.stage import Outcome, Work, stage, summary_of

__all__ = ["Refreshing", "begun_with", "drifted", "judge", "newest_state", "read_state"]


STATE = "state.json"


class Refreshing(Config):
    """All that a record and its models depend on."""

    source: CdsRecord
    """What is asked for of every month."""
    preparation: Preparation
    """Grid, split and normalisation."""
    metalearn: MetaLearning
    """The base network and how it is learned."""
    fit: Fitting
    """How signals are fitted."""
    prior: FlowTraining
    """The flow prior and its training."""
    drift: Drift
    """When later months count as other than the tested ones."""


def newest_state(name: str, source: CdsRecord) -> Record | None:
    """Return the newest state of a record, if it is of this source.

    The versions that it consists of are its parents: raw, signals, network, functaset and prior.
    """
    records = Store.default().records("refreshes", name)
    if not records or records[-1].configuration["source"] != source.model_dump(mode="json"):
        return None
    return records[-1]


def begun_with(state: Record, config: Refreshing) -> bool:
    """Tell whether a record's models were made with this configuration, but for how it judges."""
    made = config.model_dump(mode="json", exclude={"drift"})
    return {name: state.configuration[name] for name in made} == made


def drifted(state: Reference) -> bool:
    """Tell whether a month of a state has drifted."""
    return bool(summary_of(state)["drifted"])


def read_state(state: Reference) -> dict[str, Any]:
    """Return what a state of the default store says of its months: `tested`, and `months` since."""
    found: dict[str, Any] = json.loads((Store.default().path(state) / STATE).read_text())
    return found


@dataclass(frozen=True)
class _Months:
    """What is known of the months of a split: their names, and the mean of each measure."""

    labels: list[str]
    means: dict[str, np.ndarray]

    def rows(self) -> list[dict[str, Any]]:
        """Return them as a table."""
        return [
            {"month": label, **{name: float(mean[i]) for name, mean in self.means.items()}}
            for i, label in enumerate(self.labels)
        ]


@stage("refreshes", version=1)
def judge(
    work: Work,
    config: Refreshing,
    raw: Reference,
    signals: Reference,
    network: Reference,
    functaset: Reference,
    prior: Reference,
) -> Outcome:
    """Compare the months since the network was learned with those that it was tested on."""
    dataset = xr.open_zarr(work.path(functaset), chunks=None)
    period = month_chunk(open_signals(work.path(signals)))
    flow, _ = read_prior(work.path(prior))
    tested, later = (_measure(dataset, split, period, flow) for split in ("test", NEW))
    judged = {
        name: probability_of_lower(tested.means[name], later.means[name]) for name in MEASURES
    }
    failed = np.any([judged[name] <= config.drift.level for name in MEASURES], axis=0)
    rows = [
        row
        | {f"{name}_probability": float(judged[name][i]) for name in MEASURES}
        | {"drifted": bool(failed[i])}
        for i, row in enumerate(later.rows())
    ]
    state = {
        "functaset": functaset.digest,
        "prior": prior.digest,
        "false_alarms": config.drift.false_alarms,
        "tested": tested.rows(),
        "months": rows,
    }
    work.result.mkdir(parents=True)
    (work.result / STATE).write_text(json.dumps(state, indent=1))
    drifting = [row["month"] for row in rows if row["drifted"]]
    return Outcome(work.licence(functaset), {"judged": len(rows), "drifted": drifting})


def _measure(functaset: xr.Dataset, split: str, period: int, flow: FlowPrior) -> _Months:
    """Measure the months of a split; where it has only some fields of a month, by these."""
    chosen = np.flatnonzero(functaset["split"].values == split)
    months = chosen // period
    stored = functaset["modulation"][chosen].values  # the chunks of other months are not read
    phi = torch.from_numpy(stored.reshape(len(chosen), math.prod(stored.shape[1:])))
    with torch.no_grad():
        bits = flow.bits_per_dimension(phi) if len(phi) else phi.new_zeros(0)
    values = {"psnr": functaset["psnr"].values[chosen], "log2_likelihood": -bits.numpy()}
    times = functaset["time"].values[np.unique(months) * period]
    return _Months(
        labels=[str(time)[:7] for time in times],
        means={name: monthly_means(values[name].astype(float), months) for name in MEASURES},
    )
