"""How models are trained: optimisers, and schedules of learning rates."""

import math
from typing import Any, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from pytorch_optimizer import SOAP

from functory.configuration import Config

__all__ = ["Optimisation", "build_optimiser"]


class Optimisation(Config):
    """How a model is trained: an optimiser with a schedule of learning rates."""

    steps: PositiveInt
    """Optimiser steps."""
    batch: PositiveInt
    """Samples per step."""
    rate: PositiveFloat
    """The learning rate (at its highest, where a schedule changes it)."""
    optimiser: Literal["adam", "soap"] = "adam"
    """Adam, or Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024)."""
    schedule: Literal["constant", "cosine", "inverse-sqrt"] = "constant"
    """How the rate falls after the warm-up: not, to zero as a cosine, or as 1/sqrt(step)."""
    warmup: NonNegativeInt = 0
    """Steps in which the rate grows linearly from zero."""
    clip: PositiveFloat | None = 1.0
    """Largest norm of the gradient; null leaves it as it is."""
    evaluate_every: PositiveInt = 100
    """Steps between two measurements on held-out data."""
    checkpoint_every: PositiveInt = 50
    """Steps between two checkpoints: the most that a killed run loses."""
    seed: int = 0
    """Seed of everything that is random in training."""

    def factor(self, step: int) -> float:
        """Return the share of the full rate at a step (from 0)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(1, self.steps - self.warmup)
            return (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "inverse-sqrt":
            start = max(1, self.warmup)
            return math.sqrt(start / max(start, step + 1))
        return 1.0


def build_optimiser(groups: list[dict[str, Any]], config: Optimisation) -> torch.optim.Optimizer:
    """Build the optimiser that a configuration names."""
    if config.optimiser == "soap":
        # a dimension beyond this costs more to precondition than it gains
        return SOAP(groups, lr=config.rate, weight_decay=0.0, max_precondition_dim=2048)
    return torch.optim.Adam(groups, lr=config.rate)
