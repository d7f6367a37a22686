"""What a second process saves: of fitting, through Prefect's Dask task runner, and of training.

Both are timed without the start of their processes: the fit after a first one on the same workers,
training by the median of its steps. Runs with one and two processes take turns; prints the shortest
of each, and the ratio. On a machine with other work, repeat more often, and trust processor times.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from prefect import flow
from torch.optim.optimizer import register_optimizer_step_post_hook

from flows.task_runner import WORKERS
from functory.distributed import is_first, launch
from functory.fields.siren import SirenConfig
from functory.metalearning.fitting import Fitting
from functory.metalearning.gauss_newton import GaussNewton
from functory.metalearning.gradient_steps import GradientDescent
from functory.metalearning.launching import _learn
from functory.metalearning.outer import MetaLearning
from functory.optimisation import Optimisation
from functory.sources.era5_demo import DemoSource
from functory.sources.preparation import Preparation
from storage.references import Reference
from storage.versions import Store
from tasks.acquire import Acquisition, acquire
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare import PrepareERA5, prepare

SHAPE = (46, 90)
CHUNK = 16
OPTIMISATION = Optimisation(steps=6, batch=16, rate=1e-3, evaluate_every=1000)
LEARNING = MetaLearning(
    network=SirenConfig(latents=32, width=64, depth=5),
    solver=GaussNewton(steps=2),  # the second step linearises each signal: the costly part
    tangent=None,
    optimisation=OPTIMISATION,
    points=1024,
    device="cpu",
)


def prepared(name: str, years: int) -> Reference:
    """Prepare monthly fields of a made-up planet, four a month."""
    source = DemoSource(years=years, hours=(0, 6, 12, 18), shape=SHAPE)
    raw = acquire.plain(name, Acquisition(source=source))
    config = PrepareERA5(source=source, preparation=Preparation())
    return prepare.plain(name, config, raw=raw)


@flow(task_runner=WORKERS)
def fits(few: Reference, many: Reference, network: Reference) -> float:
    """Fit few signals, for which workers start, and then many; return the seconds of these."""
    config = Fitting(chunk=CHUNK)
    fit_all("few", config, signals=few, network=network)
    start = time.perf_counter()
    fit_all("many", config, signals=many, network=network)
    return time.perf_counter() - start


def time_fits(years: int, repeat: int) -> None:
    """Print the seconds of a fit with one worker and with two, and whether results are the same."""
    from prefect.testing.utilities import prefect_test_harness

    seconds: dict[int, list[float]] = defaultdict(list)
    digests = set()
    with prefect_test_harness(server_startup_timeout=300):
        for _ in range(repeat):
            for workers in (1, 2):
                with (
                    tempfile.TemporaryDirectory() as store,
                    patch.dict(os.environ, FUNCTORY_STORE=store, FUNCTORY_WORKERS=str(workers)),
                ):
                    few, many = prepared("few", 1), prepared("many", years)
                    network = metalearn.plain("many", LEARNING, signals=few)
                    seconds[workers].append(fits(few, many, network))
                    (record,) = Store.default().find("functasets/many")
                    digests.add(record.reference.digest)
    _print(f"fit of {48 * years} fields {SHAPE[0]}x{SHAPE[1]}", seconds)
    print(f"the same functaset each time: {len(digests) == 1}")


def timed_steps(signals: Path, config: MetaLearning, folder: Path) -> None:
    """Learn, and write down the median seconds of a step, by both clocks, and the last loss."""
    ends: list[tuple[float, float]] = []
    hook = register_optimizer_step_post_hook(
        lambda *_: ends.append((time.perf_counter(), time.process_time()))
    )
    _, history = _learn(signals, config, folder / "checkpoint.safetensors")
    hook.remove()
    if is_first():
        wall, processor = np.median(np.diff(ends, axis=0), axis=0).tolist()
        found = {"wall": wall, "processor": processor, "loss": history.rows[-1]["loss"]}
        (folder / "found.json").write_text(json.dumps(found))


def time_training(config: MetaLearning, label: str, repeat: int) -> None:
    """Print the seconds of an outer step in one process and in two, and how losses differ."""
    wall: dict[int, list[float]] = defaultdict(list)
    processor: dict[int, list[float]] = defaultdict(list)
    losses: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as store, patch.dict(os.environ, FUNCTORY_STORE=store):
        signals = Store.default().path(prepared("few", 2))
        for _ in range(repeat):
            for processes in (1, 2):
                with tempfile.TemporaryDirectory() as folder:
                    if processes == 1:
                        timed_steps(signals, config, Path(folder))
                    else:
                        launch(processes, timed_steps, signals, config, Path(folder))
                    found = json.loads((Path(folder) / "found.json").read_text())
                wall[processes].append(found["wall"])
                processor[processes].append(found["processor"])
                losses[processes] = found["loss"]
    _print(f"outer step, {label}", wall)
    _print(f"outer step, {label}, processor time of the first process", processor)
    steps = config.optimisation.steps
    print(f"loss of {steps} steps, two processes / one - 1: {losses[2] / losses[1] - 1:.1e}")


def _print(label: str, seconds: dict[int, list[float]]) -> None:
    one, two = (min(seconds[count], default=math.nan) for count in (1, 2))
    every = {count: [round(s, 3) for s in found] for count, found in seconds.items()}
    print(f"{label}: one {one:.3f} s, two {two:.3f} s, {one / two:.2f} times as fast; all {every}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("fit", "training"), nargs="?")
    parser.add_argument("--years", type=int, default=4, help="48 fields each")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # before processes start: a core for each
    configurations: dict[str, Any] = {
        "Gauss-Newton": LEARNING.model_copy(update={"solver": GaussNewton()}),
        "gradient descent": LEARNING.model_copy(update={"solver": GradientDescent()}),
    }
    if arguments.part != "fit":
        import torch

        torch.set_num_threads(1)
        for label, config in configurations.items():
            time_training(config, label, arguments.repeat)
    if arguments.part != "training":
        time_fits(arguments.years, arguments.repeat)


if __name__ == "__main__":
    main()
