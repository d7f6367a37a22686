"""Gradient descent as the inner solver: COIN++'s fixed step and functa's learned ones."""

from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.inner_loop import InnerLoop, Solver
from functory.signals import Signals

__all__ = ["GradientDescent", "GradientSteps", "MetaSGD"]


class GradientDescent(InnerLoop):
    """CAVIA as in COIN++ (section 4.2.2): phi = 0, then steps of one fixed size."""

    kind: Literal["gradient-descent"] = "gradient-descent"
    step_size: PositiveFloat = 1e-2
    """Step size on each signal's mean squared error."""


class MetaSGD(InnerLoop):
    """Gradient steps with a learned size per latent (functa, section 5.A.3)."""

    kind: Literal["meta-sgd"] = "meta-sgd"
    low: PositiveFloat = 0.005
    """Step sizes start uniformly between this…"""
    high: PositiveFloat = 0.1
    """… and this."""
    largest: PositiveFloat = 1.0
    """Step sizes are kept between 0 and this."""
    rate: PositiveFloat | None = None
    """Learning rate of the step sizes; null takes the network's."""


class GradientSteps(Solver):
    """Gradient descent on each signal's mean squared error, from phi = 0.

    Only phi moves. In training the graph of every step is kept, so that the outer gradient is of
    second order (a first-order one costs about 10 dB).
    """

    step_size: Tensor

    def __init__(self, config: GradientDescent | MetaSGD, latents: int) -> None:
        super().__init__(config)
        if isinstance(config, MetaSGD):
            sizes = torch.empty(latents).uniform_(config.low, config.high)
            self.step_size, self.largest = nn.Parameter(sizes), config.largest
        else:
            self.register_buffer("step_size", torch.full((latents,), config.step_size))

    def first_step(self, network: LatentModulatedSiren, signals: Signals) -> Tensor:
        """Return the modulations after the first step, (signals, latents)."""
        if signals.points.ndim == 3:
            origin = signals.features.new_zeros(len(signals), len(self.step_size))
            return self.step(network, signals, origin.requires_grad_())
        f, jacobian = network.at_origin(signals.points)
        residual, weights = signals.features - f, signals.weights()
        if weights is not None:
            residual = residual * weights / weights.mean(1, keepdim=True).clamp(min=1e-30)
        descent = 2 * residual.flatten(1) @ jacobian.flatten(0, 1) / residual[0].numel()
        return self.step_size * descent

    def step(self, network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> Tensor:
        """Return the modulations after one more step, (signals, latents)."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            phi = phi if keep else phi.detach().requires_grad_()
            error = signals.squared_error(network(signals.points, phi)).sum()
            (gradient,) = torch.autograd.grad(error, phi, create_graph=keep)
        return phi - self.step_size * gradient

    def project(self) -> None:
        """Keep learned step sizes in their range."""
        if isinstance(self.step_size, nn.Parameter):
            with torch.no_grad():
                self.step_size.clamp_(0.0, self.largest)
