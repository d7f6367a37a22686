"""Prior: a flow over the modulations of a functaset, and samples of it."""

import json

import numpy as np
import torch
import xarray as xr
from pydantic import PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file

from functory.configuration import Config
from functory.models.flow_prior import FlowPrior, FlowTraining, train_flow
from functory.training import History
from storage.functaset import share_network, write_modulations
from storage.networks import read_network
from storage.references import Reference
from tasks.stage import Outcome, Work, stage

__all__ = ["Sampling", "held_out_split", "modulations", "prior", "sample", "write_history"]


class Sampling(Config):
    """What is drawn from a prior."""

    count: PositiveInt = 64
    """Samples at each temperature."""
    temperatures: tuple[PositiveFloat, ...] = (1.0, 0.7)
    """Factors of the base's deviation: below 1, samples are nearer to the mode."""
    seed: int = 0
    """Seed of the draws."""


@stage("priors", version=1)
def prior(work: Work, config: FlowTraining, functaset: Reference) -> Outcome:
    """Train a neural spline flow on the training split; keep the best on held-out data."""
    dataset = xr.open_zarr(work.path(functaset))
    held_out = held_out_split(dataset)
    training, selecting, testing = (
        torch.from_numpy(modulations(dataset, split)) for split in ("train", held_out, "test")
    )
    flow, history = train_flow(training, selecting, config, work.checkpoint)
    write_history(work, history)
    save_file(flow.cpu().state_dict(), work.result / "flow.safetensors")
    with torch.no_grad():
        bits = float(flow.bits_per_dimension(testing).mean())
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
    training = FlowTraining(**work.record(prior).configuration)
    weights = load_file(work.path(prior) / "flow.safetensors")
    flow = FlowPrior(weights["mean"], weights["deviation"], training.flow)
    flow.load_state_dict(weights)
    drawn = [
        flow.sample(config.count, temperature, config.seed + i).numpy()
        for i, temperature in enumerate(config.temperatures)
    ]
    fitted = read_network(str(work.path(functaset) / "network"))
    attributes = {
        "title": "Samples of a flow prior: not data",
        "licence": work.licence(prior),
        "configuration": config.model_dump_json(),
        "provenance": json.dumps({"prior": prior.digest, "functaset": functaset.digest}),
    }
    temperatures = np.repeat(config.temperatures, config.count).astype(np.float32)
    write_modulations(
        work.result,
        np.concatenate(drawn),
        {"temperature": ("sample", temperatures)},
        {},
        fitted,
        attributes,
    )
    share_network(work.path(functaset), work.result)
    return Outcome(work.licence(prior), {"samples": len(temperatures)})


def modulations(functaset: xr.Dataset, split: str) -> np.ndarray:
    """Return the (samples, latents) modulations of a split."""
    return functaset["modulation"].values[functaset["split"].values == split]


def held_out_split(functaset: xr.Dataset) -> str:
    """Return the split that models are chosen on: validation, or test where there is none."""
    return "validation" if "validation" in functaset["split"].values else "test"


def write_history(work: Work, history: History) -> None:
    """Publish the curve of a training."""
    curve = {k: ("evaluation", [row[k] for row in history.rows]) for k in history.rows[-1]}
    xr.Dataset(curve, attrs={"restarts": history.restarts}).to_zarr(
        work.result, zarr_format=3, consolidated=False, mode="w-"
    )
