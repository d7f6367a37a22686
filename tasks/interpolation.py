"""Interpolation: ways from one test signal to another, through both spaces of a prior."""

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from storage.priors import read_prior

__all__ = ["WAYS", "interpolate"]

WAYS = ("latent", "modulation")


def interpolate(functaset: xr.Dataset, prior: Path, steps: int = 7) -> xr.Dataset:
    """Go from the first test signal to the last one of its class, in equal steps.

    Returns
    -------
    xr.Dataset
        `modulation(way, step, latent)`: straight in the flow's base space, then in modulations.
    """
    flow, classes = read_prior(prior)
    test = np.flatnonzero(functaset["split"].values == "test")
    known = None
    if classes:
        label = functaset["label"].values
        test = test[label[test] == label[test[0]]]
        known = torch.tensor([classes.index(label[test[0]])])
    ends = torch.from_numpy(functaset["modulation"].values[test[[0, -1]]])
    shares = torch.linspace(0, 1, steps)[:, None]

    def between(two: torch.Tensor) -> torch.Tensor:
        return (1 - shares) * two[0] + shares * two[1]

    with torch.no_grad():
        base = flow.to_latent(ends, None if known is None else known.expand(2))
        curved = flow.from_latent(between(base), None if known is None else known.expand(steps))
    both = torch.stack([curved, between(ends)]).numpy()
    found = xr.Dataset(
        {"modulation": (("way", "step", "latent"), both)},
        coords={"way": np.array(WAYS, object)},
        attrs=functaset.attrs,
    )
    found.encoding["source"] = functaset.encoding["source"]
    return found
