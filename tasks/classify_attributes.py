"""Classify attributes: an MLP on modulations that finds all of a functaset's attributes at once."""

import time
from functools import partial
from typing import Any

import torch
import xarray as xr
from safetensors.torch import save_file
from torch import Tensor

from functory.errors import InputError
from functory.models.classifier import (
    ModulationClassifier,
    attribute_accuracies,
    train_classifier,
)
from storage.references import Reference
from tasks.classify import Classification
from tasks.prior import held_out_split, modulations
from tasks.stage import Outcome, Work, stage

__all__ = ["attributes_of", "classify_attributes"]


@stage("attribute-classifiers", version=1)
def classify_attributes(work: Work, config: Classification, functaset: Reference) -> Outcome:
    """Train MLPs on the modulations of the training split, with a logit for every attribute."""
    dataset = xr.open_zarr(work.path(functaset))
    names = attributes_of(dataset)
    if not names:
        raise InputError(f"{functaset} has no attributes to classify; fit images that have some.")

    def data(split: str) -> tuple[Tensor, Tensor]:
        known = dataset["attributes"].values[dataset["split"].values == split]
        return torch.from_numpy(modulations(dataset, split)), torch.from_numpy(known.astype(bool))

    training, held_out, test = (data(s) for s in ("train", held_out_split(dataset), "test"))
    mean, deviation = training[0].mean(0), training[0].std(0, correction=0)
    build = partial(ModulationClassifier, mean, deviation, len(names), config.model)
    found, began = [], time.process_time()
    work.result.mkdir(parents=True, exist_ok=True)
    for seed in config.seeds:
        model, _ = train_classifier(
            build,
            training,
            held_out,
            config.optimisation.model_copy(update={"seed": seed}),
            config.device,
            work.folder / f"mlp-{seed}.safetensors",
            label=f"attributes, seed {seed}",
        )
        model = model.cpu()
        found.append(torch.stack(attribute_accuracies(model, *test)))
        save_file(model.state_dict(), work.result / f"mlp-{seed}.safetensors")
    accuracies, balanced = torch.stack(found).mean(0)
    deviations = torch.stack(found)[:, 0].std(0, correction=0)
    usual = training[1].double().mean(0) > 0.5
    summary = {
        "attributes": list(names),
        "accuracy": _by_name(names, accuracies),
        "accuracy_deviation": _by_name(names, deviations),
        "balanced_accuracy": _by_name(names, balanced),
        # the accuracy of always answering what most training samples have
        "majority": _by_name(names, (test[1] == usual).double().mean(0)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": time.process_time() - began,
        "test_signals": len(test[0]),
    }
    return Outcome(work.licence(functaset), summary)


def attributes_of(functaset: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the attributes of a functaset, in its order; none where it has none."""
    if "attributes" not in functaset.coords:
        return ()
    return tuple(functaset["attribute"].values.tolist())


def _by_name(names: tuple[str, ...], values: Tensor) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))
