"""Symbols as examples for a conditional model: standardised, with their neighbours."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from functory.coding.context import lattice, neighbours

__all__ = ["Examples", "LinearPrediction", "Statistics"]

SMALLEST = 0.1  # deviation, in symbols, that standardises a latent which (almost) never varies
REACH = 16.0  # deviations to which standardised values are clipped, as in the integer network
LEAST_LEFT = 1e-3  # of a deviation, that a linear prediction leaves
RIDGES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)  # penalties, in variances of a latent


@dataclass(frozen=True, eq=False)
class Statistics:
    """What standardises the symbols of each latent: mean and deviation, (latents,), in symbols."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @classmethod
    def of(cls, symbols: ArrayLike) -> Self:
        """Measure symbols (chunks, signals, *cells, latents)."""
        values = np.asarray(symbols, dtype=np.float64)
        values = values.reshape(-1, values.shape[-1])
        return cls(values.mean(axis=0), values.std(axis=0).clip(min=SMALLEST))


@dataclass(frozen=True, eq=False)
class Examples:
    """Vectors to learn from, in the order of their lattice.

    `symbols` and their standardised `values` are (vectors, latents), `context` is (vectors,
    slots · latents + slots).
    """

    symbols: Tensor
    values: Tensor
    context: Tensor

    @classmethod
    def of(cls, symbols: ArrayLike, statistics: Statistics) -> Self:
        """Standardise symbols (chunks, signals, *cells, latents) and gather their neighbours."""
        signals = np.reshape(symbols, (-1, *np.shape(symbols)[2:]))
        *_, latents = signals.shape
        values = ((signals - statistics.mean) / statistics.deviation).clip(-REACH, REACH)
        context = neighbours(values, lattice(signals.shape[1:-1]))
        return cls(
            torch.from_numpy(signals.reshape(-1, latents)).int(),
            torch.from_numpy(values.reshape(-1, latents)).float(),
            torch.from_numpy(context).flatten(0, 1).float(),
        )

    def __len__(self) -> int:
        return len(self.symbols)

    def __getitem__(self, chosen: Tensor | slice) -> "Examples":
        return Examples(self.symbols[chosen], self.values[chosen], self.context[chosen])

    def to(self, device: torch.device) -> "Examples":
        """Return the same examples on a device."""
        return Examples(*(p.to(device) for p in (self.symbols, self.values, self.context)))

    def split(self, size: int) -> "list[Examples]":
        """Cut into batches of at most `size` vectors."""
        return [self[slice(i, i + size)] for i in range(0, len(self), size)]


@dataclass(frozen=True, eq=False)
class LinearPrediction:
    """Each standardised latent as a linear function of its context and the latents before it.

    `coefficients` are (latents, context + latents), `residual` (latents,) is the deviation of
    what is left.
    """

    coefficients: Tensor
    residual: Tensor

    @classmethod
    def fit(cls, training: Examples, held_out: Examples) -> Self:
        """Fit by ridge regression, as strong as held-out examples like it."""
        known, asked = (torch.cat([e.context, e.values], 1).double() for e in (training, held_out))
        latents, gram = training.values.shape[1], known.T @ known / len(known)
        fits = [_ridge(gram, strength, latents) for strength in RIDGES]
        best = min(fits, key=lambda fit: float(_left(asked, fit).log().sum()))
        return cls(best.float(), _left(known, best).float())


def _left(known: Tensor, coefficients: Tensor) -> Tensor:
    """Return the deviation of what a prediction leaves, (latents,)."""
    latents = len(coefficients)
    error = known[:, -latents:] - known @ coefficients.T
    return error.square().mean(0).sqrt().clamp(min=LEAST_LEFT)


def _ridge(gram: Tensor, strength: float, latents: int) -> Tensor:
    # one factorisation serves all latents: row d of the inverse of the Gram matrix's Cholesky
    # factor is what the variables before it leave of variable d, over the deviation of that
    identity = torch.eye(len(gram), dtype=gram.dtype)
    factor = torch.linalg.cholesky(gram + strength * identity)
    rows = torch.linalg.solve_triangular(factor, identity, upper=False)[-latents:]
    before = len(gram) - latents
    return (-rows / rows.diagonal(before)[:, None]).tril(before - 1)
