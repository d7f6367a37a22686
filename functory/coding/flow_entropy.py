"""The flow as an entropy model: densities of dequantised modulations as code lengths."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from functory.coding.quantisation import UniformQuantiser
from functory.models.flow_prior import FlowPrior, FlowTraining, train_flow
from functory.training import History

__all__ = ["flow_bits", "train_entropy_flow"]

DRAWS = 4  # dequantisations of each sample that a code length is averaged over


def train_entropy_flow(
    training: np.ndarray,
    held_out: np.ndarray,
    quantiser: UniformQuantiser,
    config: FlowTraining,
    checkpoint: Path | None = None,
) -> tuple[FlowPrior, History]:
    """Fit a flow to uniformly dequantised symbols (thesis, section 6.4.2).

    `training` and `held_out` are (samples, latents) symbols of the quantiser.
    """
    width = _widths(quantiser)

    def dequantise(values: Tensor, generator: torch.Generator | None) -> Tensor:
        noise = torch.rand(values.shape, generator=generator) - 0.5
        return values + (noise * width).to(values.device)

    train, test = (torch.from_numpy(quantiser.dequantise(s)) for s in (training, held_out))
    return train_flow(train, test, config, checkpoint, perturb=dequantise, label="entropy flow")


def flow_bits(
    flow: FlowPrior, symbols: np.ndarray, quantiser: UniformQuantiser, seed: int = 0
) -> np.ndarray:
    """Return the cross-entropy of each sample's symbols, (samples,), in bits.

    An upper bound on the expected length of a code that uses the flow: the mean of -log2 density
    over a bin, minus log2 of the bin's volume.
    """
    generator = torch.Generator().manual_seed(seed)
    width = _widths(quantiser)
    centres = torch.from_numpy(quantiser.dequantise(symbols))
    draws = []
    with torch.no_grad():
        for _ in range(DRAWS):
            noise = torch.rand(centres.shape, generator=generator) - 0.5
            draws.append(flow.log_prob(centres + noise * width))
    nats = -torch.stack(draws).mean(0) - width.double().log().sum()
    return np.asarray(nats / math.log(2))


def _widths(quantiser: UniformQuantiser) -> Tensor:
    # A constant latent has bins of width 0. Any width will do for it: noise as wide as the volume
    # that is subtracted costs nothing.
    width = np.asarray(quantiser.width, dtype=np.float32)
    return torch.from_numpy(np.where(width > 0, width, np.float32(1)))
