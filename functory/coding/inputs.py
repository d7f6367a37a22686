"""From a user's Dataset to the signals that a network can be fitted to."""

import numpy as np
import xarray as xr

from functory.errors import InputError
from functory.fields.coordinates import Box
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.signals import CHANNEL

__all__ = ["as_signals"]

BEYOND = 0.02  # of its width, that data may reach out of the box that a network was trained on


def as_signals(dataset: xr.Dataset, fitted: FittedNetwork) -> xr.Dataset:
    """Select what a network knows of a Dataset, with the normalisation of its training.

    Nothing is read yet; a Dataset of one signal without a dimension for it gets one.

    Raises
    ------
    InputError
        If a variable, an axis or a channel is missing or other than in training.
    """
    missing = [v.name for v in fitted.variables if v.name not in dataset]
    if missing:
        there = ", ".join(map(str, dataset.data_vars)) or "no variable"
        raise InputError(
            f"The codec is for {', '.join(v.name for v in fitted.variables)}, but the input has "
            f"{there}; rename a variable, or choose another codec (`functory codecs` lists them)."
        )
    sample = str(dataset.attrs.get("sample_dimension", "sample"))
    chosen = dataset[[v.name for v in fitted.variables]]
    if sample not in chosen.dims:
        chosen = chosen.expand_dims(sample)
    for variable in fitted.variables:
        _check(chosen[variable.name], variable, fitted, sample)
    _check_box(chosen, fitted)
    signals = chosen.transpose(sample, *fitted.coordinates.axes, ...)
    for variable in fitted.variables:
        signals[variable.name].attrs |= {
            "normalisation_offset": variable.offset,
            "normalisation_scale": variable.scale,
        }
    signals.attrs = {"modality": fitted.modality, "sample_dimension": sample, "mask": "none"}
    return signals


def _check(array: xr.DataArray, variable: Variable, fitted: FittedNetwork, sample: str) -> None:
    expected = {sample, *fitted.coordinates.axes} | ({CHANNEL} if variable.channels else set())
    if set(map(str, array.dims)) != expected:
        raise InputError(
            f"{variable.name} has the dimensions {', '.join(map(str, array.dims))}, but the codec "
            f"codes {', '.join(sorted(expected))}; select or rename dimensions."
        )
    units, known = array.attrs.get("units"), variable.attributes.get("units")
    if known is not None and units is not None and units != known:
        raise InputError(
            f"{variable.name} is in {units}, but the codec was trained on {known}; convert it."
        )
    if variable.channels and array.sizes[CHANNEL] != len(variable.channels):
        raise InputError(
            f"{variable.name} has {array.sizes[CHANNEL]} channels, but the codec codes "
            f"{', '.join(variable.channels)}; convert the input."
        )


def _check_box(signals: xr.Dataset, fitted: FittedNetwork) -> None:
    """Refuse data from where the network was not trained: it would be anything there."""
    if not isinstance(fitted.coordinates, Box):
        return
    for axis in fitted.coordinates.box:
        scaled = axis.scale(np.asarray(signals[axis.name].values, dtype=np.float64))
        slack = BEYOND * (axis.high - axis.low)
        if scaled.min() < axis.low - slack or scaled.max() > axis.high + slack:
            raise InputError(
                f"The input's {axis.name} reaches from {signals[axis.name].values.min():g} to "
                f"{signals[axis.name].values.max():g}, but the codec was trained from "
                f"{min(axis.start, axis.stop):g} to {max(axis.start, axis.stop):g}; cut the input "
                "to that, or choose another codec."
            )
