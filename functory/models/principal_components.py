"""Principal components: the linear basis that every functaset is compared with."""

from typing import Self

import torch
from torch import Tensor

from functory.signals import Signals

__all__ = ["PrincipalComponents"]

ITERATIONS = 4  # of the randomised decomposition: within 0.01 dB of the exact one on images


class PrincipalComponents:
    """The mean of signals and the orthonormal directions in which they vary most.

    `mean` is (values,), `directions` is (count, values) and `deviations` is (count,), where values
    are points times features. Unobserved values count as the mean. Also known as empirical
    orthogonal functions (EOFs).
    """

    def __init__(self, mean: Tensor, directions: Tensor, deviations: Tensor) -> None:
        self.mean, self.directions, self.deviations = mean, directions, deviations

    @classmethod
    def fit(cls, signals: Signals, count: int) -> Self:
        """Find `count` components of signals that share their points, or as many as there are."""
        mean = _mean(signals)
        centred = _centred(signals, mean)
        count = min(count, *centred.shape)
        beyond = min(count + 32, *centred.shape)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            _, sizes, directions = torch.svd_lowrank(centred, beyond, ITERATIONS)
        deviations = sizes[:count] / len(signals) ** 0.5
        return cls(mean, directions.mT[:count].contiguous(), deviations)

    def encode(self, signals: Signals) -> Tensor:
        """Return the coefficients of signals, (signals, count)."""
        return _centred(signals, self.mean) @ self.directions.mT

    def decode(self, coefficients: Tensor) -> Tensor:
        """Return the values for coefficients, (signals, values)."""
        return self.mean + coefficients @ self.directions

    def squared_error(self, signals: Signals) -> Tensor:
        """Return each signal's mean squared error over its observed values."""
        decoded = self.decode(self.encode(signals))
        return signals.squared_error(decoded.view(signals.features.shape))


def _mean(signals: Signals) -> Tensor:
    if signals.observed is None:
        return signals.features.mean(0).flatten()
    count = signals.observed.sum(0).clamp(min=1)
    return ((signals.features * signals.observed).sum(0) / count).flatten()


def _centred(signals: Signals, mean: Tensor) -> Tensor:
    centred = signals.features.flatten(1) - mean
    if signals.observed is None:
        return centred
    return (centred.view(signals.features.shape) * signals.observed).flatten(1)
