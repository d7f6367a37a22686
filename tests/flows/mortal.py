"""Runs of the tiny main job in processes of their own, which can die at any moment.

A moment is a change of the store's files (before it happens) or a step of an optimiser (after it).
"""

import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

__all__ = ["Moment", "counted", "start", "steps"]

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass(frozen=True)
class Moment:
    """When a process dies: at the n-th (from 1) `change` or `step` of a stage."""

    stage: str
    kind: str
    number: int


def start(
    parameters: dict[str, Any], store: Path, death: Moment | None = None
) -> ForkServerProcess:
    """Start a process that runs the stages one after the other.

    It is forked from a server that has imported the libraries, which take seconds, and nothing
    else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["flows.era5", "torch._dynamo", "matplotlib.backends.backend_agg"]
    )
    process = context.Process(target=_live, args=(parameters, store, death))
    process.start()
    return process


def counted(store: Path) -> dict[str, dict[str, int]]:
    """Return how many moments of each kind an undisturbed run had, by stage."""
    return json.loads(_beside(store, "moments").read_text())


def steps(store: Path) -> Counter[str]:
    """Return how many optimiser steps all runs together have taken, by stage."""
    return Counter(_beside(store, "steps").read_text().split())


def _beside(store: Path, name: str) -> Path:
    return store.with_name(f"{store.name}-{name}")


@dataclass
class _Moments:
    """Counts the moments of a process, and ends it at the last."""

    store: Path
    death: Moment | None
    steps_taken: int
    stage: str = ""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    def begin(self, stage: str) -> None:
        self.stage = stage
        self.counts[stage] = {"change": 0, "step": 0}

    def pass_by(self, kind: str) -> None:
        if not self.stage:
            return
        self.counts[self.stage][kind] += 1
        if self.death == Moment(self.stage, kind, self.counts[self.stage][kind]):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Notice changes of files in the store (an audit hook)."""
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITING):
            path = str(arguments[0])
            # shutil.rmtree names what it removes relative to an open folder
            if path.startswith(str(self.store)) or (
                event in ("os.remove", "os.rmdir") and arguments[-1] != -1
            ):
                self.pass_by("change")

    def on_step(self, *arguments: Any) -> None:
        """Notice a step that an optimiser has taken."""
        os.write(self.steps_taken, f"{self.stage}\n".encode())
        self.pass_by("step")


def _live(parameters: dict[str, Any], store: Path, death: Moment | None) -> None:
    from pipeline import plain
    from torch.optim.optimizer import register_optimizer_step_post_hook

    os.environ["FUNCTORY_STORE"] = str(store)
    steps_taken = os.open(_beside(store, "steps"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    moments = _Moments(store, death, steps_taken)
    register_optimizer_step_post_hook(moments.on_step)
    sys.addaudithook(moments.on_event)
    plain(parameters, moments.begin)
    moments.stage = ""
    _beside(store, "moments").write_text(json.dumps(moments.counts))
