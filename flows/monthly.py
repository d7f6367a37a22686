"""The flow `era5` as a service: a record of ERA5 that every run brings up to date."""

from prefect import flow
from prefect.context import FlowRunContext
from pydantic import BaseModel

from flows.task_runner import WORKERS
from functory.drift import Drift
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.models.flow_prior import FlowTraining
from functory.sources.era5_record import CdsRecord
from functory.sources.preparation import Preparation
from storage.references import Name, Record, Reference
from tasks.acquire_record import Holdings, keep_pieces, look, pieces_of
from tasks.artifacts import show_refresh
from tasks.metalearn import metalearn as learn
from tasks.prior import prior as train_prior
from tasks.record_functaset import begin_functaset, extend_functaset
from tasks.record_signals import PrepareRecord, begin_signals, extend_signals
from tasks.refresh import Refreshing, begun_with, drifted, judge, newest_state
from tasks.stage import Stage

__all__ = ["era5"]


@flow(name="era5", flow_run_name="{name}", task_runner=WORKERS)
def era5(
    name: Name,
    source: CdsRecord,
    preparation: Preparation = Preparation(),
    metalearn: MetaLearning = MetaLearning(),
    fit: Fitting = Fitting(),
    prior: FlowTraining = FlowTraining(),
    drift: Drift = Drift(),
) -> Reference:
    """Bring a record of ERA5, its functaset and their models up to date.

    The first run downloads all that there is and learns from it. Later runs add the months that
    came since, and replace those that were preliminary, with the network as it is; only where a new
    month is unlike those that it was tested on is everything learned anew.

    Args:
        name: What all results are called in the store.
        source: What is asked for of every month, and the year in which the record begins.
        preparation: Grid, split (by years, so that whole months test) and normalisation.
        metalearn: The base network and how it is learned.
        fit: How all signals are fitted.
        prior: The flow prior and its training.
        drift: When a new month counts as unlike those that tested.
    """
    config = Refreshing(
        source=source,
        preparation=preparation,
        metalearn=metalearn,
        fit=fit,
        prior=prior,
        drift=drift,
    )
    state = newest_state(name, source)
    raw = _acquire(name, source, state)
    if state is None or not begun_with(state, config):
        refreshed = _begin(name, config, raw)
    else:
        refreshed = _extend(name, config, raw, state)
        if drifted(refreshed):
            refreshed = _begin(name, config, raw)
    show_refresh(refreshed)
    return refreshed


def _acquire(name: str, source: CdsRecord, state: Record | None) -> Reference:
    """Return the raw files of all months that there are now; the same where there is no change."""
    known = None if state is None else state.parents["raw"]
    there = () if known is None else pieces_of(known)
    pieces = (look if FlowRunContext.get() else look.fn)(source, there)
    if known is not None and pieces == there:
        return known
    shared = {} if known is None else {"known": known}
    return _run(keep_pieces, name, Holdings(source=source, pieces=pieces), **shared)


def _begin(name: str, config: Refreshing, raw: Reference) -> Reference:
    """Learn from the whole record; what has been done of it already is found again."""
    preparation = PrepareRecord(source=config.source, preparation=config.preparation)
    signals = _run(begin_signals, name, preparation, raw=raw)
    network = _run(learn, name, config.metalearn, signals=signals)
    functaset = _run(begin_functaset, name, config.fit, signals=signals, network=network)
    prior = _run(train_prior, name, config.prior, functaset=functaset)
    return _run(
        judge,
        name,
        config,
        raw=raw,
        signals=signals,
        network=network,
        functaset=functaset,
        prior=prior,
    )


def _extend(name: str, config: Refreshing, raw: Reference, state: Record) -> Reference:
    """Add what is new to signals and functaset, with the models as they are, and judge it."""
    now = state.parents | {"raw": raw}
    if raw.digest != state.parents["raw"].digest:
        preparation = PrepareRecord(source=config.source, preparation=config.preparation)
        now["signals"] = _run(
            extend_signals, name, preparation, signals=state.parents["signals"], raw=raw
        )
    if now["signals"].digest != state.parents["signals"].digest:
        now["functaset"] = _run(
            extend_functaset,
            name,
            config.fit,
            functaset=state.parents["functaset"],
            signals=now["signals"],
            network=state.parents["network"],
        )
    return _run(judge, name, config, **now)


def _run(stage: Stage, name: str, config: BaseModel, **inputs: Reference) -> Reference:
    """Run a stage as a task of the flow's run, or as it is where there is none."""
    return (stage if FlowRunContext.get() else stage.plain)(name, config, **inputs)
