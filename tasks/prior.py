"""Prior: a flow over the modulations of a functaset, and samples of it."""

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import PositiveFloat, PositiveInt

from functory.configuration import Config
from functory.errors import InputError
from functory.models.flow_prior import FlowTraining, train_flow
from functory.training import History
from storage.functaset import share_network, write_modulations
from storage.networks import read_network
from storage.priors import read_prior, write_prior
from storage.references import Reference
from tasks.stage import Outcome, Work, stage

__all__ = [
    "Sampling",
    "classes_of",
    "held_out_split",
    "labels_of",
    "modulations",
    "prior",
    "sample",
    "write_history",
]


class Sampling(Config):
    """What is drawn from a prior."""

    count: PositiveInt = 64
    """Samples at each temperature, of each class where the prior knows classes."""
    temperatures: tuple[PositiveFloat, ...] = (1.0, 0.7)
    """Factors of the base's deviation: below 1, samples are nearer to the mode."""
    seed: int = 0
    """Seed of the draws."""


@stage("priors", version=3)
def prior(work: Work, config: FlowTraining, functaset: Reference) -> Outcome:
    """Train a neural spline flow on the training split; keep the best on held-out data.

    Where the functaset has several classes, the flow is class-conditional.
    """
    dataset = xr.open_zarr(work.path(functaset))
    held_out = held_out_split(dataset)
    training, selecting, testing = (
        torch.from_numpy(modulations(dataset, split)) for split in ("train", held_out, "test")
    )
    classes = classes_of(dataset)
    known, asked, tested = (labels_of(dataset, s) for s in ("train", held_out, "test"))
    labels = None if known is None or asked is None else (known, asked)
    flow, history = train_flow(training, selecting, config, work.checkpoint, labels=labels)
    write_history(work, history)
    write_prior(work.result, flow, classes)
    with torch.no_grad():
        bits = float(flow.cpu().bits_per_dimension(testing, tested).mean())
    summary = {
        "bits_per_dimension_test": bits,
        "best_step": history.best_step,
        "selected_on": held_out,
        "parameters": sum(p.numel() for p in flow.parameters()),
    }
    return Outcome(work.licence(functaset), summary)


@stage("samples", version=1)
def sample(work: Work, config: Sampling, prior: Reference, functaset: Reference) -> Outcome:
    """Draw modulations from a prior; they decode as those of a functaset do."""
    flow, classes = read_prior(work.path(prior))
    count = config.count * max(1, len(classes))
    labels = np.repeat(np.arange(len(classes)), config.count)
    drawn = [
        flow.sample(
            count, temperature, config.seed + i, torch.from_numpy(labels) if classes else None
        ).numpy()
        for i, temperature in enumerate(config.temperatures)
    ]
    fitted = read_network(str(work.path(functaset) / "network"))
    attributes = {
        "title": "Samples of a flow prior: not data",
        "licence": work.licence(prior),
        "configuration": config.model_dump_json(),
        "provenance": json.dumps({"prior": prior.digest, "functaset": functaset.digest}),
    }
    temperatures = np.repeat(config.temperatures, count).astype(np.float32)
    coordinates: dict[str, Any] = {"temperature": ("sample", temperatures)}
    if classes:
        names = np.array(classes, object)[np.tile(labels, len(config.temperatures))]
        coordinates["label"] = ("sample", names)
    phi = np.concatenate(drawn).reshape(-1, *fitted.latent_shape)
    write_modulations(work.result, phi, coordinates, {}, fitted, attributes)
    share_network(work.path(functaset), work.result)
    return Outcome(work.licence(prior), {"samples": len(temperatures)})


def classes_of(functaset: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the classes of a functaset, sorted; none where it has fewer than two.

    Raises
    ------
    InputError
        If a class has no signal to train on.
    """
    if "label" not in functaset.coords:
        return ()
    label = functaset["label"].values
    names = tuple(sorted(set(label.tolist())))
    unseen = sorted(set(names) - set(label[functaset["split"].values == "train"].tolist()))
    if unseen:
        raise InputError(
            f"Class '{unseen[0]}' has no signal in the training split: change the split, or leave "
            "the class out."
        )
    return names if len(names) > 1 else ()


def labels_of(functaset: xr.Dataset, split: str) -> torch.Tensor | None:
    """Return the classes of a split as integers, or None where there are no classes."""
    classes = classes_of(functaset)
    if not classes:
        return None
    labels = functaset["label"].values[functaset["split"].values == split]
    return torch.tensor([classes.index(name) for name in labels.tolist()])


def modulations(functaset: xr.Dataset, split: str) -> np.ndarray:
    """Return the modulations of a split, (samples, values): all those of a signal side by side."""
    chosen = functaset["modulation"].values[functaset["split"].values == split]
    return chosen.reshape(len(chosen), -1)


def held_out_split(functaset: xr.Dataset) -> str:
    """Return the split that models are chosen on: validation, or test where there is none."""
    return "validation" if "validation" in functaset["split"].values else "test"


def write_history(work: Work, history: History) -> None:
    """Publish the curve of a training."""
    curve = {k: ("evaluation", [row[k] for row in history.rows]) for k in history.rows[-1]}
    xr.Dataset(curve, attrs={"restarts": history.restarts}).to_zarr(
        work.result, zarr_format=3, consolidated=False, mode="w-"
    )
