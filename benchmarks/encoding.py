"""What fitting costs: signals per second, latency of one signal, and memory of an outer step.

Every solver works on the same network and the same fields (ERA5 UK, 33×49, 16 latents); ratios are
to the published three gradient steps, of the same run. Times are medians of CPU time on one thread;
memory is what a fresh process has at its peak beyond what it had before the step.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import torch

from functory.fields.siren import SirenConfig
from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.metalearning.gradient_steps import GradientDescent
from functory.metalearning.outer import MetaLearning, build_model, outer_loss
from functory.metalearning.solvers import SolverConfig, build_solver
from functory.optimisation import Optimisation
from functory.signals import Signals
from functory.training import Step

NETWORK = SirenConfig(latents=16, width=64, depth=5)
SOLVERS: dict[str, SolverConfig] = {
    "three gradient steps": GradientDescent(steps=3),
    "Gauss-Newton, one step": GaussNewton(steps=1),
    "Gauss-Newton, two steps": GaussNewton(steps=2),
}


def median(work: Callable[[], object], repeats: int = 7) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


@torch.no_grad()
def speeds(fields: Signals) -> None:
    one = fields.take(slice(0, 1))
    network = build_model(2, 1, configuration(GradientDescent())).network
    rows = {}
    for name, config in SOLVERS.items():
        solver = build_solver(config, NETWORK.latents)
        rows[name] = (
            median(lambda s=solver: s(network, fields)),
            median(lambda s=solver: s(network, one)),
        )
    projector = GaussNewtonSteps(GaussNewton()).projector(network, fields)
    rows["its projector, kept"] = (
        median(lambda: projector(fields.features)),
        median(lambda: projector(one.features)),
    )
    print(f"{'':<24}{'signals/s':>12}{'ratio':>8}{'one signal, ms':>16}{'ratio':>8}")
    first = next(iter(rows.values()))
    for name, (many, single) in rows.items():
        print(
            f"{name:<24}{len(fields) / many:>12,.0f}{first[0] / many:>8.1f}"
            f"{1000 * single:>16.3f}{first[1] / single:>8.1f}"
        )


def configuration(solver: SolverConfig) -> MetaLearning:
    optimisation = Optimisation(steps=1, batch=16, rate=1e-3)
    return MetaLearning(network=NETWORK, solver=solver, tangent=None, optimisation=optimisation)


def peak(name: str) -> float:
    """Return the MiB that one outer step adds to this process's peak."""
    fields, _ = datasets.read("uk")
    config = configuration(SOLVERS[name])
    model = build_model(2, 1, config)
    loss = outer_loss(model, fields, config)
    small = fields.at(slice(0, 64))
    outer_loss(model, small, config)(Step(0, torch.Generator())).backward()  # loads libraries
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of reading the data (Linux)
    before = highest()
    loss(Step(0, torch.Generator())).backward()
    return highest() - before


def highest() -> float:
    """Return the most MiB that this process has held."""
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peak", choices=SOLVERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peak:
        print(peak(arguments.peak))
        return
    speeds(datasets.read("uk")[0].take(slice(0, 256)))
    print(f"\n{'outer step, batch 16':<24}{'peak MiB':>12}")
    for name in SOLVERS:
        command = [sys.executable, __file__, "--peak", name]
        found = subprocess.run(command, check=True, capture_output=True, text=True)
        print(f"{name:<24}{float(found.stdout):>12.0f}")


if __name__ == "__main__":
    main()
