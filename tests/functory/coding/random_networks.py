"""Networks with random weights, which see and use all that a trained one may."""

import numpy as np
import torch

from functory.coding.examples import LinearPrediction, Statistics
from functory.coding.integer_model import IntegerModel
from functory.coding.mixture_network import MixtureNetwork, rounded

__all__ = ["random_model", "random_network", "random_symbols"]


def random_network(
    axes: int, levels: list[int], seed: int = 0, units: int = 2, components: int = 2
) -> MixtureNetwork:
    """Return an untrained network whose distributions depend strongly on what is known."""
    draw, latents = np.random.default_rng(seed), len(levels)
    sizes = np.array(levels)
    slots = {0: 0, 1: 2, 2: 3, 3: 7}[axes]
    statistics = Statistics((sizes - 1) * draw.uniform(0.3, 0.7, latents), sizes / 5)
    seen = np.tril(np.ones((latents, slots * (latents + 1) + latents)), slots * (latents + 1) - 1)
    prediction = LinearPrediction(
        torch.from_numpy(seen * draw.normal(size=seen.shape) * 0.3).float(),
        torch.from_numpy(draw.uniform(0.2, 0.8, latents)).float(),
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = MixtureNetwork(axes, sizes, statistics, prediction, units, components)
        torch.nn.init.normal_(network.second, std=0.3)
        torch.nn.init.normal_(network.second_bias, std=0.5)
    return network.requires_grad_(False)


def random_model(axes: int, levels: list[int], seed: int = 0) -> IntegerModel:
    """Return such a network in integers."""
    return rounded(random_network(axes, levels, seed))


def random_symbols(model: IntegerModel, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return any symbols (*shape, latents), mostly near the middle."""
    draw = np.random.default_rng(seed)
    near = draw.normal(model.network.middle, model.levels / 6, (*shape, model.latents))
    anywhere = draw.integers(0, model.levels, near.shape)
    return (
        np.where(draw.random(near.shape) < 0.1, anywhere, near)
        .clip(0, model.levels - 1)
        .astype(np.int32)
    )
