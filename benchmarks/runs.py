"""What the benchmarks of whole paths share: runs with times, their results, published loops."""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.catalogue import find, override
from functory.metalearning.outer import MetaLearning, MetaModel, meta_learn
from functory.signals import Signals, signals_of, split_indices
from functory.sources.signal_sets import open_signals
from storage.networks import read_network
from storage.references import Record, Reference
from storage.versions import Store
from tasks.stage import Stage

PUBLISHED: dict[str, dict[str, Any]] = {
    "COIN++": {
        "solver": {"kind": "gradient-descent", "steps": 3, "step_size": 1e-2},
        "optimisation": {"rate": 5e-4},
    },
    "meta-SGD": {
        "solver": {"kind": "meta-sgd", "low": 0.05, "high": 0.2, "largest": 100.0, "rate": 1e-2},
        "optimisation": {"rate": 1.5e-3},
    },
}
TRIAL = 4  # steps that tell how long one takes
Times = dict[str, tuple[float, float]]


def run_path(deployment: str, changes: Mapping[str, Any]) -> Times:
    """Run a deployment in this process; return seconds and CPU seconds of every stage.

    What is cached keeps the times of when it was computed.
    """
    kept = Store.default().root / f"times-{deployment.replace('/', '-')}.json"
    times: Times = json.loads(kept.read_text()) if kept.exists() else {}
    real = Stage._run

    def timed(self: Stage, name: str, *arguments: Any) -> Any:
        began, used = time.perf_counter(), time.process_time()
        result = real(self, name, *arguments)
        if not result[1]:
            spatial = ", spatial" if name.endswith("-spatial") else ""
            spent = (time.perf_counter() - began, time.process_time() - used)
            times[self.name + spatial] = spent
            kept.write_text(json.dumps(times))
        return result

    Stage._run = timed  # type: ignore[method-assign]
    chosen = find(deployment)
    chosen.flow()(**override(chosen.parameters, changes))
    Stage._run = real  # type: ignore[method-assign]
    return times


def run_stage(stage: Stage, name: str, config: Any, **inputs: Reference) -> tuple[Reference, float]:
    """Run one stage; return its result and the CPU seconds that it took when it was computed."""
    kept = Store.default().root / f"times-{stage.name}-{name}.json"
    used = time.process_time()
    reference, cached = stage._run(name, config, inputs)
    if not cached:
        kept.write_text(json.dumps(time.process_time() - used))
    return reference, float(json.loads(kept.read_text()))


def print_times(times: Times) -> None:
    """Print what every stage of a path took."""
    rows = [(k, f"{a:.0f}", f"{b:.0f}") for k, (a, b) in times.items()]
    print_table("seconds of the path (wall, CPU)", rows)


def newest(kind: str, name: str) -> Record:
    """Return the record of the newest version of a name."""
    (record,) = Store.default().find(f"{kind}/{name}")
    return record


def folder(kind: str, name: str) -> Path:
    """Return the folder of the newest version of a name."""
    return Store.default().path(newest(kind, name).reference)


def learn_published(method: str, run: str, seconds: float) -> tuple[MetaModel, int, Signals]:
    """Train a published inner loop for some CPU seconds on the signals of a run.

    Returns
    -------
    tuple
        What was learned, the outer steps that there was time for, and the test signals.
    """
    ours = newest("networks", run)
    signals = ours.parents["signals"]
    dataset = open_signals(Store.default().path(signals))
    fitted = read_network(str(folder("networks", run) / "network"))

    def split(which: str) -> Signals:
        chosen = split_indices(dataset, [which])
        return signals_of(dataset.isel(sample=chosen), fitted.coordinates)

    training, test = split("train"), split("test")
    optimisation = ours.configuration["optimisation"] | {"optimiser": "adam"}

    def config(steps: int) -> MetaLearning:
        changes = {"solver": PUBLISHED[method]["solver"], "tangent": None}
        changes["optimisation"] = optimisation | PUBLISHED[method]["optimisation"]
        changes["optimisation"] |= {"steps": steps, "evaluate_every": steps}
        return MetaLearning.model_validate(ours.configuration | changes)

    few = test.take(slice(0, 4))
    meta_learn(training, few, config(1))  # the first time costs more
    began = time.process_time()
    meta_learn(training, few, config(TRIAL))
    steps = max(1, int(seconds * TRIAL / (time.process_time() - began)))
    model, _ = meta_learn(training, few, config(steps), label=method)
    return model, steps, test


def print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows of equal length in columns, under a title."""
    print(title)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    print(flush=True)


def use_store(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse arguments, and let all results go to the store that they name."""
    parser.add_argument("--store", default="store/benchmark", help="where results go")
    arguments = parser.parse_args()
    os.environ["FUNCTORY_STORE"] = str(Path(arguments.store).absolute())
    os.environ.setdefault("PREFECT_HOME", str(Path("store/.prefect").absolute()))
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    return arguments
