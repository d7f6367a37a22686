"""Completion of partial observations by the functions of a functaset."""

import math

import numpy as np
import torch
import xarray as xr

from functory.errors import InputError
from functory.fields.coordinates import Patchwork
from functory.fields.fitted_network import FittedNetwork
from functory.signals import CHANNEL, Signals

__all__ = ["observations_of"]


def observations_of(fitted: FittedNetwork, partial: xr.DataArray | xr.Dataset) -> Signals:
    """Return partly observed fields as signals with gaps: (samples, points, variables).

    Missing values (NaN) are what is not observed, in any of the variables. The grid may be any:
    what counts are its coordinates.

    Raises
    ------
    InputError
        If a coordinate or a variable of the functions is missing, a sample has no observation, or
        the functions are spatial.
    """
    if isinstance(fitted.coordinates, Patchwork):
        raise InputError(
            "Spatial functions cannot be completed, as no prior says how patches that are seen and "
            "patches that are not go together: take a functaset without patches."
        )
    dataset = partial if isinstance(partial, xr.Dataset) else partial.to_dataset(name=_only(fitted))
    axes = fitted.coordinates.axes
    channels = []
    for variable in fitted.variables:
        if variable.name not in dataset:
            raise InputError(
                f"The observations have no variable '{variable.name}': the functions give "
                f"{', '.join(v.name for v in fitted.variables)}, and need all of them."
            )
        field = dataset[variable.name]
        missing = [axis for axis in axes if axis not in field.dims or axis not in field.coords]
        more = [CHANNEL] if variable.channels else []
        if missing or field.ndim > len(axes) + len(more) + 1:
            raise InputError(
                f"The observations have dimensions {', '.join(map(str, field.dims))}: give at most "
                f"one of samples, and coordinates along {', '.join(axes)}."
            )
        size = math.prod(field.sizes[axis] for axis in axes)
        values = field.transpose(..., *axes, *more).values.reshape(-1, size, variable.outputs)
        channels.append((values.astype(np.float64) - variable.offset) / variable.scale)
    features = torch.from_numpy(np.concatenate(channels, -1).astype(np.float32))
    observed = torch.isfinite(features).all(-1, keepdim=True)
    empty = torch.nonzero(~observed.any(1)[:, 0]).flatten().tolist()
    if empty:
        raise InputError(
            f"Sample {empty[0]} of the observations ({len(empty)} in all) has no value at all: "
            "leave it out."
        )
    grid = {axis: dataset[axis].values.astype(np.float64) for axis in axes}
    points = torch.from_numpy(fitted.coordinates.points(grid))
    return Signals(points, torch.where(observed, features, 0.0), observed.float())


def _only(fitted: FittedNetwork) -> str:
    names = [variable.name for variable in fitted.variables]
    if len(names) > 1:
        raise InputError(f"The functions give several variables: give a Dataset with {names}.")
    return names[0]
