"""The network that codes, before and after it is rounded to integers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from functory.coding.autoregressive_flow import kept_possible, mass_between
from functory.coding.examples import Examples, LinearPrediction, Statistics
from functory.coding.integer_model import IntegerModel
from functory.coding.integer_network import (
    GAIN_BITS,
    HIDDEN_BITS,
    HIDDEN_LIMIT,
    INPUT_BITS,
    OUTPUT_BITS,
    SCALE_STEP,
    IntegerNetwork,
    MixtureTables,
)
from functory.coding.integer_storage import first_seen, second_seen

__all__ = ["MixtureNetwork", "rounded"]

SMALLEST, LARGEST = -4, 11  # log2 of a logistic's scale, in symbols
LARGEST_WEIGHT = 2**15 - 1
CERTAIN = 40.0  # where the logistic function is 0 or 1 in single precision


class MixtureNetwork(nn.Module):
    """The integer network before it is rounded; see `IntegerNetwork` for what sees what."""

    levels: Tensor
    mean: Tensor
    spread: Tensor
    linear: Tensor
    first_seen: Tensor
    second_seen: Tensor

    def __init__(
        self,
        axes: int,
        levels: NDArray[np.int64],
        statistics: Statistics,
        prediction: LinearPrediction,
        units: int,
        components: int,
    ) -> None:
        super().__init__()
        self.axes, self.statistics = axes, statistics
        latents, self.components = len(levels), components
        deviation = torch.from_numpy(statistics.deviation).float()
        self.register_buffer("levels", torch.as_tensor(levels))
        self.register_buffer("mean", torch.from_numpy(statistics.mean).float())
        # what the linear prediction leaves, in symbols
        self.register_buffer("spread", deviation * prediction.residual)
        self.register_buffer("linear", deviation[:, None] * prediction.coefficients)
        seen = torch.from_numpy(first_seen(axes, latents)).T.repeat_interleave(units, 0).float()
        self.register_buffer("first_seen", seen)
        later = torch.from_numpy(second_seen(latents)).T.repeat_interleave(units, 1)
        self.register_buffer("second_seen", later.repeat_interleave(3 * components, 0).float())
        deviations = 0.7 / seen.sum(1, keepdim=True).clamp(min=1).sqrt()
        self.first = nn.Parameter(torch.randn_like(seen) * deviations)
        self.first_bias = nn.Parameter(torch.rand(len(seen)))
        self.second = nn.Parameter(torch.randn(self.second_seen.shape) * 1e-3)
        start = torch.zeros(latents, 3, components)
        # a narrow and a wide component in one place: modulations have heavy tails
        start[:, 1] = torch.linspace(-0.2, 0.2, components)
        start[:, 2] = torch.linspace(-1.8, -0.3, components)
        self.second_bias = nn.Parameter(start.flatten())

    def forward(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, locations (symbols) and log2 scales, (vectors, latents, components)."""
        known = torch.cat([examples.context, examples.values], dim=1)
        hidden = F.linear(known, self.first * self.first_seen, self.first_bias)
        hidden = hidden.clamp(0, HIDDEN_LIMIT / 2**HIDDEN_BITS)
        outputs = F.linear(hidden, self.second * self.second_seen, self.second_bias)
        logits, places, scales = outputs.view(len(known), -1, 3, self.components).unbind(2)
        predicted = self.mean + known @ self.linear.T
        locations = predicted[..., None] + self.spread[:, None] * places
        scales = (self.spread.log2()[:, None] + scales).clamp(SMALLEST, LARGEST)
        return logits, locations, scales

    def log2_probabilities(self, examples: Examples) -> Tensor:
        """Return log2 of the probability of each symbol, (vectors, latents)."""
        logits, locations, scales = self(examples)
        symbols = examples.symbols[..., None]
        from_centre, narrow = symbols - locations, torch.exp2(-scales)
        low = torch.where(symbols == 0, -CERTAIN, (from_centre - 0.5) * narrow)
        last = symbols == self.levels[:, None] - 1
        high = torch.where(last, CERTAIN, (from_centre + 0.5) * narrow)
        masses = mass_between(torch.sigmoid, low, high)
        return kept_possible((logits.softmax(-1) * masses).sum(-1), self.levels).log2()

    def log2_tables(self, examples: Examples) -> Tensor:
        """Return log2 of the probability of every symbol, (vectors, latents, most levels)."""
        logits, locations, scales = self(examples)
        edges = torch.arange(1, int(self.levels.max())) - 0.5
        arguments = (edges - locations[..., None]) * torch.exp2(-scales)[..., None]
        below = (logits.softmax(-1)[..., None] * torch.sigmoid(arguments)).sum(2)
        below = torch.where(edges > self.levels[:, None] - 1, 1.0, below)
        mass = F.pad(F.pad(below, (1, 0), value=0.0), (0, 1), value=1.0).diff(dim=-1)
        return kept_possible(mass.clamp(min=0), self.levels[:, None]).log2()


def rounded(network: MixtureNetwork) -> IntegerModel:
    """Return a network in integers: 16 bits for a weight, with an exponent for each sum."""
    latents, units = len(network.levels), len(network.first) // len(network.levels)
    seen = network.first_seen.double().numpy()
    hidden = (network.first.double().detach().numpy() * seen).reshape(latents, units, -1)
    linear = network.linear.double().numpy()[:, None]
    first, first_shift = _fixed_point(
        np.concatenate([hidden * 2.0**HIDDEN_BITS, linear * 2.0**OUTPUT_BITS], axis=1)
        / 2**INPUT_BITS
    )
    bias = network.first_bias.double().detach().numpy().reshape(latents, units)
    mean = network.mean.double().numpy()[:, None]
    first_bias = np.concatenate([bias * 2**HIDDEN_BITS, mean * 2**OUTPUT_BITS], axis=1)
    # places in spreads become symbols, octaves from the smallest scale on
    spread = network.spread.double().numpy()[:, None]
    unit = np.ones((latents, 3, network.components))
    unit[:, 1] = spread
    second = (network.second * network.second_seen).double().detach().numpy()
    second, second_shift = _fixed_point(
        second.reshape(latents, 3, network.components, -1)
        * unit[..., None]
        * 2.0 ** (OUTPUT_BITS - HIDDEN_BITS)
    )
    second_bias = network.second_bias.double().detach().numpy().reshape(unit.shape) * unit
    second_bias[:, 2] += np.log2(spread) - SMALLEST
    second_bias *= 2**OUTPUT_BITS
    second_bias[:, 2] += SCALE_STEP / 2  # a scale is the nearest in its table
    gain = 2.0 ** (INPUT_BITS + GAIN_BITS) / network.statistics.deviation
    integers = IntegerNetwork(
        axes=network.axes,
        levels=network.levels.double().numpy(),
        gain=np.round(gain),
        shift=np.round(-network.statistics.mean * gain),
        first=np.moveaxis(first, -1, 0),
        first_bias=np.round(first_bias),
        first_shift=first_shift,
        second=np.moveaxis(second.reshape(*unit.shape, latents, units), (3, 4), (0, 1)),
        second_bias=np.round(second_bias),
        second_shift=second_shift,
    )
    model = IntegerModel(integers, MixtureTables.compute(SMALLEST, LARGEST))
    return IntegerModel.from_arrays(model.arrays())  # what is stored is what codes


def _fixed_point(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return integers of at most 16 bits, and for each row the power of 2 to divide by."""
    largest = np.abs(rows).max(axis=-1)
    shift = np.floor(np.log2(LARGEST_WEIGHT / np.where(largest > 0, largest, 1))).clip(0, 62)
    integers = np.round(rows * 2.0 ** shift[..., None])
    return integers.clip(-LARGEST_WEIGHT, LARGEST_WEIGHT), shift
