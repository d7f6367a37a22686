"""Gauss-Newton against the published solvers and principal components, at equal CPU seconds.

Every cell trains one network on one real data set for a number of CPU seconds on one thread, and
measures it on held-out signals. A cell's result is a line of the results file; cells that are
there already are not run again, so a study can be stopped and resumed.

  short  16 latents, every data set and method; about ten minutes on two cores
  full   more latents and seeds, ten CPU minutes a cell; about a night
  vary   one change at a time of what wins, on three data sets
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch

from functory.metalearning.fitting import fit
from functory.metalearning.outer import MetaLearning, MetaModel, meta_learn
from functory.models.principal_components import PrincipalComponents
from functory.quality import psnr
from functory.signals import Signals

POINTS = {"canesm5": 2048, "voxels": 2048}  # drawn in every step, where there are more than 4,096
LATENTS = {"canesm5": (4, 8, 16)}  # below half the number of training signals
TRIAL = 10  # steps that tell how long one takes
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


def run(cell: Cell) -> dict[str, Any]:
    """Train for the cell's CPU seconds, and measure after one to three steps of the solver."""
    training, test = datasets.read(cell.data, cell.seed)
    few = test.take(slice(0, 8))
    steps = max(1, int(cell.seconds / seconds_per_step(cell, training, few)))
    config = cell.config(steps)
    start = time.process_time()
    model, history = meta_learn(training, few, config, label=f"{cell.data} {cell.method}")
    seconds = time.process_time() - start
    taken = config.solver.steps
    return asdict(cell) | {
        "trained_seconds": round(seconds, 1),
        "outer_steps": steps,
        "curve": [(row["step"], round(row["psnr"], 2)) for row in history.rows],
        "psnr": {str(k): measure(model, test, k) for k in (taken, taken + 1, taken + 2)},
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


def measure(model: MetaModel, test: Signals, steps: int) -> float:
    """Return the test PSNR after some steps of the solver."""
    return round(psnr(fit(model.network, model.solver, test, steps)[1]["mse"]), 3)


def components(data: str, latents: int, seed: int) -> float:
    """Return the test PSNR of as many principal components."""
    training, test = datasets.read(data, seed)
    found = PrincipalComponents.fit(training, latents)
    return round(psnr(found.squared_error(test)), 3)


def short() -> Iterator[Cell]:
    for data in datasets.DATASETS:
        for method in METHODS:
            yield Cell(data, method, latents=16, seconds=30)


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
    "penalty 0.01": {"tangent": {"penalty": 0.01}},
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES, nargs="?", default="short")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/solver.jsonl"))
    parser.add_argument("--data", nargs="*", help="only these data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = [
        c for c in STUDIES[arguments.study]() if not arguments.data or c.data in arguments.data
    ]
    named = {json.dumps(change): name for name, change in VARIATIONS.items()}
    heading = ("data", "latents", "seed", "method", "CPU s", "steps", "PSNR", "+1", "+2", "PCA")
    form = "{:<9}{:>8}{:>5}  {:<18}{:>7}{:>7}{:>8}{:>8}{:>8}{:>8}"
    print(form.format(*heading))
    for cell, result in results(arguments.results, cells):
        name = named[json.dumps(cell.changes)] if cell.changes else cell.method
        null = components(cell.data, cell.latents, cell.seed)
        values = [*result["psnr"].values(), null]
        row = (cell.data, cell.latents, cell.seed, name, result["trained_seconds"])
        print(form.format(*row, result["outer_steps"], *(f"{v:.2f}" for v in values)), flush=True)


if __name__ == "__main__":
    main()
