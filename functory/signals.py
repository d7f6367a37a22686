"""Signal sets: fields on xarray as normalised points and features."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from functory.errors import InputError
from functory.fields.coordinates import Coordinates, Patchwork, area_weights
from functory.fields.patches import cells_of, cut, window_points

__all__ = [
    "CHANNEL",
    "Signals",
    "StoredSignals",
    "grid_axes",
    "sample_dimension",
    "signal_variables",
    "signals_of",
    "some",
    "split_indices",
]

SPLITS = ("train", "validation", "test")
CHANNEL = "channel"  # the dimension of a variable with several features, such as colours


@dataclass(frozen=True)
class Signals:
    """A batch or a whole data set of signals.

    `points` is (points, inputs) where all signals share their coordinates, else (signals, points,
    inputs); `features` is (signals, points, outputs), normalised to about [0, 1]; `observed` is
    (signals, points, 1), 0 where a signal has a gap (its feature is 0 there) or is shorter than
    others, or None where there are no gaps; `area` is (points,), what each point counts in errors
    and fits, or None where all count the same.
    """

    points: Tensor
    features: Tensor
    observed: Tensor | None = None
    area: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, samples: Tensor | slice) -> Self:
        """Return some of the signals."""
        return replace(
            self,
            points=self.points if self.points.ndim == 2 else self.points[samples],
            features=self.features[samples],
            observed=None if self.observed is None else self.observed[samples],
        )

    def at(self, points: Tensor | slice) -> Self:
        """Return all signals at some of the points."""
        return replace(
            self,
            points=self.points[..., points, :],
            features=self.features[:, points],
            observed=None if self.observed is None else self.observed[:, points],
            area=None if self.area is None else self.area[points],
        )

    def to(self, device: torch.device) -> Self:
        """Return the signals on a device."""
        return replace(
            self,
            points=self.points.to(device),
            features=self.features.to(device),
            observed=None if self.observed is None else self.observed.to(device),
            area=None if self.area is None else self.area.to(device),
        )

    def weights(self) -> Tensor | None:
        """Return what each point counts, (signals or 1, points, 1), or None if all are equal."""
        if self.area is None:
            return self.observed
        area = self.area[None, :, None]
        return area if self.observed is None else area * self.observed

    def count(self) -> Tensor:
        """Return how many values each signal has, as weighted, (signals or 1,)."""
        weights, (_, points, outputs) = self.weights(), self.features.shape
        if weights is None:
            return self.features.new_tensor([points * outputs])
        return weights.sum((1, 2)).clamp(min=torch.finfo(weights.dtype).tiny) * outputs

    def squared_error(self, prediction: Tensor) -> Tensor:
        """Return each signal's mean squared error over its points, as weighted, and features."""
        error, weights = (prediction - self.features).square(), self.weights()
        if weights is not None:
            error = error * weights
        return error.sum((1, 2)) / self.count()


@dataclass(frozen=True)
class StoredSignals:
    """Signals that are too many to hold at once: each is read when it is taken."""

    dataset: xr.Dataset
    coordinates: Coordinates
    by_area: bool = False

    def __len__(self) -> int:
        return self.dataset.sizes[sample_dimension(self.dataset)] * self._cells

    @property
    def _cells(self) -> int:
        """The number of signals that each sample has: its patches, or one."""
        if not isinstance(self.coordinates, Patchwork):
            return 1
        shape = [self.dataset.sizes[axis] for axis in self.coordinates.axes]
        return math.prod(cells_of(shape, self.coordinates.patches))

    @property
    def values(self) -> int:
        """The number of values of all signals."""
        return sum(self.dataset[name].size for name in signal_variables(self.dataset))

    def read(self) -> Signals:
        """Read all of the signals."""
        return signals_of(self.dataset, self.coordinates, self.by_area)

    def take(self, samples: Tensor) -> Signals:
        """Read some of the signals."""
        whole, cell = np.divmod(samples.numpy(), self._cells)
        chosen, places = np.unique(whole, return_inverse=True)
        part = self.dataset.isel({sample_dimension(self.dataset): chosen})
        signals = signals_of(part, self.coordinates, self.by_area)
        return signals.take(torch.from_numpy(places * self._cells + cell))


def signal_variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of the variables that are the signals' features, in channel order."""
    return [str(name) for name, v in dataset.data_vars.items() if "normalisation_scale" in v.attrs]


def grid_axes(dataset: xr.Dataset) -> tuple[str, ...]:
    """Return the dimensions that signals are functions of, slowest first."""
    first, sample = dataset[signal_variables(dataset)[0]], sample_dimension(dataset)
    return tuple(str(name) for name in first.dims if name not in (sample, CHANNEL))


def sample_dimension(dataset: xr.Dataset) -> str:
    """Return the dimension along which the signals lie."""
    return str(dataset.attrs["sample_dimension"])


def split_indices(dataset: xr.Dataset, splits: Sequence[str]) -> np.ndarray:
    """Return the positions of the signals of some splits."""
    return np.flatnonzero(np.isin(dataset["split"].values, splits))


def some(positions: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of some positions, spread over all of them."""
    return positions[np.unique(np.linspace(0, len(positions) - 1, most).astype(int))]


def signals_of(dataset: xr.Dataset, coordinates: Coordinates, by_area: bool = False) -> Signals:
    """Read a signal set (or a selection of one) into normalised points and features.

    On patches, every patch is a signal: sample by sample, and in the order of the cells. With
    `by_area`, points count as the area that they stand for: by cos latitude.

    Raises
    ------
    InputError
        If a value is missing where the signal set promises that none is.
    """
    grid = {name: dataset[name].values for name in coordinates.axes}
    features = _features(dataset, coordinates.axes)
    if isinstance(coordinates, Patchwork):
        shape = [len(values) for values in grid.values()]
        features = cut(features, shape, coordinates.patches)
        points, area = window_points(len(shape), coordinates.patches), None
    else:
        points = torch.from_numpy(coordinates.points(grid))
        area = torch.from_numpy(area_weights(grid)) if by_area else None
    missing = torch.isnan(features)
    if not missing.any():
        return Signals(points, features, area=area)
    if dataset.attrs["mask"] != "observed":
        raise InputError(
            f"{int(missing.sum())} values of the signal set are missing although its mask is "
            f"'{dataset.attrs['mask']}'; publish it again with mask 'observed'."
        )
    observed = (~missing.any(-1, keepdim=True)).to(features.dtype)
    return Signals(points, features.nan_to_num(0.0), observed, area)


def _features(dataset: xr.Dataset, axes: Sequence[str]) -> Tensor:
    """Return the normalised values of all variables and channels, (samples, points, features)."""
    found = []
    for name in signal_variables(dataset):
        array = dataset[name].transpose(sample_dimension(dataset), *axes, ...)
        offset, scale = (array.attrs[f"normalisation_{k}"] for k in ("offset", "scale"))
        values = (array.values.astype(np.float32) - np.float32(offset)) / np.float32(scale)
        found.append(values.reshape(len(values), math.prod(array.shape[1 : 1 + len(axes)]), -1))
    return torch.from_numpy(np.concatenate(found, axis=-1))
