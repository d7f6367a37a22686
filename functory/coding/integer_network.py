"""A network and mixture tables in exact integers: the same frequencies on every machine.

Integers are carried in float64 and every intermediate result stays below 2^53 in magnitude, so
that no order of summation, no library and no processor rounds anything.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from functory.errors import InputError

__all__ = ["TOTAL", "IntegerNetwork", "MixtureTables", "Unfolding", "counts"]

TOTAL = 2**24
"""Sum of the frequencies of one distribution: constriction's fixed point has 24 bits."""
MOST_LEVELS = 2**12
LEAST = 2  # frequency of a symbol that the network thinks impossible

# fractional bits of the fixed-point numbers, and where they are clipped
GAIN_BITS = 8  # of the factors that standardise, beyond those of the inputs
INPUT_BITS, INPUT_LIMIT = 14, 2**18  # standardised latents, to 16 deviations
HIDDEN_BITS, HIDDEN_LIMIT = 12, 2**16  # hidden units, from 0 to 16
OUTPUT_BITS, LOCATION_LIMIT = 8, 2**21  # logits (nats), locations (symbols), scales (octaves)
SCALE_STEP, LOGIT_STEP = 2**5, 2**3  # of the tables of scales and logits, in outputs
WEIGHT_BITS = 12  # of the mixture's weights, which sum to 2^12
LOGISTIC_BITS, STEP_BITS = 16, 12  # of the logistic's argument; those between two table entries

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class MixtureTables:
    """The functions that a mixture of logistics needs, as integers.

    Parameters
    ----------
    logistic
        The logistic distribution function at 0, -1/16, -2/16, …, times 2^24.
    exponential
        exp(0), exp(-1/32), exp(-2/32), …, times 2^15.
    reciprocal
        2^20 over each scale, the scales in steps of an eighth of an octave.
    """

    logistic: NDArray[np.uint32]
    exponential: NDArray[np.uint16]
    reciprocal: NDArray[np.uint32]

    @classmethod
    def compute(cls, smallest: float, largest: float) -> Self:
        """Tabulate, once and for all, for scales between two powers of 2, in symbols."""
        octaves = np.arange(smallest, largest + 1 / 16, 1 / 8)
        cells = np.arange(17 * 2 ** (LOGISTIC_BITS - STEP_BITS) + 1) / 2 ** (
            LOGISTIC_BITS - STEP_BITS
        )
        nats = np.arange(11 * 2**OUTPUT_BITS // LOGIT_STEP) * LOGIT_STEP / 2**OUTPUT_BITS
        return cls(
            np.round(TOTAL / (1 + np.exp(cells))).astype(np.uint32),
            np.round(2**15 * np.exp(-nats)).astype(np.uint16),
            np.round(2 ** (20 - octaves)).astype(np.uint32),
        )

    def __post_init__(self) -> None:
        """Refuse tables that are not those of functions, which a damaged file could hold."""
        for name in ("logistic", "exponential", "reciprocal"):
            table = getattr(self, name)
            if table.ndim != 1 or not 2 <= table.size <= 2**12:
                _refuse(name)
        if self.logistic[0] != TOTAL // 2 or (np.diff(self.logistic.astype(np.int64)) > 0).any():
            _refuse("logistic")
        if self.exponential[0] == 0:
            _refuse("exponential")
        if self.reciprocal.max() > 2**26:
            _refuse("reciprocal")


def _refuse(name: str) -> None:
    raise InputError(
        f"the entropy model is damaged: {name} is not the table that it should be; copy the model "
        f"again."
    )


def counts(tables: MixtureTables, edges: Array, outputs: Array, levels: Array) -> Array:
    """Return the cumulative frequencies below the lower edges of symbols.

    Parameters
    ----------
    edges
        Symbols, (…, edges), from 0 to `levels`, whose lower edges are asked for.
    outputs
        Of the network, (…, 3, components): logits, locations and scales.
    levels
        Size of the alphabet, (…).

    Returns
    -------
    (…, edges), 0 at the first edge and 2^24 at the last, at least 2 more at each than at the one
    before.
    """
    logits, locations, scales = np.moveaxis(outputs, -2, 0)
    weights = _weights(tables, logits)
    last = len(tables.reciprocal) - 1
    scale = np.floor(scales / SCALE_STEP).clip(0, last).astype(np.intp)
    reciprocal = tables.reciprocal.astype(np.float64)[scale]
    # the lower edge of symbol e is at e - 1/2
    places = (edges - 0.5)[..., None, :] * 2**OUTPUT_BITS - locations[..., None]
    steps = np.floor(places * (reciprocal[..., None] * 2.0 ** (LOGISTIC_BITS - OUTPUT_BITS - 20)))
    below = (weights[..., None] * _logistic(tables, steps)).sum(axis=-2)
    edge, levels = edges, levels[..., None]
    # a sum of weights of 2^12 and a total of 2^36 are left with 28 bits, so that what follows
    # stays below 2^53
    below = np.floor(below / 2 ** (WEIGHT_BITS + STEP_BITS - 4))
    below = np.where(edge <= 0, 0, np.where(edge >= levels, 2**28, below))
    return np.floor(below * (TOTAL - LEAST * levels) / 2**28) + LEAST * edge


def _weights(tables: MixtureTables, logits: Array) -> Array:
    """Return integers that sum to 2^12 along the last axis."""
    behind = np.floor((logits.max(axis=-1, keepdims=True) - logits) / LOGIT_STEP + 0.5)
    at = behind.clip(max=len(tables.exponential) - 1).astype(np.intp)
    powers = tables.exponential.astype(np.float64)[at]
    # the quotient of integers below 2^53 is rounded correctly, and cannot reach the next integer
    weights = np.floor(powers * 2**WEIGHT_BITS / powers.sum(axis=-1, keepdims=True))
    weights[..., 0] += 2**WEIGHT_BITS - weights.sum(axis=-1)
    return weights


def _logistic(tables: MixtureTables, steps: Array) -> Array:
    """Return 2^36 times the logistic function of `steps` / 2^16, linear between table entries."""
    table = tables.logistic.astype(np.float64)
    distance = np.abs(steps).clip(max=(len(table) - 1) * 2**STEP_BITS - 1)
    cell = np.floor(distance / 2**STEP_BITS)
    at = cell.astype(np.intp)
    tail = table[at] * 2**STEP_BITS - (distance - cell * 2**STEP_BITS) * (table[at] - table[at + 1])
    return np.where(steps < 0, tail, TOTAL * 2**STEP_BITS - tail)


@dataclass(frozen=True, eq=False, repr=False)
class IntegerNetwork:
    """What the symbols before a latent say of it: the mixture of each latent's distribution.

    Latent d owns a few hidden units and a linear prediction of its location, which see the context
    and the latents before d; its mixture sees the hidden units of the latents up to d.

    Parameters
    ----------
    axes
        Axes of the lattice of cells.
    levels
        Size of each latent's alphabet, (latents,).
    gain, shift
        Standardised latents are gain · symbol + shift, (latents,), in fixed point.
    first
        Weights (context + latents, latents, units + 1) of the hidden units and, last, of the
        location; a latent's weights on itself and on later ones are 0.
    second
        Weights (latents, units, latents, 3, components) of logits, locations and scales; those
        from a later latent's units are 0.
    first_bias, second_bias, first_shift, second_shift
        Added to each sum once it is divided by 2^shift.
    """

    axes: int
    levels: Array
    gain: Array
    shift: Array
    first: Array
    first_bias: Array
    first_shift: Array
    second: Array
    second_bias: Array
    second_shift: Array

    @property
    def latents(self) -> int:
        """Number of latents of a cell."""
        return len(self.levels)

    @property
    def middle(self) -> NDArray[np.int32]:
        """The symbol next to each latent's mean, (latents,)."""
        mean = np.floor(-self.shift / self.gain + 0.5)
        return mean.clip(0, self.levels - 1).astype(np.int32)

    def standardise(self, symbols: NDArray[np.int32], latent: int | slice = slice(None)) -> Array:
        """Return symbols (…, latents), or those of one latent, as the network's inputs."""
        values = self.gain[latent] * symbols + self.shift[latent]
        return np.floor(values / 2**GAIN_BITS).clip(-INPUT_LIMIT, INPUT_LIMIT)

    def __call__(self, values: Array, context: Array) -> Array:
        """Return the outputs (vectors, latents, 3, components) of vectors that are known."""
        inputs = np.concatenate([context, values], axis=1)
        sums = inputs @ self.first.reshape(len(self.first), -1)
        hidden, location = self.activate(sums.reshape(len(values), *self.first_bias.shape))
        flat = hidden.reshape(len(values), -1)
        sums = flat @ self.second.reshape(flat.shape[1], -1)
        return self.finish(sums.reshape(len(values), *self.second_bias.shape), location)

    def activate(self, sums: Array, latent: int | slice = slice(None)) -> tuple[Array, Array]:
        """Return hidden units (…, units) and linear predictions (…) from the first layer's sums."""
        scaled = np.floor(sums * 2.0 ** -self.first_shift[latent]) + self.first_bias[latent]
        return scaled[..., :-1].clip(0, HIDDEN_LIMIT), scaled[..., -1]

    def finish(self, sums: Array, location: Array, latent: int | slice = slice(None)) -> Array:
        """Return outputs (…, 3, components) from the second layer's sums."""
        outputs = np.floor(sums * 2.0 ** -self.second_shift[latent]) + self.second_bias[latent]
        outputs[..., 1, :] += location[..., None]
        return outputs.clip(-LOCATION_LIMIT, LOCATION_LIMIT)


class Unfolding:
    """The network one latent after another, for vectors that are only just being decoded."""

    def __init__(self, network: IntegerNetwork, context: Array) -> None:
        self.network, slots = network, context.shape[1]
        self.first = network.first[slots:]
        known = context @ network.first[:slots].reshape(slots, network.first_bias.size)
        self.sums = known.reshape(len(context), *network.first_bias.shape)
        self.outputs = np.zeros((len(context), *network.second_bias.shape))

    def next(self, latent: int) -> Array:
        """Return the outputs (vectors, 3, components) of a latent; call with each in its turn."""
        hidden, location = self.network.activate(self.sums[:, latent], latent)
        weights = self.network.second[latent][:, latent:]
        added = hidden @ weights.reshape(len(weights), -1)
        self.outputs[:, latent:] += added.reshape(len(hidden), *weights.shape[1:])
        return self.network.finish(self.outputs[:, latent], location, latent)

    def learn(self, latent: int, values: Array) -> None:
        """Take in a latent's standardised values, (vectors,)."""
        later = slice(latent + 1, None)
        self.sums[:, later] += values[:, None, None] * self.first[latent, later]
