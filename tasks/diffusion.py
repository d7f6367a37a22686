"""Diffusion: a model of how the modulations of a functaset are distributed, and samples of it."""

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import NonNegativeFloat, PositiveInt

from functory.configuration import Config
from functory.models.diffusion import DiffusionTraining, train_diffusion
from storage.diffusions import read_diffusion, write_diffusion
from storage.functaset import share_network, write_modulations
from storage.networks import read_network
from storage.references import Reference
from tasks.prior import classes_of, held_out_split, labels_of, write_history
from tasks.stage import Outcome, Work, stage

__all__ = ["DiffusionSampling", "diffusion", "sample_diffusion"]


class DiffusionSampling(Config):
    """What is drawn from a diffusion."""

    count: PositiveInt = 256
    """Samples; where there are classes, as many of each, or one fewer."""
    steps: PositiveInt = 100
    """Steps from noise to a sample: DDPM's if they are all the timesteps, else DDIM's."""
    guidance: NonNegativeFloat = 1.0
    """How much what is typical of a class is exaggerated; 1 is as it was learned."""
    seed: int = 0
    """Seed of the draws."""


@stage("diffusions", version=1)
def diffusion(work: Work, config: DiffusionTraining, functaset: Reference) -> Outcome:
    """Train a diffusion on the modulations, or grids of them, of the training split.

    Where the functaset has several classes, the diffusion is class-conditional.
    """
    dataset = xr.open_zarr(work.path(functaset))
    held_out = held_out_split(dataset)
    training, watched = (
        torch.from_numpy(dataset["modulation"].values[dataset["split"].values == split])
        for split in ("train", held_out)
    )
    known, asked = (labels_of(dataset, split) for split in ("train", held_out))
    labels = None if known is None or asked is None else (known, asked)
    fitted = read_network(str(work.path(functaset) / "network"))
    effects = fitted.sensitivity() * training.flatten(0, -2).std(0, correction=0)
    trained, history = train_diffusion(
        training, watched, config, work.checkpoint, labels=labels, effects=effects
    )
    write_history(work, history)
    write_diffusion(work.result, trained, classes_of(dataset))
    summary = {
        "held_out_loss": history.rows[-1]["held_out_loss"],
        "held_out": held_out,
        "parameters": sum(p.numel() for p in trained.network.parameters()),
    }
    return Outcome(work.licence(functaset), summary)


@stage("samples", version=1)
def sample_diffusion(
    work: Work, config: DiffusionSampling, diffusion: Reference, functaset: Reference
) -> Outcome:
    """Draw modulations from a diffusion; they decode as those of a functaset do."""
    model, classes = read_diffusion(work.path(diffusion))
    coordinates, labels = dict[str, Any](), None
    if classes:
        each = np.arange(config.count) % len(classes)
        coordinates["label"] = ("sample", np.array(classes, object)[each])
        labels = torch.from_numpy(each)
    drawn = model.sample(config.count, config.steps, config.seed, labels, config.guidance)
    fitted = read_network(str(work.path(functaset) / "network"))
    attributes = {
        "title": "Samples of a diffusion: not data",
        "licence": work.licence(diffusion),
        "configuration": config.model_dump_json(),
        "provenance": json.dumps({"diffusion": diffusion.digest, "functaset": functaset.digest}),
    }
    write_modulations(work.result, drawn.numpy(), coordinates, {}, fitted, attributes)
    share_network(work.path(functaset), work.result)
    return Outcome(work.licence(diffusion), {"samples": config.count})
