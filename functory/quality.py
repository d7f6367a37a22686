"""How good a representation is: PSNR, and errors in the data's own units."""

import math

import numpy as np
import torch
from torch import Tensor

from functory.signals import Signals

__all__ = ["error_statistics", "psnr"]


def psnr(squared_errors: Tensor | np.ndarray) -> float:
    """Return -10 log10 of the mean of mean squared errors, in dB, for data with a range of one.

    The errors are averaged over the data set before the logarithm, as in table 5.1 of the thesis.
    """
    mean = float(squared_errors.mean())
    return math.inf if mean == 0 else -10 * math.log10(mean)


def error_statistics(signals: Signals, prediction: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Compare predictions with signals, over the observed points of each.

    Returns
    -------
    dict
        `mse`, (signals,), over all features; and for each feature, (signals, outputs), in
        normalised units: `squared`, `bias` (prediction minus signal), `largest` (of the absolute
        errors), and `squared_weighted` and `bias_weighted` with the given weights of points.
    """
    error = prediction - signals.features
    observed = torch.ones_like(error[..., :1]) if signals.observed is None else signals.observed
    error = error * observed
    area = observed * weights[:, None]
    count, total = observed.sum(1), area.sum(1)
    squared = error.square().sum(1) / count
    return {
        "mse": squared.mean(1),
        "squared": squared,
        "bias": error.sum(1) / count,
        "largest": error.abs().amax(1),
        "squared_weighted": (error.square() * area).sum(1) / total,
        "bias_weighted": (error * area).sum(1) / total,
    }
