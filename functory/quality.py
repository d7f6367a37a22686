"""How good a representation is: PSNR, errors in the data's own units, accuracy and overlap."""

import math

import numpy as np
import torch
from torch import Tensor

from functory.signals import Signals

__all__ = [
    "SURFACE",
    "best_thresholds",
    "error_statistics",
    "image_statistics",
    "occupancy_statistics",
    "psnr",
]

SURFACE = 0.5  # what is above it is occupied, in data


def psnr(squared_errors: Tensor | np.ndarray) -> float:
    """Return -10 log10 of the mean of mean squared errors, in dB, for data with a range of one.

    The errors are averaged over the data set before the logarithm, as in table 5.1 of the thesis.
    """
    mean = float(squared_errors.mean())
    return math.inf if mean == 0 else -10 * math.log10(mean)


def error_statistics(
    signals: Signals, prediction: Tensor, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Compare predictions with signals, over the observed points of each.

    Returns
    -------
    dict
        `mse`, (signals,), over all features; and for each feature, (signals, outputs), in
        normalised units: `squared`, `bias` (prediction minus signal), `largest` (of the absolute
        errors), and `squared_weighted` and `bias_weighted` with the given (points,) weights
        or equal ones.
    """
    error = prediction - signals.features
    if weights is None:
        weights = error.new_ones(error.shape[1])
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


def occupancy_statistics(
    signals: Signals, prediction: Tensor, surface: float = SURFACE
) -> dict[str, Tensor]:
    """Compare predicted occupancies, rounded up above `surface`, with signals of zeros and ones.

    Returns
    -------
    dict
        Of each signal, (signals,), over its observed points: `mse`, before rounding; `accuracy`,
        the share of points that are right; `iou`, intersection over union, 1 where both are empty.
    """
    observed = torch.ones_like(prediction) if signals.observed is None else signals.observed
    occupied, predicted = signals.features > SURFACE, prediction > surface
    known = observed > 0
    right = ((occupied == predicted) & known).sum((1, 2)) / known.expand_as(occupied).sum((1, 2))
    both = (occupied & predicted & known).sum((1, 2))
    either = ((occupied | predicted) & known).sum((1, 2))
    overlap = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    squared = ((prediction - signals.features).square() * observed).sum((1, 2))
    count = observed.expand_as(prediction).sum((1, 2))
    return {"mse": squared / count, "accuracy": right, "iou": overlap.to(prediction.dtype)}


def image_statistics(
    signals: Signals, prediction: Tensor, shape: tuple[int, int]
) -> dict[str, Tensor]:
    """Compare predictions with images of height and width `shape`.

    Returns
    -------
    dict
        Of each image, (signals,): `mse`, over all features, and `ssim`, the structural similarity
        (Wang et al. 2004) of what can be shown: values cut to [0, 1].
    """
    from functory.models.generative_quality import ssim  # here: it takes seconds to load

    original, decoded = (
        values.unflatten(1, shape) for values in (signals.features, prediction.clamp(0, 1))
    )
    return {"mse": signals.squared_error(prediction), "ssim": ssim(original, decoded)}


def best_thresholds(signals: Signals, prediction: Tensor) -> dict[str, float]:
    """Return where predictions are best rounded, for `iou` and for `accuracy`, in hundredths.

    Best are the largest means over signals, of all their points.
    """
    levels = torch.arange(5, 100, dtype=prediction.dtype) / 100
    above = torch.bucketize(
        prediction.flatten(1).contiguous(), levels
    )  # how many levels each value is above
    size = len(levels) + 1
    bins = above + size * torch.arange(len(above))[:, None]
    occupied = (signals.features.flatten(1) > SURFACE).to(prediction.dtype)

    def counted(weights: Tensor) -> Tensor:
        """Return the weight of each signal's values above each level, (signals, levels)."""
        found = torch.bincount(bins.flatten(), weights.flatten(), minlength=size * len(above))
        return found.view(len(above), size).flip(1).cumsum(1).flip(1)[:, 1:]

    right, wrong, total = counted(occupied), counted(1 - occupied), occupied.sum(1, keepdim=True)
    overlap = right / (total + wrong).clamp(min=1)
    wrongs = (total - right + wrong).mean(0)
    overlaps = overlap.mean(0)
    best = {"iou": overlaps == overlaps.max(), "accuracy": wrongs == wrongs.min()}
    # where several serve as well, the one in the middle
    return {name: round(float(levels[tied].median()), 2) for name, tied in best.items()}
