"""What every inner solver has: from a base network and signals to their modulations."""

from abc import ABC, abstractmethod

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.signals import Signals

__all__ = ["InnerLoop", "Solver"]


class InnerLoop(Config):
    """What the configurations of all inner solvers share."""

    steps: PositiveInt = 3
    """Steps in training, and by default in fitting."""
    recompute: bool = False
    """Recompute each step in the backward pass: memory of one step instead of all."""


class Solver(nn.Module, ABC):
    """What fits modulations, from phi = 0, in a first step and more.

    `parameters()` are learned in the outer loop with the network's; each has one value for each
    latent. All steps are differentiable where gradients are enabled.
    """

    def __init__(self, config: InnerLoop) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def first_step(self, network: LatentModulatedSiren, signals: Signals) -> Tensor:
        """Return the modulations after the first step, (signals, latents).

        Signals that share their points share f and J at phi = 0: the more of them at once, the
        less each costs.
        """

    @abstractmethod
    def step(self, network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> Tensor:
        """Return the modulations after one more step, (signals, latents)."""

    def refine(
        self, network: LatentModulatedSiren, signals: Signals, phi: Tensor, steps: int | None = None
    ) -> Tensor:
        """Take all steps but the first: as many as configured, or as given with the first."""
        for _ in range((self.config.steps if steps is None else steps) - 1):
            if self.config.recompute and torch.is_grad_enabled():
                phi = checkpoint(self.step, network, signals, phi, use_reentrant=False)
            else:
                phi = self.step(network, signals, phi)
        return phi

    def forward(
        self, network: LatentModulatedSiren, signals: Signals, steps: int | None = None
    ) -> Tensor:
        """Return the modulations, (signals, latents)."""
        return self.refine(network, signals, self.first_step(network, signals), steps)

    def project(self) -> None:
        """Bring what is learned back into its range, after an outer step."""
