"""Gauss-Newton steps as the inner solver: each solves the problem linearised in the modulations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.inner_loop import InnerLoop, Solver
from functory.signals import Signals

__all__ = ["GaussNewton", "GaussNewtonSteps", "Projector"]

SHARES = (1.0, 0.5, 0.25, 0.0)  # of a step from where the functions may be far from linear
BLOCK = 2**24  # values of df/ds that are held at once where no gradient is kept: 64 MB


class GaussNewton(InnerLoop):
    """Damped Gauss-Newton steps, from phi = 0.

    Not of the papers. At phi = 0 one Jacobian serves all signals, and nothing is of second order.
    """

    kind: Literal["gauss-newton"] = "gauss-newton"
    steps: PositiveInt = 1
    """Steps in training, and by default in fitting; the second and later linearise each signal."""
    damping: PositiveFloat = 1e-4
    """Added to the diagonal of the normal equations, as a share of its mean."""


class GaussNewtonSteps(Solver):
    """Steps phi + (J'WJ + c I)^-1 (J'Wr - c phi), with c = damping times the mean of diag J'WJ.

    W weights points as in the error that is minimised. The normal equations square the condition
    number of J, so they are formed and solved in double precision. A step from where all signals
    start is taken in full; of a later one each signal takes the share that serves it best.
    """

    config: GaussNewton

    def __init__(self, config: GaussNewton) -> None:
        super().__init__(config)

    def first_step(self, network: LatentModulatedSiren, signals: Signals) -> Tensor:
        """Return the modulations after the first step, (signals, latents)."""
        if signals.points.ndim == 2 and signals.observed is None:
            return self.projector(network, signals)(signals.features)
        phi = signals.features.new_zeros(len(signals), network.config.latents)
        return self._full_step(network, signals, phi, at_origin=True)[0]

    def projector(self, network: LatentModulatedSiren, signals: Signals) -> "Projector":
        """Return the first step for any signals without gaps at these signals' points."""
        parts = [
            network.at_origin(part.points) for part in self._blocks(network, signals, groups=1)
        ]
        f, jacobian = (torch.cat(terms) for terms in zip(*parts, strict=True))
        area = torch.ones_like(f[:, 0]) if signals.area is None else signals.area
        weights = (area / area.sum() / network.outputs).repeat_interleave(network.outputs)
        rows = jacobian.flatten(0, 1).double()
        weighted = weights[:, None] * rows
        factor, _ = self._factorise(weighted.mT @ rows)
        return Projector(f, weighted, factor)

    def step(self, network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> Tensor:
        """Return the modulations after one more step, (signals, latents)."""
        full, pull = self._full_step(network, signals, phi)
        with torch.no_grad():
            merits = []
            for share in SHARES:
                tried = phi + share * (full - phi)
                error = signals.squared_error(network(signals.points, tried))
                merits.append(error + pull * tried.square().sum(1))
            best = phi.new_tensor(SHARES)[torch.stack(merits).argmin(0)]
        return phi + best[:, None] * (full - phi)

    def _full_step(
        self,
        network: LatentModulatedSiren,
        signals: Signals,
        phi: Tensor,
        at_origin: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return phi after a full step, and the c of each signal, (signals,)."""
        sums = []
        for part in self._blocks(network, signals, groups=len(signals)):
            if at_origin and part.points.ndim == 2:
                f, jacobian = (t.expand(len(phi), *t.shape) for t in network.at_origin(part.points))
            else:
                f, jacobian = network.linearised(part.points, phi)
            sums.append(normal_equations(f, jacobian, part))
        normal, right = (sum(terms[1:], terms[0]) for terms in zip(*sums, strict=True))
        count = signals.count()[:, None, None]
        factor, pull = self._factorise(normal / count)
        right = right / count - pull[:, None, None] * phi[..., None]
        step = torch.cholesky_solve(right, factor).squeeze(-1)
        return phi + step.to(phi.dtype), pull.to(phi.dtype)

    def _factorise(self, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Cholesky factor of J'WJ + c I, and c."""
        diagonal = normal.diagonal(dim1=-2, dim2=-1)
        # a signal without a single observed point stays where it is
        pull = (self.config.damping * diagonal.mean(-1)).clamp(min=1e-300)
        damped = normal + torch.diag_embed(pull[..., None].expand_as(diagonal))
        return torch.linalg.cholesky(damped), pull

    def _blocks(
        self, network: LatentModulatedSiren, signals: Signals, groups: int
    ) -> Iterator[Signals]:
        """Yield the signals at blocks of points; at all at once where a gradient needs them."""
        points = signals.points.shape[-2]
        row = groups * network.outputs * network.modulation.out_features
        size = points if torch.is_grad_enabled() else max(1, BLOCK // row)
        for start in range(0, points, size):
            yield signals.at(slice(start, start + size))


@dataclass(frozen=True)
class Projector:
    """What encodes signals without gaps on one grid: a matrix product and two triangular solves.

    `f` is (points, outputs), `rows` is (points times outputs, latents), `factor` the Cholesky
    factor of the normal equations.
    """

    f: Tensor
    rows: Tensor
    factor: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return the modulations, (signals, latents), of (signals, points, outputs)."""
        right = (features - self.f).flatten(1).to(self.rows.dtype) @ self.rows
        return torch.cholesky_solve(right.mT, self.factor).mT.to(features.dtype)


def normal_equations(f: Tensor, jacobian: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
    """Return the sums J'WJ and J'Wr of each signal, in double precision.

    Parameters
    ----------
    f, jacobian
        (signals, points, outputs) and (signals, points, outputs, latents).

    Returns
    -------
    tuple
        (signals, latents, latents) and (signals, latents, 1).
    """
    rows = jacobian.flatten(1, 2).double()
    residual = (signals.features - f).flatten(1).double()
    weights, weighted = signals.weights(), rows
    if weights is not None:
        weighted = rows * weights.expand(-1, -1, f.shape[-1]).flatten(1)[..., None]
    return weighted.mT @ rows, weighted.mT @ residual[..., None]
