"""Evaluate images: how near generated images come to those that were never trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from functory.configuration import Config
from functory.models.generative_quality import (
    frechet_distance,
    inception_fid,
    nearest_distances,
    precision_recall,
)
from functory.models.image_features import FeatureNetwork, FeatureTraining, train_features
from functory.signals import grid_axes, some
from functory.sources.signal_sets import open_signals
from storage.networks import read_network
from storage.references import Reference
from tasks.null import held
from tasks.prior import classes_of, labels_of
from tasks.stage import Outcome, Work, stage

__all__ = ["CONFIDENT", "Evaluation", "evaluate_images"]

CONFIDENT = 0.9  # of a classifier, from where on it recognises an image


class Evaluation(Config):
    """How generated images are compared with real ones."""

    features: FeatureTraining = FeatureTraining()
    """The network whose features are compared; it is trained on the training split."""
    images: Annotated[int, Field(ge=8)] = 1000
    """Images of each set, at most; all sets are compared with as many."""
    neighbours: PositiveInt = 3
    """Neighbours that say how far a sample's surroundings reach, for precision and recall."""
    inception_weights: str | None = None
    """The file with the weights of the Inception network, for FID; null measures no FID."""


@stage("evaluations", version=1)
def evaluate_images(
    work: Work,
    config: Evaluation,
    signals: Reference,
    functaset: Reference,
    **samples: Reference,
) -> Outcome:
    """Compare reconstructions and samples with test images, and training images as the floor.

    Precision, recall and the Fréchet distance are of features of a network that is trained here on
    the training split. Where there are classes, that network also says how many images it
    recognises with confidence, and of which class.
    """
    dataset, functions = open_signals(work.path(signals)), xr.open_zarr(work.path(functaset))
    fitted = read_network(str(work.path(functaset) / "network"))
    whole = fitted.of_wholes()
    training, test = (held(dataset, whole.coordinates, split) for split in ("train", "test"))
    height, width = (dataset.sizes[axis] for axis in grid_axes(dataset))
    known = _labels(dataset, len(training))
    network, _ = train_features(
        training.features, height, width, config.features, known, work.checkpoint
    )
    network = network.cpu()
    tested = functions["modulation"].values[functions["split"].values == "test"]
    modulations = {"reconstructions": tested} | _samples(work, samples)
    count = min(config.images, len(test), *(len(phi) for phi in modulations.values()))
    real = _few(test.features, count)
    sets = {"training images": _few(training.features, count)}
    for name, phi in modulations.items():
        few = _few(torch.from_numpy(phi), count)
        with torch.no_grad():
            sets[name] = fitted.decode(few).clamp(0, 1)
    summary: dict[str, Any] = {"images": count}
    for name, images in sets.items():
        summary[name] = _compare(network, real, images, config, (height, width))
        if name != "training images":
            nearest = nearest_distances(images.flatten(1), training.features.flatten(1))
            summary[name]["nearest_training_image"] = float(nearest.mean())
        if classes_of(dataset):
            summary[name] |= _recognised(network, images, classes_of(dataset))
    if classes_of(dataset):
        answers = _answers(network, test.features).argmax(1)
        truth = labels_of(dataset, "test")
        assert truth is not None
        right = answers == _few(truth, len(answers))  # as `held` chooses where they are too many
        summary["classifier_accuracy"] = float(right.float().mean())
    work.result.mkdir(parents=True)
    save_file(network.state_dict(), work.result / "features.safetensors")
    (work.result / "measures.json").write_text(json.dumps(summary, indent=1))
    return Outcome(work.licence(functaset), summary)


def _labels(dataset: xr.Dataset, count: int) -> Tensor | None:
    """Return what is known of the training images: classes, attributes, or nothing."""
    chosen = dataset["split"].values == "train"
    if classes_of(dataset):
        found = labels_of(dataset, "train")
    elif "attributes" in dataset.coords:
        found = torch.from_numpy(dataset["attributes"].values[chosen])
    else:
        return None
    assert found is not None
    return _few(found, count)


def _samples(work: Work, samples: Mapping[str, Reference]) -> dict[str, np.ndarray]:
    """Return the modulations of every model's samples, at each temperature apart."""
    found = {}
    for model, reference in samples.items():
        drawn = xr.open_zarr(work.path(reference))
        name, phi = model.replace("_", " "), drawn["modulation"].values
        if "temperature" not in drawn.coords:
            found[name] = phi
            continue
        for temperature in np.unique(drawn["temperature"].values)[::-1]:
            chosen = drawn["temperature"].values == temperature
            found[f"{name}, temperature {temperature:g}"] = phi[chosen]
    return found


def _few(values: Tensor, count: int) -> Tensor:
    return values[some(np.arange(len(values)), count)]


def _compare(
    network: FeatureNetwork,
    real: Tensor,
    images: Tensor,
    config: Evaluation,
    shape: tuple[int, int],
) -> dict[str, float]:
    """Return how a set of images differs from the real ones."""
    expected, found = network.features(real), network.features(images)
    precision, recall = precision_recall(expected, found, config.neighbours)
    measured = {
        "frechet_distance": frechet_distance(expected, found),
        "precision": precision,
        "recall": recall,
    }
    if config.inception_weights is not None:
        weights = Path(config.inception_weights).expanduser()
        measured["fid"] = inception_fid(
            real.unflatten(1, shape), images.unflatten(1, shape), weights
        )
    return measured


@torch.no_grad()
def _answers(network: FeatureNetwork, images: Tensor) -> Tensor:
    """Return the probabilities of classes, (images, classes)."""
    return torch.softmax(network.head(network.features(images)), dim=1)


def _recognised(
    network: FeatureNetwork, images: Tensor, classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the share of images that are recognised with confidence, and of which classes."""
    certainty, answers = _answers(network, images).max(1)
    shares = torch.bincount(answers, minlength=len(classes)) / len(answers)
    return {
        "recognised": float((certainty > CONFIDENT).float().mean()),
        "classes": dict(zip(classes, shares.tolist(), strict=True)),
    }
