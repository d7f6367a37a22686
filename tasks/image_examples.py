"""What the report on images shows: decoded functions beside the images they are of."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

from functory.fields.coordinates import Patchwork
from functory.fields.perturbation import difference_maps, perturb
from functory.reporting.image_charts import Perturbation
from functory.reporting.images import (
    Completion,
    Examples,
    Forms,
    Neighbours,
    Refinement,
    Samples,
)
from functory.signals import signal_variables, some, split_indices
from functory.sources.masks import observed
from storage.accessor import FunctaAccessor
from tasks.complete import METHODS

__all__ = [
    "completions_of",
    "decode",
    "examples_of",
    "forms_of",
    "galleries_of",
    "neighbours_of",
    "perturbation_of",
    "refinement_of",
]

AMOUNT = -0.01  # of a shift: the thesis's figure 5.15
PERTURBED = 2  # images that units are perturbed on
CHOSEN = 4  # units of a layer whose changes are drawn
FINE = 512  # pixels a side of functions that are looked at closely


def decode(dataset: xr.Dataset, **options: Any) -> np.ndarray:
    """Evaluate functions, cut to what can be shown: (…, y, x, channel) in [0, 1]."""
    values = FunctaAccessor(dataset).decode(**options).values
    return np.asarray(np.clip(values, 0, 1), dtype=np.float32)


def images(dataset: xr.Dataset, positions: np.ndarray) -> np.ndarray:
    """Return some images of a signal set, (sample, y, x, channel)."""
    (name,) = signal_variables(dataset)
    return np.asarray(dataset[name].isel(sample=positions).values, dtype=np.float32)


def examples_of(dataset: xr.Dataset, fits: xr.Dataset, count: int) -> Examples:
    """Return test images beside their functions."""
    chosen = some(split_indices(dataset, ["test"]), count)
    return Examples(
        originals=images(dataset, chosen),
        reconstructions=decode(fits.isel(sample=chosen)),
        psnr=fits["psnr"].values[chosen].tolist(),
        ssim=fits["ssim"].values[chosen].tolist(),
    )


def forms_of(dataset: xr.Dataset, fits: xr.Dataset, spatial: xr.Dataset, count: int) -> Forms:
    """Return test images as spatial functions and as functions with one vector."""
    chosen = some(split_indices(dataset, ["test"]), count)
    psnr = [each["psnr"].values[chosen].tolist() for each in (spatial, fits)]
    return Forms(
        numbers=(_numbers(spatial), _numbers(fits)),
        originals=images(dataset, chosen),
        spatial=decode(spatial.isel(sample=chosen)),
        whole=decode(fits.isel(sample=chosen)),
        psnr=list(zip(*psnr, strict=True)),
    )


def _numbers(functaset: xr.Dataset) -> int:
    return math.prod(functaset["modulation"].shape[1:])


def galleries_of(model: str, drawn: xr.Dataset, count: int) -> list[Samples]:
    """Return samples of a model, a gallery for each temperature; of every class as many."""
    if "temperature" not in drawn.coords:
        return [Samples(model, decode(drawn.isel(sample=slice(count))))]
    found = []
    for temperature in dict.fromkeys(drawn["temperature"].values.tolist()):
        chosen = np.flatnonzero(drawn["temperature"].values == temperature)
        shown = decode(drawn.isel(sample=some(chosen, count)))
        found.append(Samples(f"{model}, temperature {temperature:g}", shown))
    return found


def neighbours_of(
    model: str, dataset: xr.Dataset, fits: xr.Dataset, drawn: xr.Dataset, count: int
) -> Neighbours:
    """Find the training images whose modulations are nearest to those of new images."""
    few, train = drawn.isel(sample=slice(count)), split_indices(dataset, ["train"])
    distances = torch.cdist(
        torch.from_numpy(few["modulation"].values),
        torch.from_numpy(fits["modulation"].values[train]),
    )
    nearest = distances.topk(min(3, len(train)), largest=False)
    return Neighbours(
        model=model,
        samples=decode(few),
        nearest=np.stack([images(dataset, train[row]) for row in nearest.indices.numpy()]),
        distance=nearest.values.numpy(),
    )


def refinement_of(drawn: xr.Dataset, position: int) -> Refinement:
    """Return one function at its data's points, and between them."""
    one = drawn.isel(sample=position)
    coarse = decode(one)
    return Refinement(coarse=coarse, fine=decode(one, refine=max(2, FINE // len(coarse))))


def completions_of(
    dataset: xr.Dataset, completed: xr.Dataset, masks: Mapping[str, Any]
) -> list[Completion]:
    """Return completed images under every mask, others for each."""
    shown = []
    (name,) = signal_variables(dataset)
    for i, (label, mask) in enumerate(masks.items()):
        rows = np.flatnonzero(completed["mask"].values == label)
        of = completed["of"].values[rows]
        places = list(dict.fromkeys(of.tolist()))
        chosen = places[i % len(places)]
        whole = dataset[name].isel(sample=places).load()
        seen = observed(mask, whole).values[places.index(chosen)]
        method = completed["method"].values[rows]
        both = [rows[(of == chosen) & (method == m)][0] for m in METHODS]
        inferred, unseen = decode(completed.isel(sample=both)), completed["unseen"].values[both]
        shown.append(
            Completion(
                label=label,
                seen=seen.all(-1),
                original=whole.values[places.index(chosen)],
                with_prior=inferred[0],
                without_prior=inferred[1],
                psnr=(float(unseen[0]), float(unseen[1])),
            )
        )
    return shown


def perturbation_of(dataset: xr.Dataset, fits: xr.Dataset) -> Perturbation:
    """Change every shift of the network a little, and look at some of those that do most."""
    fitted = FunctaAccessor(fits).network
    chosen = some(split_indices(dataset, ["test"]), PERTURBED)
    assert not isinstance(fitted.coordinates, Patchwork)
    points = torch.from_numpy(fitted.coordinates.points(fitted.grid))
    phi = torch.from_numpy(fits["modulation"].values[chosen])
    effects = perturb(fitted.network, points, phi, AMOUNT)
    layers = effects.layers.unique()
    units = torch.cat(
        [
            (where := torch.nonzero(effects.layers == layer)[:, 0])[
                effects.shifts[where].topk(min(CHOSEN, len(where))).indices
            ]
            for layer in layers
        ]
    ).tolist()
    shape = tuple(len(fitted.grid[axis]) for axis in fitted.coordinates.axes)
    maps = difference_maps(fitted.network, points, phi, units, AMOUNT)
    return Perturbation(
        amount=AMOUNT,
        layers=effects.layers.numpy(),
        rmse=effects.shifts.numpy(),
        images=decode(fits.isel(sample=chosen)),
        chosen=np.array(units),
        differences=maps.unflatten(2, shape).numpy(),
    )
