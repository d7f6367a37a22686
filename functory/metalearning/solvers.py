"""Inner solvers: from a base network and signals to the modulations of those signals."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.signals import Signals

__all__ = ["GaussNewton", "GradientDescent", "MetaSGD", "Solver", "SolverConfig", "build_solver"]


class GradientDescent(Config):
    """CAVIA as in COIN++ (section 4.2.2): phi = 0, then steps of one fixed size."""

    kind: Literal["gradient-descent"] = "gradient-descent"
    steps: PositiveInt = 3
    """Gradient steps, in training and by default in fitting."""
    step_size: PositiveFloat = 1e-2
    """Step size on each signal's mean squared error."""
    recompute: bool = False
    """Recompute each step in the backward pass: memory of one step instead of all."""


class MetaSGD(Config):
    """Gradient steps with a learned size per latent (functa, section 5.A.3)."""

    kind: Literal["meta-sgd"] = "meta-sgd"
    steps: PositiveInt = 3
    """Gradient steps, in training and by default in fitting."""
    low: PositiveFloat = 0.005
    """Step sizes start uniformly between this…"""
    high: PositiveFloat = 0.1
    """… and this."""
    largest: PositiveFloat = 1.0
    """Step sizes are kept between 0 and this."""
    rate: PositiveFloat | None = None
    """Adam's learning rate of the step sizes; null takes the network's."""
    recompute: bool = False
    """Recompute each step in the backward pass: memory of one step instead of all."""


class GaussNewton(Config):
    """Damped Gauss-Newton steps: each solves the problem linearised in the modulations.

    Not of the papers. At phi = 0 one Jacobian serves all signals, and nothing is of second order.
    """

    kind: Literal["gauss-newton"] = "gauss-newton"
    steps: PositiveInt = 1
    """Steps, in training and by default in fitting; the second and later linearise each signal."""
    damping: PositiveFloat = 1e-4
    """What is added to the diagonal of the normal equations, of the mean over points and outputs.

    It needs no learning: to scale the modulation matrix is the same as to change it.
    """


SolverConfig = Annotated[GradientDescent | MetaSGD | GaussNewton, Field(discriminator="kind")]


class Solver(nn.Module, ABC):
    """What fits modulations; `parameters()` are learned in the outer loop with the network's.

    What is learned has one value for each latent.
    """

    @abstractmethod
    def forward(
        self, network: LatentModulatedSiren, signals: Signals, steps: int | None = None
    ) -> Tensor:
        """Return the modulations, (signals, latents); differentiable where gradients are on."""

    def project(self) -> None:
        """Bring what is learned back into its range, after an outer step."""


class GradientSteps(Solver):
    """Gradient descent on each signal's mean squared error, from phi = 0.

    Only phi moves. In training the graph of every step is kept, so that the outer gradient is of
    second order (a first-order one costs about 10 dB).
    """

    step_size: Tensor

    def __init__(self, config: GradientDescent | MetaSGD, latents: int) -> None:
        super().__init__()
        self.config = config
        if isinstance(config, MetaSGD):
            sizes = torch.empty(latents).uniform_(config.low, config.high)
            self.step_size = nn.Parameter(sizes)
        else:
            self.register_buffer("step_size", torch.full((latents,), config.step_size))

    def forward(
        self, network: LatentModulatedSiren, signals: Signals, steps: int | None = None
    ) -> Tensor:
        """Return the modulations, (signals, latents)."""
        steps = self.config.steps if steps is None else steps
        phi = self._first_step(network, signals)
        for _ in range(steps - 1):
            if self.config.recompute and torch.is_grad_enabled():
                phi = checkpoint(self._step, network, signals, phi, use_reentrant=False)
            else:
                phi = self._step(network, signals, phi)
        return phi

    def project(self) -> None:
        """Keep learned step sizes in their range (after an outer step)."""
        if isinstance(self.config, MetaSGD):
            with torch.no_grad():
                self.step_size.clamp_(0.0, self.config.largest)

    def _first_step(self, network: LatentModulatedSiren, signals: Signals) -> Tensor:
        # At phi = 0 all signals have the same f and J: one sweep instead of one for each signal.
        f, jacobian = network.at_origin(signals.points)
        residual = f - signals.features
        if signals.observed is None:
            residual = residual / residual[0].numel()
        else:
            count = signals.observed.sum((1, 2), keepdim=True).clamp(min=1) * residual.shape[-1]
            residual = residual * signals.observed / count
        return -2 * self.step_size * (residual.flatten(1) @ jacobian.flatten(0, 1))

    def _step(self, network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> Tensor:
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            phi = phi if keep else phi.detach().requires_grad_()
            error = signals.squared_error(network(signals.points, phi)).sum()
            (gradient,) = torch.autograd.grad(error, phi, create_graph=keep)
        return phi - self.step_size * gradient


class GaussNewtonSteps(Solver):
    """Steps phi + (J'J/n + damping I)^-1 (J'r/n - damping phi), from phi = 0.

    n counts the observed points times outputs. The normal equations square the condition number of
    J, so they are solved in double precision.
    """

    def __init__(self, config: GaussNewton) -> None:
        super().__init__()
        self.config = config

    def forward(
        self, network: LatentModulatedSiren, signals: Signals, steps: int | None = None
    ) -> Tensor:
        """Return the modulations, (signals, latents)."""
        f, jacobian = network.at_origin(signals.points)
        phi = f.new_zeros(len(signals), jacobian.shape[-1])
        phi = self._step(f, jacobian, signals, phi)
        for _ in range((self.config.steps if steps is None else steps) - 1):
            f, jacobian = network.linearised(signals.points, phi)
            phi = self._step(f, jacobian, signals, phi)
        return phi

    def _step(self, f: Tensor, jacobian: Tensor, signals: Signals, phi: Tensor) -> Tensor:
        """Return the next phi; J is (points, outputs, latents), or one for each signal."""
        residual = signals.features - f
        if signals.observed is not None:
            residual = residual * signals.observed
            jacobian = jacobian * signals.observed[..., None]
            count = signals.observed.sum((1, 2)).clamp(min=1)[:, None, None] * f.shape[-1]
        else:
            count = f.new_full((), residual[0].numel())
        # long products in the given precision, short solutions in double
        rows = jacobian.flatten(-3, -2)
        normal = (rows.mT @ rows / count).double()
        if rows.ndim == 2:
            right = residual.flatten(1) @ rows / count
        else:
            right = (rows.mT @ residual.flatten(1)[..., None] / count).squeeze(-1)
        damping = self.config.damping
        normal = normal + damping * torch.eye(normal.shape[-1], device=f.device).double()
        factor = torch.linalg.cholesky(normal)
        right = (right - damping * phi).double()
        # one factor for all signals has them as columns
        if factor.ndim == 2:
            return phi + torch.cholesky_solve(right.mT, factor).mT.to(phi.dtype)
        return phi + torch.cholesky_solve(right[..., None], factor).squeeze(-1).to(phi.dtype)


def build_solver(config: GradientDescent | MetaSGD | GaussNewton, latents: int) -> Solver:
    """Build the solver that a configuration names."""
    if isinstance(config, GaussNewton):
        return GaussNewtonSteps(config)
    return GradientSteps(config, latents)
