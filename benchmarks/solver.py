"""Gauss-Newton against the published solvers and principal components, at equal CPU seconds.

Every cell trains one network on one real data set for a number of CPU seconds on one thread, and
measures it on held-out signals. A cell's result is a line of the results file; cells that are
there already are not run again, so a study can be stopped and resumed.

  short  16 latents, every data set and method; about ten minutes on two cores
  full   more latents and seeds, ten CPU minutes a cell; about sixteen hours
  vary   one change at a time of what wins, on two data sets
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor

from functory.metalearning.fitting import fit
from functory.metalearning.outer import MetaLearning, MetaModel, meta_learn
from functory.models.principal_components import PrincipalComponents
from functory.quality import psnr
from functory.signals import Signals
from functory.training import History

POINTS = {"canesm5": 2048, "voxels": 2048}  # drawn in every step, where there are more than 4,096
LATENTS = {"canesm5": (4, 8, 16)}  # below half the number of training signals
TRIAL = 6  # steps that tell how long one takes
METHODS: dict[str, dict[str, Any]] = {
    # COIN++ (Dupont et al. 2022, appendix): three steps of 1e-2
    "published": {
        "solver": {"kind": "gradient-descent", "steps": 3, "step_size": 1e-2},
        "optimisation": {"rate": 5e-4},
    },
    # functa (Dupont et al. 2022) with larger learned steps, at a rate of their own
    "meta-SGD": {
        "solver": {
            "kind": "meta-sgd",
            "steps": 3,
            "low": 0.05,
            "high": 0.2,
            "largest": 100.0,
            "rate": 1e-2,
        },
        "optimisation": {"rate": 1.5e-3},
    },
    "Gauss-Newton": {
        "solver": {"kind": "gauss-newton", "steps": 1, "damping": 1e-4},
        "tangent": {},
        "optimisation": {"rate": 1e-3, "optimiser": "soap"},
    },
}


@dataclass(frozen=True)
class Cell:
    """One training run."""

    data: str
    method: str
    latents: int
    seconds: float
    seed: int = 0
    changes: dict[str, Any] = field(default_factory=dict)

    def config(self, steps: int) -> MetaLearning:
        """Return the configuration, for a number of outer steps."""
        method = METHODS[self.method]
        solver = method["solver"] | self.changes.get("solver", {})
        network = {"latents": self.latents, "width": 64, "depth": 5, "omega_0": 30.0}
        optimisation = {
            "batch": 16,
            "schedule": "cosine",
            "warmup": min(20, steps),
            "steps": steps,
            "seed": self.seed,
            "evaluate_every": max(1, steps // 5),
        }
        tangent = self.changes.get("tangent", method.get("tangent"))
        return MetaLearning.model_validate(
            {
                "network": network | self.changes.get("network", {}),
                "solver": solver,
                "tangent": None if tangent is None else {"steps": max(1, steps // 2)} | tangent,
                "optimisation": optimisation
                | method["optimisation"]
                | self.changes.get("optimisation", {}),
                "points": POINTS.get(self.data),
                "device": "cpu",
            }
        )


@dataclass(frozen=True)
class Trained:
    """What a cell's training gave."""

    model: MetaModel
    history: History
    steps: int
    seconds: float


def train(cell: Cell, steps: int | None = None) -> Trained:
    """Train for as many outer steps as are given, or as fit into the cell's CPU seconds."""
    training, test = datasets.read(cell.data, cell.seed)
    few = test.take(slice(0, 8))
    if steps is None:
        steps = max(1, int(cell.seconds / seconds_per_step(cell, training, few)))
    start = time.process_time()
    label = f"{cell.data} {cell.method}"
    model, history = meta_learn(training, few, cell.config(steps), label=label)
    return Trained(model, history, steps, time.process_time() - start)


def run(cell: Cell) -> dict[str, Any]:
    """Train, and measure with as many steps of the solver as in training, and with one more."""
    found = train(cell)
    taken = found.model.solver.config.steps
    _, test = datasets.read(cell.data, cell.seed)
    return asdict(cell) | {
        "trained_seconds": round(found.seconds, 1),
        "outer_steps": found.steps,
        "curve": [(row["step"], round(row["psnr"], 2)) for row in found.history.rows],
        "few_steps": measure(found.model, test, taken),
        "one_more": measure(found.model, test, taken + 1),
    }


def seconds_per_step(cell: Cell, training: Signals, few: Signals) -> float:
    """Return the CPU seconds of an outer step, with its share of the tangent start."""

    def timed(steps: int) -> float:
        start = time.process_time()
        meta_learn(training, few.take(slice(0, 1)), cell.config(steps))
        return time.process_time() - start

    timed(1)  # the first time costs more
    once = timed(1)
    return max(1e-3, (timed(1 + TRIAL) - once) / TRIAL)


def measure(model: MetaModel, test: Signals, steps: int) -> dict[str, float]:
    """Return the test quality after some steps of the solver."""
    phi, statistics = fit(model.network, model.solver, test, steps)
    parts = []
    with torch.no_grad():
        for one in phi.split(1):
            parts.append(model.network(test.points, one))
    return quality(statistics["mse"], torch.cat(parts), test)


def quality(squared_error: Tensor, decoded: Tensor, test: Signals) -> dict[str, float]:
    """Return PSNR, and accuracy and intersection over union where the signals are 0 or 1."""
    found = {"psnr": round(psnr(squared_error), 3)}
    truth = test.features > 0.5
    if torch.equal(truth.to(test.features.dtype), test.features):
        guess = decoded.view(truth.shape) > 0.5
        found["accuracy"] = round(float((guess == truth).float().mean()), 5)
        found["iou"] = round(float((guess & truth).sum() / (guess | truth).sum()), 4)
    return found


@lru_cache
def components(data: str, latents: int, seed: int) -> dict[str, float]:
    """Return the test quality of as many principal components."""
    training, test = datasets.read(data, seed)
    found = PrincipalComponents.fit(training, latents)
    return quality(found.squared_error(test), found.decode(found.encode(test)), test)


def short() -> Iterator[Cell]:
    for data in datasets.DATASETS:
        for method in METHODS:
            yield Cell(data, method, latents=16, seconds=20)


def full() -> Iterator[Cell]:
    for data in datasets.DATASETS:
        for latents in LATENTS.get(data, (4, 8, 16, 64, 256)):
            for seed in range(3 if latents == 16 else 1):
                for method in METHODS:
                    yield Cell(data, method, latents, seconds=600, seed=seed)


VARIATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "Adam, 4e-3": {"optimisation": {"optimiser": "adam", "rate": 4e-3}},
    "rate 5e-4": {"optimisation": {"rate": 5e-4}},
    "rate 2e-3": {"optimisation": {"rate": 2e-3}},
    "no tangent start": {"tangent": None, "optimisation": {"rate": 2e-3}},
    "penalty 0.1": {"tangent": {"penalty": 0.1}},
    "penalty 1": {"tangent": {"penalty": 1.0}},
    "damping 1e-6": {"solver": {"damping": 1e-6}},
    "damping 1e-2": {"solver": {"damping": 1e-2}},
    "two steps": {"solver": {"steps": 2}},
    "batch 8": {"optimisation": {"batch": 8}},
    "batch 32": {"optimisation": {"batch": 32}},
    "width 128": {"network": {"width": 128}},
    "depth 3": {"network": {"depth": 3}},
    "depth 7": {"network": {"depth": 7}},
    "omega_0 15": {"network": {"omega_0": 15.0}},
    "omega_0 60": {"network": {"omega_0": 60.0}},
}


def vary() -> Iterator[Cell]:
    for data, latents in (("uk", 16), ("cifar10", 64)):
        for change in VARIATIONS.values():
            yield Cell(data, "Gauss-Newton", latents, seconds=40, changes=change)


STUDIES = {"short": short, "full": full, "vary": vary}


def results(file: Path, cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield each cell's result, from the file or from a run that is added to it."""
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        wanted = asdict(cell)
        found = next((r for r in known if wanted.items() <= r.items()), None)
        if found is None:
            found = run(cell)
            with file.open("a") as stream:
                stream.write(json.dumps(found) + "\n")
        yield cell, found


def table(cells: list[Cell], file: Path) -> None:
    """Print a row for each cell as soon as it is there, each beside its principal components."""
    named = {json.dumps(change): name for name, change in VARIATIONS.items()}
    heading = ("data", "latents", "seed", "method", "CPU s", "steps", "PSNR", "+1 step", "PCA")
    form = "{:<9}{:>8}{:>5}  {:<18}{:>7}{:>7}{:>8}{:>9}{:>8}  {}"
    print(form.format(*heading, ""))
    for cell, result in results(file, cells):
        name = named[json.dumps(cell.changes)] if cell.changes else cell.method
        null, few, more = (
            components(cell.data, cell.latents, cell.seed),
            result["few_steps"],
            result["one_more"],
        )
        shape = ""
        if "iou" in few:
            shape = f"IoU {few['iou']:.3f}, accuracy {few['accuracy']:.4f}"
            shape += f"; PCA {null['iou']:.3f}, {null['accuracy']:.4f}"
        row = (cell.data, cell.latents, cell.seed, name, result["trained_seconds"])
        found = (f"{measured['psnr']:.2f}" for measured in (few, more, null))
        print(form.format(*row, result["outer_steps"], *found, shape), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES, nargs="?", default="short")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/solver.jsonl"))
    parser.add_argument("--data", nargs="*", choices=datasets.DATASETS, help="only these data sets")
    parser.add_argument("--methods", nargs="*", choices=METHODS, help="only these methods")
    parser.add_argument("--latents", nargs="*", type=int, help="only these numbers of latents")
    parser.add_argument("--seeds", type=int, default=3, help="only seeds below this")
    parser.add_argument("--seconds", type=float, help="CPU seconds of every cell")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = [
        cell if arguments.seconds is None else replace(cell, seconds=arguments.seconds)
        for cell in STUDIES[arguments.study]()
        if cell.data in (arguments.data or datasets.DATASETS)
        and cell.method in (arguments.methods or METHODS)
        and cell.latents in (arguments.latents or (cell.latents,))
        and cell.seed < arguments.seeds
    ]
    table(cells, arguments.results)


if __name__ == "__main__":
    main()
