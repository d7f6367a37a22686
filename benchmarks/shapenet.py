"""Shapes as functions: the whole path on real and made-up shapes, and what it is compared with.

  modelnet     chairs and monitors of ModelNet10: time of every stage; quality against principal
               components and the published inner loops at equal CPU seconds; classifiers of
               modulations against 3D CNNs; completion with the prior and without
  demo         ten classes: the classifiers, and how many samples of the prior an independent 3D
               CNN takes for their class
  preparation  memory and speed of preparing 64³ shapes, by number of models and of threads

Stages that the store of the benchmark has already are not run again; `--store` names it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from runs import (
    PUBLISHED,
    folder,
    learn_published,
    newest,
    print_table,
    print_times,
    run_path,
    use_store,
)
from safetensors.torch import load_file
from trimesh.exchange.binvox import binvox_bytes
from trimesh.voxel.runlength import dense_to_rle

from functory.metalearning.fitting import fit
from functory.models.classifier import ConvolutionalConfig, VoxelClassifier
from functory.quality import best_thresholds, occupancy_statistics, psnr
from functory.signals import Signals, signals_of, split_indices
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shape_preparation import ShapePreparation, prepare_shapes
from functory.sources.shapes_demo import ShapesDemo, demo_models
from functory.sources.signal_sets import open_signals
from storage.accessor import FunctaAccessor
from storage.networks import read_network

CNNS = {
    "models": [{"channels": 16}, {"channels": 64}],
    "optimisation": {"steps": 150, "batch": 64, "rate": 1e-3, "evaluate_every": 15},
}
DRAWS = 50  # samples of each class


def modelnet(arguments: argparse.Namespace) -> None:
    times = run_path("shapenet/modelnet", {"voxel_classification": CNNS})
    print_times(times)
    compared = {"classify_voxels"}
    total = sum(wall for stage, (wall, _) in times.items() if stage not in compared)
    print(f"without the comparison: {total / 60:.1f} minutes\n")
    fits = newest("functasets", "modelnet").summary
    rows = [
        (what, f"{fits[measure]['test']:.4f}", f"{fits[f'{measure}_principal_components']:.4f}")
        for what, measure in (("IoU", "iou"), ("accuracy", "accuracy"))
    ]
    print_table(f"test quality, {fits['latents']} latents (ours, principal components)", rows)
    print_classifiers("modelnet")
    print_completions("modelnet")
    if seconds := arguments.seconds or times["metalearn"][1]:
        print_table(
            f"published inner loops after {seconds:.0f} CPU seconds (steps, PSNR, IoU, accuracy)",
            [published(name, seconds) for name in PUBLISHED],
        )


def published(name: str, seconds: float) -> tuple[str, ...]:
    """Train a published inner loop for some CPU seconds on the same signals, and measure it."""
    model, steps, test = learn_published(name, "modelnet", seconds)
    dataset = open_signals(folder("signals", "modelnet"))
    coordinates = read_network(str(folder("networks", "modelnet") / "network")).coordinates
    first = split_indices(dataset, ["train"])[:64]
    known = signals_of(dataset.isel(sample=first), coordinates)
    surface = best_thresholds(known, decoded(model, known))["iou"]
    values = decoded(model, test)
    found = occupancy_statistics(test, values, surface)
    return (
        name,
        f"{steps}",
        f"{psnr(found['mse']):.2f}",
        f"{found['iou'].mean():.4f}",
        f"{found['accuracy'].mean():.4f}",
    )


def decoded(model: Any, signals: Signals) -> torch.Tensor:
    phi, _ = fit(model.network, model.solver, signals)
    with torch.no_grad():
        return torch.cat([model.network(signals.points, part) for part in phi.split(4)])


def print_classifiers(name: str) -> None:
    rows = [("MLP on modulations", newest("classifiers", name).summary)]
    voxels = newest("voxel-classifiers", name).summary
    rows += [(label, voxels[label]) for label in voxels if label.startswith("cnn")]
    print_table(
        "classifiers (test accuracy, deviation over seeds, standard error, weights, CPU seconds)",
        [
            (
                label,
                f"{row['accuracy']:.4f}",
                f"{row['accuracy_deviation']:.4f}",
                f"{row['standard_error']:.4f}",
                f"{row['parameters']:,}",
                f"{row['cpu_seconds']:.1f}",
            )
            for label, row in rows
        ],
    )


def print_completions(name: str) -> None:
    found = dict(newest("completions", name).summary)
    measure = found.pop("measure")
    rows = [(mask, *(f"{v:.3f}" for v in how.values())) for mask, how in found.items()]
    titles = ", ".join(next(iter(found.values())))
    print_table(f"{measure} ({titles})", rows)


def demo(arguments: argparse.Namespace) -> None:
    changes = {"voxel_classification": CNNS | {"seeds": [0]}, "sampling.count": DRAWS}
    times = run_path("shapenet/demo", changes)
    print(f"the path took {sum(wall for wall, _ in times.values()) / 60:.1f} minutes\n")
    print_classifiers("shapenet-demo")
    print_completions("shapenet-demo")
    print_table("samples that a 3D CNN takes for their class", recognised("shapenet-demo"))


def recognised(name: str) -> list[tuple[str, ...]]:
    """Classify samples of the prior by the largest 3D CNN, which has never seen a function."""
    classifier = newest("voxel-classifiers", name)
    classes = classifier.summary["classes"]
    config = ConvolutionalConfig.model_validate(classifier.configuration["models"][-1])
    samples = xr.open_zarr(folder("samples", name), chunks=None)
    functions = FunctaAccessor(samples)
    values = functions.decode().values > functions.network.surface
    model = VoxelClassifier(values.shape[-1], len(classes), config).eval()
    model.load_state_dict(
        load_file(folder("voxel-classifiers", name) / f"cnn-{config.channels}-0.safetensors")
    )
    with torch.no_grad():
        logits = [model(part.flatten(1).float()) for part in torch.from_numpy(values).split(64)]
    taken = np.array(classes)[torch.cat(logits).argmax(1).numpy()]
    right = taken == np.array(samples["label"].values.tolist())
    temperatures = samples["temperature"].values
    return [
        (
            f"temperature {t:g}",
            f"{right[temperatures == t].mean():.1%}",
            f"of {(temperatures == t).sum()}",
        )
        for t in dict.fromkeys(temperatures.tolist())
    ]


def preparation(arguments: argparse.Namespace) -> None:
    if arguments.worker:
        print(json.dumps(prepare_some(*arguments.worker)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as place:
        write_binvox(Path(place), 1600)
        for models, threads, copies in (
            (400, 2, 1),
            (800, 2, 1),
            (1600, 2, 1),
            (1600, 1, 1),
            (200, 2, 50),
        ):
            worker = [place, str(models), str(threads), str(copies)]
            command = [sys.executable, __file__, "preparation", "--worker", *worker]
            found = json.loads(subprocess.check_output(command).splitlines()[-1])
            measured = (f"{found[k]:.1f}" for k in ("seconds", "peak", "disk"))
            rows.append((str(models), str(threads), str(copies), *measured))
    print_table("128³ to 64³ (models, threads, copies, seconds, peak MiB, MiB on disk)", rows)


def write_binvox(place: Path, models: int) -> None:
    """Write solid shapes of 128³ as ShapeNet has them; a speck tells repeated ones apart."""
    shapes = [model.read() for model in demo_models(ShapesDemo(models=5, size=128))]
    for i in range(models):
        shape = shapes[i % len(shapes)].copy()
        z, y, x = np.unravel_index(2 * i, (64, 64, 64))
        shape[2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] ^= True
        code = dense_to_rle(shape.transpose(2, 0, 1).ravel(), np.uint8)
        path = place / "03001627" / f"{i:04d}" / "models" / "model_normalized.solid.binvox"
        path.parent.mkdir(parents=True)
        path.write_bytes(binvox_bytes(code, shape.shape))


def prepare_some(place: str, models: str, threads: str, copies: str) -> dict[str, float]:
    """Prepare some of the shapes in this process."""
    os.cpu_count = lambda: int(threads)  # type: ignore[assignment]
    source = ShapeFiles(paths=(f"{place}/03001627",))
    each = list_models(source, find_shape_files(source)[: int(models)])
    augmentation = {"copies": int(copies)} if int(copies) > 1 else None
    config = ShapePreparation.model_validate({"augmentation": augmentation})
    target = Path(tempfile.mkdtemp(dir=place)) / "signals"
    began = time.perf_counter()
    signals = prepare_shapes(each, config, target, {})
    seconds = time.perf_counter() - began
    signals["occupancy"].isel(sample=-1).load()
    disk = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak": peak / 1024, "disk": disk / 2**20}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=("modelnet", "demo", "preparation"))
    parser.add_argument("--seconds", type=float, help="CPU seconds of the published inner loops")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = use_store(parser)
    globals()[arguments.part](arguments)
