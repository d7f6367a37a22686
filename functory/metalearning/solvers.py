"""Inner solvers: from a base network and signals to the modulations of those signals."""

from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.signals import Signals

__all__ = ["GradientDescent", "MetaSGD", "Solver", "SolverConfig", "build_solver"]


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


SolverConfig = Annotated[GradientDescent | MetaSGD, Field(discriminator="kind")]


class Solver(Protocol):
    """What fits modulations; `parameters()` are learned in the outer loop with the network's."""

    def __call__(
        self, network: LatentModulatedSiren, signals: Signals, steps: int | None = None
    ) -> Tensor:
        """Return the modulations, (signals, latents); differentiable where gradients are on."""
        ...


class GradientSteps(nn.Module):
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


def build_solver(config: GradientDescent | MetaSGD, latents: int) -> GradientSteps:
    """Build the solver that a configuration names."""
    return GradientSteps(config, latents)
