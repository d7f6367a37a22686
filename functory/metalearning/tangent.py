"""A start for Gauss-Newton: the network's tangent space, aligned with principal components.

Near phi = 0 a modulated network is linear in phi, so what it can represent is at first the span of
J = S M, with the sensitivities S = df/ds of the network. For given S the best M is known in closed
form (reduced-rank regression), and of the training signals only their mean and covariance count.
So the network's own parameters are trained on a loss in which M is eliminated, which is exact over
the whole data set, and as cheap as a step on a few signals.
"""

from dataclasses import dataclass

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.models.principal_components import PrincipalComponents
from functory.signals import Signals

__all__ = ["TangentLoss", "TangentStart"]


class TangentStart(Config):
    """How the tangent space is aligned before signals are fitted one by one."""

    steps: PositiveInt = 300
    """Steps of the outer loop's optimiser."""
    rate: PositiveFloat = 2e-3
    """Learning rate, with a cosine schedule."""
    penalty: PositiveFloat = 0.01
    """Cost of squared shifts beside the mean squared error; small ones stay near the tangent."""


@dataclass(frozen=True)
class _Reduced:
    """A reduced-rank problem: the Cholesky factor of S'S + penalty, and the leading directions."""

    loss: Tensor
    factor: Tensor
    directions: Tensor


class TangentLoss:
    """The error of the best modulations in the tangent space, with M eliminated.

    Minimises E|y - f0 - S s|^2 / n + penalty |s|^2 over shifts s = M phi, over all M of one width.
    It keeps as many principal components of the training signals as can matter.
    """

    def __init__(self, training: Signals, latents: int, penalty: float) -> None:
        components = PrincipalComponents.fit(training, 4 * latents)
        shape = training.features.shape[1:]
        self.latents, self.penalty = latents, penalty
        self.points, self.area = training.points, training.area
        self.mean = components.mean.view(shape)
        scaled = components.deviations[:, None] * components.directions
        self.components = scaled.view(-1, *shape)

    def __call__(self, network: LatentModulatedSiren, chosen: Tensor | slice) -> Tensor:
        """Return the loss at some of the points."""
        return self._reduce(network, chosen).loss

    @torch.no_grad()
    def solve(self, network: LatentModulatedSiren) -> None:
        """Set the modulation matrix to the best one, whitened and ordered by energy."""
        reduced = self._reduce(network, slice(None))
        best = torch.linalg.solve_triangular(reduced.factor.mT, reduced.directions, upper=True)
        network.modulation.weight.copy_(best)

    def _reduce(self, network: LatentModulatedSiren, chosen: Tensor | slice) -> _Reduced:
        f, sensitivities = network.sensitivities(self.points[chosen])
        targets = torch.cat([self.components[:, chosen], (self.mean[chosen] - f)[None]])
        if self.area is not None:
            root = self.area[chosen].sqrt()[:, None]
            targets, sensitivities = targets * root, sensitivities * root[..., None]
        rows, targets = sensitivities.flatten(0, 1), targets.flatten(1)
        values = len(rows)
        # a dependent basis is no failure: the penalty makes the matrix definite, in double
        normal = (rows.mT @ rows).double() / values
        identity = torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
        factor = torch.linalg.cholesky(normal + self.penalty * identity)
        moments = (targets @ rows).double() / values
        whitened = torch.linalg.solve_triangular(factor, moments.mT, upper=False)
        explained = whitened @ whitened.mT
        with torch.no_grad():
            directions = torch.linalg.eigh(explained)[1].flip(1)[:, : self.latents]
        # the gradient of a sum of leading eigenvalues needs no gradient of their directions
        kept = (directions * (explained @ directions)).sum()
        return _Reduced(targets.square().sum().double() / values - kept, factor, directions)
