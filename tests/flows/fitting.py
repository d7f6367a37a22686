"""A flow of the stages that go wide; the processes of a cluster import it by this name."""

from typing import Any

from pipeline import TINY
from prefect import flow

from flows.era5 import era5
from flows.task_runner import WORKERS
from storage.references import Reference
from tasks.acquire import Acquisition, acquire
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare import PrepareERA5, prepare

__all__ = ["fitted", "plainly_fitted"]


def _fitted(run: Any) -> dict[str, Reference]:
    p = era5.validate_parameters(dict(TINY))
    raw = run(acquire)("tiny", Acquisition(source=p["source"]))
    prepared = PrepareERA5(source=p["source"], preparation=p["preparation"])
    signals = run(prepare)("tiny", prepared, raw=raw)
    network = run(metalearn)("tiny", p["metalearn"], signals=signals)
    functaset = run(fit_all)("tiny", p["fit"], signals=signals, network=network)
    return {"signals": signals, "network": network, "functaset": functaset}


@flow(task_runner=WORKERS)
def fitted() -> dict[str, Reference]:
    """Prepare and fit where FUNCTORY_WORKERS says."""
    return _fitted(lambda stage: stage)


def plainly_fitted() -> dict[str, Reference]:
    """Prepare and fit in this process, one chunk after the other."""
    return _fitted(lambda stage: stage.plain)
