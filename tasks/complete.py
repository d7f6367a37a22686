"""Complete: test signals inferred from parts of them, with the prior and without."""

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
import torch
import xarray as xr
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from functory.configuration import Config
from functory.errors import InputError
from functory.fields.fitted_network import FittedNetwork
from functory.metalearning.fitting import Fitting, fit
from functory.metalearning.outer import MetaLearning
from functory.models.completion import Completion, complete
from functory.quality import best_thresholds, error_statistics, occupancy_statistics
from functory.signals import (
    CHANNEL,
    Signals,
    sample_dimension,
    signal_variables,
    signals_of,
    some,
    split_indices,
)
from functory.sources.masks import Half, Mask, RandomPoints, Scan, observed
from functory.sources.signal_sets import open_signals
from storage.completion import observations_of
from storage.functaset import share_network, write_modulations
from storage.networks import read_network
from storage.priors import read_prior
from storage.references import Reference
from tasks.fit import load_solver
from tasks.null import held
from tasks.stage import Outcome, Work, stage

__all__ = ["METHODS", "Completing", "complete_signals", "partly_seen"]

METHODS = ("with the prior", "without the prior")
SHAPES: tuple[Mask, ...] = (
    Half(half="left"),
    Half(half="front"),
    Half(half="bottom"),
    RandomPoints(),
    Scan(),
)
NEEDED = {"region": ("latitude", "longitude"), "occlusion": ("y", "x"), "random": ()}
GROUP = 8  # signals that are decoded at once


class Completing(Config):
    """Which parts of which signals are seen, and how the rest is inferred."""

    masks: Annotated[tuple[Mask, ...], Field(min_length=1)] = SHAPES
    """What is seen of every signal: one completion each."""
    signals: PositiveInt = 16
    """Test signals that are completed."""
    completion: Completion = Completion()
    """The inference."""

    @model_validator(mode="after")
    def _masks_differ(self) -> Self:
        labels = [mask.label for mask in self.masks]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"two masks are '{label}': results would be mixed up")
        return self


@dataclass
class _Completed:
    """What was inferred under one mask by one method: a row for every signal."""

    phi: Tensor
    unseen: Tensor
    columns: dict[str, list[Any]]


@stage("completions", version=1)
def complete_signals(
    work: Work,
    config: Completing,
    signals: Reference,
    network: Reference,
    functaset: Reference,
    prior: Reference,
) -> Outcome:
    """Infer test signals from parts, and measure how well the unseen rest is met.

    The rest is compared by IoU (shapes), PSNR (images) or RMSE in the data's units, for the
    functions inferred with the prior and fitted without (as the functaset was), and for the mean
    of the training signals.
    """
    fitted = read_network(str(work.path(functaset) / "network"))
    learned = MetaLearning(**work.record(network).configuration)
    solver = load_solver(work.path(network), learned)
    fitting = Fitting(**work.record(functaset).configuration)
    flow, classes = read_prior(work.path(prior))
    dataset = open_signals(work.path(signals))
    _check(config.masks, fitted)
    sample = sample_dimension(dataset)
    chosen = some(split_indices(dataset, ["test"]), config.signals)
    fields = dataset[signal_variables(dataset)].isel({sample: chosen}).load()
    truth = signals_of(dataset.isel({sample: chosen}), fitted.coordinates)
    mean = _mean_signal(dataset, fitted)
    done, of_mean = list[_Completed](), dict[str, float]()
    for mask in config.masks:
        part = observations_of(fitted, partly_seen(mask, fields))
        rest = replace(truth, observed=_unseen(truth, part, mask))
        inferred, labels = complete(fitted.network, flow, part, config.completion)
        alone, _ = fit(fitted.network, solver, part, fitting.steps)
        named = [""] * len(chosen) if labels is None else [classes[i] for i in labels]
        for method, phi in zip(METHODS, (inferred, alone), strict=True):
            known = named if method == METHODS[0] else [""] * len(chosen)
            columns = {"of": chosen.tolist(), "label": known}
            columns |= {"mask": [mask.label] * len(chosen), "method": [method] * len(chosen)}
            done.append(_Completed(phi, _score(fitted, rest, _values(fitted, rest, phi)), columns))
        of_mean[mask.label] = float(_score(fitted, rest, mean.expand_as(truth.features)).mean())
    _write(work, config, fitted, done, mean, {"functaset": functaset, "prior": prior})
    summary: dict[str, Any] = {"measure": _measure(fitted)["long_name"]}
    for each in done:
        (label,), (method,) = set(each.columns["mask"]), set(each.columns["method"])
        summary.setdefault(label, {})[method] = float(each.unseen.mean())
    for label, value in of_mean.items():
        summary[label]["mean of the training signals"] = value
    return Outcome(work.licence(functaset), summary)


def partly_seen(mask: Mask, fields: xr.Dataset) -> xr.Dataset:
    """Return fields with missing values where a mask does not let them be seen."""
    seen = [observed(mask, field) for field in fields.data_vars.values()]
    kept = fields.astype(np.float32)
    return kept.assign(
        {name: kept[name].where(part) for name, part in zip(kept.data_vars, seen, strict=True)}
    )


def _check(masks: tuple[Mask, ...], fitted: FittedNetwork) -> None:
    """Refuse masks that are for signals of another kind."""
    axes = fitted.coordinates.axes
    for i, mask in enumerate(masks):
        needed = NEEDED.get(mask.kind, ("x", "y", "z"))
        if not set(needed) <= set(axes):
            raise InputError(
                f"completion.masks[{i}] is of kind '{mask.kind}' and needs {', '.join(needed)}, "
                f"but the signals have {', '.join(axes)}: give masks of kind 'region' for fields, "
                "'half' or 'scan' for shapes, 'occlusion' for images, or 'random'."
            )


def _unseen(truth: Signals, part: Signals, mask: Mask) -> Tensor:
    assert part.observed is not None
    known = torch.ones_like(part.observed) if truth.observed is None else truth.observed
    unseen = known * (1 - part.observed)
    if not unseen.any(1).all():
        raise InputError(
            f"The mask '{mask.label}' hides no value of some signals: choose a region where the "
            "data have values."
        )
    return unseen


def _mean_signal(dataset: xr.Dataset, fitted: FittedNetwork) -> Tensor:
    """Return the mean of the training signals, (points, outputs); of shapes, best rounded."""
    training = held(dataset, fitted.coordinates, "train")
    mean = training.features.mean(0)
    if fitted.modality != "shape":
        return mean
    few = training.take(slice(0, 256))
    return mean - best_thresholds(few, mean.expand_as(few.features))["iou"] + fitted.surface


@torch.no_grad()
def _values(fitted: FittedNetwork, rest: Signals, phi: Tensor) -> Tensor:
    return torch.cat([fitted.network(rest.points, part) for part in phi.split(GROUP)])


def _score(fitted: FittedNetwork, rest: Signals, values: Tensor) -> Tensor:
    if fitted.modality == "shape":
        return occupancy_statistics(rest, values, fitted.surface)["iou"]
    errors = error_statistics(rest, values)
    if fitted.modality == "image":
        return -10 * errors["mse"].log10()
    return errors["squared"][:, 0].sqrt() * fitted.variables[0].scale


def _measure(fitted: FittedNetwork) -> dict[str, str]:
    if fitted.modality == "shape":
        return {"long_name": "IoU of the unseen part", "units": "1"}
    if fitted.modality == "image":
        return {"long_name": "PSNR of the unseen part (dB)", "units": "dB"}
    first = fitted.variables[0]
    units = str(first.attributes.get("units", "1"))
    return {"long_name": f"RMSE of the unseen part of {first.name} ({units})", "units": units}


def _write(
    work: Work,
    config: Completing,
    fitted: FittedNetwork,
    done: list[_Completed],
    mean: Tensor,
    parents: dict[str, Reference],
) -> None:
    """Publish the inferred modulations; they decode as those of a functaset do."""
    columns = {
        name: ("sample", np.array([v for each in done for v in each.columns[name]], kind))
        for name, kind in (("of", int), ("label", object), ("mask", object), ("method", object))
    }
    axes, (variable, *_) = fitted.coordinates.axes, fitted.variables
    shape = [len(fitted.grid[axis]) for axis in axes]
    first = mean[:, fitted.outputs_of(variable)].view(*shape, -1)
    if variable.channels:
        axes = (*axes, CHANNEL)
    else:
        first = first[..., 0]
    variables = {
        "unseen": ("sample", torch.cat([each.unseen for each in done]).numpy(), _measure(fitted)),
        "mean": (axes, first.numpy(), {"long_name": "mean of the training signals, normalised"}),
    }
    attributes = {
        "title": "Completions of partial observations: inferred, not data",
        "licence": work.licence(parents["functaset"]),
        "configuration": config.model_dump_json(),
        "provenance": json.dumps({name: parent.digest for name, parent in parents.items()}),
    }
    phi = torch.cat([each.phi for each in done]).numpy()
    write_modulations(work.result, phi, columns, variables, fitted, attributes)
    share_network(work.path(parents["functaset"]), work.result)
