"""Classify: an MLP on modulations, and 3D CNNs on the voxels themselves."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from functory.configuration import Config
from functory.models.classifier import (
    ConvolutionalConfig,
    ModulationClassifier,
    PerceptronConfig,
    VoxelClassifier,
    accuracy,
    train_classifier,
)
from functory.optimisation import Optimisation
from functory.signals import signal_variables
from functory.sources.signal_sets import open_signals
from functory.training import Device
from storage.references import Reference
from tasks.prior import classes_of, held_out_split, labels_of, modulations
from tasks.stage import Outcome, Work, stage

__all__ = ["Classification", "VoxelClassification", "classify", "classify_voxels"]

Split = tuple[Tensor, Tensor]


class Classification(Config):
    """The classifier of modulations, and its training."""

    model: PerceptronConfig = PerceptronConfig()
    """Architecture."""
    optimisation: Optimisation = Optimisation(
        steps=30_000, batch=1024, rate=1e-4, evaluate_every=500, checkpoint_every=500
    )
    """Adam; the parameters with the best held-out likelihood are kept."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """One training for each: results are means, with their spread."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class VoxelClassification(Config):
    """The classifiers of voxels that modulations are compared with, and their training."""

    models: Annotated[tuple[ConvolutionalConfig, ...], Field(min_length=1)] = (
        ConvolutionalConfig(channels=16),
        ConvolutionalConfig(channels=64),
    )
    """Architectures."""
    optimisation: Optimisation = Optimisation(
        steps=30_000, batch=1024, rate=1e-4, evaluate_every=500, checkpoint_every=500
    )
    """Adam; the parameters with the best held-out likelihood are kept."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """One training for each of them and each architecture."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


@stage("classifiers", version=1)
def classify(work: Work, config: Classification, functaset: Reference) -> Outcome:
    """Train MLPs on the modulations of the training split."""
    dataset = xr.open_zarr(work.path(functaset))
    classes = classes_of(dataset)

    def data(split: str) -> Split:
        return torch.from_numpy(modulations(dataset, split)), _known(dataset, split)

    training, held_out, test = (data(s) for s in ("train", held_out_split(dataset), "test"))
    mean, deviation = training[0].mean(0), training[0].std(0, correction=0)
    build = partial(ModulationClassifier, mean, deviation, len(classes), config.model)
    row = _trained(work, config, "mlp", build, (training, held_out, test))
    return Outcome(work.licence(functaset), {"classes": list(classes), **row})


@stage("voxel-classifiers", version=1)
def classify_voxels(work: Work, config: VoxelClassification, signals: Reference) -> Outcome:
    """Train 3D CNNs on the voxels of the same split."""
    dataset = open_signals(work.path(signals))
    (name,) = signal_variables(dataset)
    classes, side = classes_of(dataset), dataset.sizes["x"]

    def data(split: str) -> Split:
        voxels = dataset[name].isel(sample=np.flatnonzero(dataset["split"].values == split)).values
        return torch.from_numpy(voxels).flatten(1), _known(dataset, split)

    splits = (data("train"), data(held_out_split(dataset)), data("test"))
    rows = {}
    for model in config.models:
        label = f"cnn-{model.channels}"
        build = partial(VoxelClassifier, side, len(classes), model)
        rows[label] = _trained(work, config, label, build, splits)
    return Outcome(work.licence(signals), {"classes": list(classes), **rows})


def _trained(
    work: Work,
    config: Classification | VoxelClassification,
    name: str,
    build: Callable[[], nn.Module],
    splits: tuple[Split, Split, Split],
) -> dict[str, Any]:
    """Train one model with every seed, write them, and return what they reach."""
    training, held_out, test = splits
    found, seconds = [], 0.0
    work.result.mkdir(parents=True, exist_ok=True)
    for seed in config.seeds:
        began = time.process_time()
        model, _ = train_classifier(
            build,
            training,
            held_out,
            config.optimisation.model_copy(update={"seed": seed}),
            config.device,
            work.folder / f"{name}-{seed}.safetensors",
            label=f"{name}, seed {seed}",
        )
        seconds += time.process_time() - began
        model = model.cpu()
        found.append(accuracy(model, *test))
        save_file(model.state_dict(), work.result / f"{name}-{seed}.safetensors")
    mean = statistics.mean(found)
    return {
        "accuracy": mean,
        "accuracy_deviation": statistics.pstdev(found),
        # of the test set's size: how far the true accuracy may be from the measured one
        "standard_error": (mean * (1 - mean) / len(test[0])) ** 0.5,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": seconds,
        "test_signals": len(test[0]),
    }


def _known(dataset: xr.Dataset, split: str) -> Tensor:
    labels = labels_of(dataset, split)
    assert labels is not None  # the flow asks for classifiers only where there are classes
    return labels
