"""Faults at chosen moments of a run, brought about by the hook in its process."""

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installation import HOOK, until
from pipeline import STAGES

__all__ = ["Stage", "Undisturbed", "drawn", "environment", "log_of", "met"]

SEED = 7


@dataclass(frozen=True)
class Stage:
    """What a stage of the undisturbed run took: changes of files, and seconds."""

    changes: int
    seconds: float


@dataclass(frozen=True)
class Undisturbed:
    """The run that all others are compared with."""

    store: Path
    digests: dict[str, str]
    stages: dict[str, Stage]

    def moment(self, stage: str, *salt: object) -> dict[str, Any]:
        """Draw a moment of a stage: a change of files, or a time."""
        number, draw = STAGES.index(stage), drawn(stage, *salt)
        if draw.random() < 0.5:
            return {"stage": number, "change": draw.randint(1, self.stages[stage].changes)}
        return {"stage": number, "seconds": draw.uniform(0, self.stages[stage].seconds)}

    def change(self, stage: str, *salt: object) -> int:
        """Draw a change of files in the first half of a stage: some are to come."""
        return drawn(stage, *salt).randint(1, self.stages[stage].changes // 2)


def drawn(*salt: object) -> random.Random:
    """Return the generator of one fault: the same in every session."""
    return random.Random(f"{SEED} {salt}")


def log_of(store: Path) -> Path:
    """Return the file in which the hook notes what happened; its disk is not the store's."""
    return store.parent.with_name(f"{store.parent.name}.log")


def environment(store: Path, *faults: dict[str, Any], **more: str) -> dict[str, str]:
    """Return the environment of a run on a store, with faults to come."""
    return {
        "FUNCTORY_STORE": str(store),
        "PYTHONPATH": f"{HOOK}:{os.environ.get('PYTHONPATH', '')}",
        "FAULT_LOG": str(log_of(store)),
        "FAULTS": json.dumps(faults),
        **more,
    }


def met(store: Path, times: int = 1) -> None:
    """Wait until runs on a store have met so many faults."""
    log = log_of(store)
    until(
        lambda: log.exists() and log.read_text().count("fault ") >= times,
        what=f"fault {times} in {log.name}",
    )
