"""A small record that refreshes are tried on: what it is asked with, and what it leaves."""

import multiprocessing
import os
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from cds_server import Month
from mortal import CHANGES, WRITING

from flows.monthly import era5
from storage.references import Record, Reference
from storage.versions import Store

__all__ = ["KINDS", "RECORD", "months", "newest", "refresh", "start_mortal"]

KINDS = ("raw", "signals", "networks", "functasets", "priors", "refreshes")

RECORD: dict[str, Any] = {
    "name": "record",
    "source": {"kind": "cds", "first_year": 2019, "hours": [0, 12]},
    "preparation": {"split": {"method": "year", "test": [2020]}},
    "metalearn": {
        "network": {"latents": 4, "width": 16, "depth": 3, "omega_0": 10},
        "solver": {"kind": "gauss-newton"},
        "tangent": {"steps": 20},
        "optimisation": {"steps": 20, "batch": 8, "rate": 1e-3, "evaluate_every": 10},
    },
    "fit": {"steps": 2},
    "prior": {
        "flow": {"layers": 2, "width": 16, "dropout": 0.1},
        "optimisation": {"steps": 20, "batch": 8, "rate": 1e-3, "warmup": 2, "evaluate_every": 10},
    },
}


def refresh(**changes: Any) -> Reference:
    """Run the flow's function without Prefect."""
    return era5.fn(**era5.validate_parameters(RECORD | changes))  # type: ignore[no-any-return]


def months(count: int) -> list[Month]:
    """Return the first months of the record."""
    return [(2019 + i // 12, i % 12 + 1) for i in range(count)]


def newest(store: Store) -> dict[str, Record]:
    """Return the newest version of each kind."""
    return {record.reference.kind: record for record in store.records(name="record")}


def start_mortal(store: Path, death: int) -> ForkServerProcess:
    """Start a process that refreshes, and is killed before it changes a file so many times.

    With 0, it lives.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.monthly", "torch._dynamo"])  # once, for it takes long
    process = context.Process(
        target=_live, args=(store, death, {k: os.environ[k] for k in ("CDSAPI_URL", "CDSAPI_KEY")})
    )
    process.start()
    return process


def _live(store: Path, death: int, credentials: dict[str, str]) -> None:
    os.environ |= credentials | {"FUNCTORY_STORE": str(store)}
    left = death

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITING):
            left -= str(arguments[0]).startswith(str(store))
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)
    refresh()
