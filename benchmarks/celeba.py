"""Images as functions: whole paths on real images, and what they are compared with.

  cifar10   4,000 images of 32×32: time of every stage; quality at 256 and 64 numbers against
            principal components and the published inner loops at equal CPU seconds; spatial
            functions against global ones at equal numbers; likeness of samples
  kodak     the same for 64×64 crops of the Kodak photographs
  mnist     digits: how many samples of the flow and of the diffusion a network trained on digits
            recognises, and of which classes

Stages that the store of the benchmark has already are not run again; `--store` names it.
"""

import argparse
from typing import Any

import torch
from runs import (
    PUBLISHED,
    learn_published,
    newest,
    print_table,
    print_times,
    run_path,
    run_stage,
    use_store,
)

from flows.catalogue import find
from functory.metalearning.fitting import Fitting, fit
from functory.metalearning.outer import MetaLearning
from functory.quality import psnr
from tasks.fit import fit_all
from tasks.metalearn import metalearn


def compare(run: str, changes: dict[str, Any], seconds: float | None) -> None:
    """Run a path, and print how good its functions are at 256 and at 64 numbers an image."""
    times = run_path(f"celeba/{run}", changes)
    print_times(times)
    print(f"the path took {sum(wall for wall, _ in times.values()) / 60:.1f} minutes\n")
    spent = with_few_latents(run) | {
        run: times["metalearn"][1],
        f"{run}-spatial": times["metalearn, spatial"][1],
    }
    rows = [("functions", "numbers", "train", "test", "SSIM", "PCA", "CPU s")]
    for name, used in spent.items():
        found = newest("functasets", name).summary
        rows.append(
            (
                name,
                f"{found['latents']}",
                *(f"{found['psnr'][split]:.2f}" for split in ("train", "test")),
                f"{found['ssim']['test']:.4f}",
                f"{found['psnr_principal_components']:.2f}",
                f"{used:.0f}",
            )
        )
    print_table("PSNR (dB); PCA of as many numbers on the test split; learning", rows)
    for name in (run, f"{run}-64"):
        rows = [published(method, name, seconds or spent[name]) for method in PUBLISHED]
        title = f"published inner loops on {name} (CPU seconds, steps, test PSNR)"
        print_table(title, rows)
    print_likeness(run)


def with_few_latents(run: str) -> dict[str, float]:
    """Learn and fit functions of 64 numbers on a run's signals; return the CPU seconds."""
    parameters = find(f"celeba/{run}").parameters
    signals = newest("signals", run).reference
    whole = MetaLearning.model_validate(parameters["metalearn"])
    patches = MetaLearning.model_validate(parameters["spatial"]["metalearn"])
    spent = {}
    for name, learning, fitting in (
        (f"{run}-64", whole, parameters["fit"]),
        (f"{run}-64-spatial", patches, parameters["spatial"]["fit"]),
    ):
        network = learning.network  # fewer latents need fewer shifts
        changes = {"latents": network.latents // 4, "width": network.width // 2}
        smaller = network.model_copy(update=changes)
        config = learning.model_copy(update={"network": smaller})
        learned, spent[name] = run_stage(metalearn, name, config, signals=signals)
        fit_all.plain(name, Fitting.model_validate(fitting), signals=signals, network=learned)
    return spent


def published(method: str, run: str, seconds: float) -> tuple[str, ...]:
    """Train a published inner loop for some CPU seconds on the same signals, and measure it."""
    model, steps, test = learn_published(method, run, seconds)
    _, found = fit(model.network, model.solver, test)
    return method, f"{seconds:.0f}", f"{steps}", f"{psnr(found['mse']):.2f}"


def print_likeness(run: str) -> None:
    columns = ("frechet_distance", "precision", "recall", "nearest_training_image", "recognised")
    rows = [("images", *(column.replace("_", " ") for column in columns))]
    for name in (run, f"{run}-spatial"):
        for which, found in newest("evaluations", name).summary.items():
            if isinstance(found, dict):
                values = (found.get(column) for column in columns)
                values = ["" if (v := found.get(c)) is None else f"{v:.3f}" for c in columns]
                rows.append((f"{name}, {which}", *values))
    count = newest("evaluations", run).summary["images"]
    print_table(f"likeness to {count} test images, on features of a network trained here", rows)


def cifar10(arguments: argparse.Namespace) -> None:
    compare("cifar10", {}, arguments.seconds)


def kodak(arguments: argparse.Namespace) -> None:
    compare("kodak", {}, arguments.seconds)


def mnist(arguments: argparse.Namespace) -> None:
    print_times(run_path("celeba/mnist", {}))
    found = newest("evaluations", "mnist").summary
    print(f"the network tells {found['classifier_accuracy']:.2%} of test digits rightly\n")
    rows = [("images", "recognised", "nearest", "least", "most frequent class")]
    for which, measured in found.items():
        if isinstance(measured, dict):
            shares = torch.tensor(list(measured["classes"].values()))
            nearest = measured.get("nearest_training_image")
            rows.append(
                (
                    which,
                    f"{measured['recognised']:.1%}",
                    "" if nearest is None else f"{nearest:.3f}",
                    f"{shares.min():.1%}",
                    f"{shares.max():.1%}",
                )
            )
    print_table("recognised with confidence; distance to the nearest training digit", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=("cifar10", "kodak", "mnist"))
    parser.add_argument("--seconds", type=float, help="CPU seconds of the published inner loops")
    arguments = use_store(parser)
    globals()[arguments.part](arguments)
