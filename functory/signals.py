"""Signal sets: fields on xarray as normalised points and features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from functory.errors import InputError
from functory.fields.coordinates import Coordinates

__all__ = ["Signals", "sample_dimension", "signal_variables", "signals_of", "split_indices"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Signals:
    """A batch or a whole data set of signals that share their coordinates.

    `points` is (points, inputs); `features` is (signals, points, outputs), normalised to about
    [0, 1]; `observed` is (signals, points, 1), 0 where a signal has a gap (its feature is 0 there),
    or None where there are no gaps.
    """

    points: Tensor
    features: Tensor
    observed: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, samples: Tensor | slice) -> Self:
        """Return some of the signals."""
        observed = None if self.observed is None else self.observed[samples]
        return replace(self, features=self.features[samples], observed=observed)

    def at(self, points: Tensor) -> Self:
        """Return all signals at some of the points."""
        observed = None if self.observed is None else self.observed[:, points]
        return replace(
            self, points=self.points[points], features=self.features[:, points], observed=observed
        )

    def to(self, device: torch.device) -> Self:
        """Return the signals on a device."""
        observed = None if self.observed is None else self.observed.to(device)
        return replace(
            self,
            points=self.points.to(device),
            features=self.features.to(device),
            observed=observed,
        )

    def squared_error(self, prediction: Tensor) -> Tensor:
        """Return each signal's mean squared error over its observed points and features."""
        error = (prediction - self.features).square()
        if self.observed is None:
            return error.mean((1, 2))
        count = self.observed.sum((1, 2)).clamp(min=1) * error.shape[-1]
        return (error * self.observed).sum((1, 2)) / count


def signal_variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of the variables that are the signals' features, in channel order."""
    return [str(name) for name, v in dataset.data_vars.items() if "normalisation_scale" in v.attrs]


def sample_dimension(dataset: xr.Dataset) -> str:
    """Return the dimension along which the signals lie."""
    return str(dataset.attrs["sample_dimension"])


def split_indices(dataset: xr.Dataset, splits: Sequence[str]) -> np.ndarray:
    """Return the positions of the signals of some splits."""
    return np.flatnonzero(np.isin(dataset["split"].values, splits))


def signals_of(dataset: xr.Dataset, coordinates: Coordinates) -> Signals:
    """Read a signal set (or a selection of one) into normalised points and features.

    Raises
    ------
    InputError
        If a value is missing where the signal set promises that none is.
    """
    sample, names = sample_dimension(dataset), signal_variables(dataset)
    axes = coordinates.axes
    points = coordinates.points({name: dataset[name].values for name in axes})
    channels = []
    for name in names:
        array = dataset[name].transpose(sample, *axes)
        offset, scale = (array.attrs[f"normalisation_{k}"] for k in ("offset", "scale"))
        values = (array.values.astype(np.float32) - np.float32(offset)) / np.float32(scale)
        channels.append(values.reshape(len(values), -1))
    features = torch.from_numpy(np.stack(channels, axis=-1))
    missing = torch.isnan(features)
    if not missing.any():
        return Signals(torch.from_numpy(points), features)
    if dataset.attrs["mask"] != "observed":
        raise InputError(
            f"{int(missing.sum())} values of the signal set are missing although its mask is "
            f"'{dataset.attrs['mask']}'; publish it again with mask 'observed'."
        )
    observed = (~missing.any(-1, keepdim=True)).to(features.dtype)
    return Signals(torch.from_numpy(points), features.nan_to_num(0.0), observed)
