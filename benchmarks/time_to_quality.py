"""How much sooner Gauss-Newton is as good as the published solvers, on ERA5 UK with 8 latents.

The papers' recipe trains for 1,200 outer steps and tuned meta-SGD for 1,000; Gauss-Newton trains
once for a twentieth and once for a sixth of the CPU seconds that each took. About half an hour.
"""

import argparse

import datasets
import torch
from solver import Cell, measure, train

RACES = (("published", 1200, 20), ("meta-SGD", 1000, 6))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of the steps of the others")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _, test = datasets.read("uk")
    print(f"{'':<14}{'outer steps':>12}{'CPU s':>8}{'PSNR':>8}")
    for method, steps, times in RACES:
        other = train(Cell("uk", method, 8, 0), int(arguments.share * steps))
        ours = train(Cell("uk", "Gauss-Newton", 8, other.seconds / times))
        for name, found in ((method, other), (f"1/{times} of it", ours)):
            quality = measure(found.model, test, found.model.solver.config.steps)
            print(
                f"{name:<14}{found.steps:>12}{found.seconds:>8.0f}{quality['psnr']:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
