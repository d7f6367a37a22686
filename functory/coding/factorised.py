"""The factorised entropy model: the frequency of each index, latents taken as independent."""

from dataclasses import dataclass
from typing import Self

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from functory.coding.quantisation import as_indices
from functory.errors import InputError

__all__ = ["FactorisedModel"]

TOTAL = 2**24
"""Sum of the frequencies of one distribution: constriction's fixed point has 24 bits."""


@dataclass(frozen=True, eq=False)
class FactorisedModel:
    """One frequency table for each latent, or one for all of them (as in COIN++).

    The model *is* its integers: what they say, the entropy coder does, on every machine.

    Parameters
    ----------
    frequencies
        Positive integers of shape (latents, levels), or (1, levels) when the latents share one
        table; each row sums to 2^24.
    latents
        Length of one sample.

    References
    ----------
    COIN++ (Dupont et al., 2022), section 4.2.3 of Dupont's thesis.
    """

    frequencies: NDArray[np.int64]
    latents: int

    def __post_init__(self) -> None:
        """Refuse tables that are no distribution, which a damaged file could hold."""
        table = self.frequencies
        if table.ndim != 2 or table.shape[0] not in (1, self.latents):
            raise InputError(
                f"the frequencies have shape {table.shape}, but {self.latents} latents need "
                f"({self.latents}, levels) or (1, levels): fit the entropy model again."
            )
        if (table < 1).any() or (table.sum(axis=1) != TOTAL).any():
            raise InputError(
                f"the frequencies of an index are positive and sum to {TOTAL} for each latent, "
                f"but these do not: fit the entropy model again."
            )

    @classmethod
    def fit(cls, indices: ArrayLike, levels: int, per_dimension: bool = True) -> Self:
        """Count the indices (samples, latents) of the training split.

        Every count starts at one half (Krichevsky and Trofimov, 1981), so that an index that
        training never showed stays possible. Starting at 1 would cost more on the peaked tables
        that modulations have; far below one half, each unseen index would.
        """
        values = as_indices(indices, levels)
        if values.ndim != 2:
            raise InputError(
                f"an entropy model is fitted to indices of shape (samples, latents), but these "
                f"have shape {values.shape}: add the missing axis."
            )
        sequences = values.T if per_dimension else values.reshape(1, -1)
        counts = np.stack([np.bincount(sequence, minlength=levels) for sequence in sequences])
        return cls(_fixed_point(2 * counts + 1), values.shape[1])

    @property
    def levels(self) -> int:
        """Number of different indices."""
        return self.frequencies.shape[1]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of each index, (latents, levels) or (1, levels)."""
        return self.frequencies / TOTAL

    def bits(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Return the ideal code length of each sample, in bits, for indices (samples, latents)."""
        values = self._checked(indices)
        rows = np.arange(self.latents) if self._per_dimension else 0
        return -np.log2(self.probabilities)[rows, values].sum(axis=1)

    def encode(self, indices: ArrayLike) -> NDArray[np.uint32]:
        """Compress indices (samples, latents) into words, some 64 bits more than `bits` says.

        The words carry no check sum and no length: the file around them does. Write them
        little-endian (``<u4``).
        """
        sequences = self._sequences(self._checked(indices))
        coder = constriction.stream.stack.AnsCoder()
        # The coder is a stack: what is to come out first goes in last.
        for row, sequence in zip(self.frequencies[::-1], sequences[::-1], strict=True):
            coder.encode_reverse(sequence, _categorical(row))
        return coder.get_compressed()

    def decode(self, words: ArrayLike, samples: int) -> NDArray[np.int32]:
        """Return the indices (samples, latents) that `encode` was given.

        Any words take the same time and memory. Most damage leaves the coder with something over,
        which raises InputError; the rest shows only as other indices.
        """
        words = np.asarray(words, dtype=np.uint32)
        if words.size and words[-1] == 0:
            raise InputError("the coded indices end in a zero word: the data are damaged.")
        coder = constriction.stream.stack.AnsCoder(words)
        length = samples * self.latents // len(self.frequencies)
        sequences = np.stack([coder.decode(_categorical(row), length) for row in self.frequencies])
        if not coder.is_empty():
            raise InputError(
                f"the coded indices are not {samples} samples of {self.latents} latents: the data "
                f"are damaged, or were coded with another entropy model."
            )
        return sequences.T if self._per_dimension else sequences.reshape(samples, self.latents)

    @property
    def _per_dimension(self) -> bool:
        return len(self.frequencies) > 1

    def _sequences(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return indices (samples, latents) as the sequences that share a table, one a row."""
        return np.ascontiguousarray(values.T) if self._per_dimension else values.reshape(1, -1)

    def _checked(self, indices: ArrayLike) -> NDArray[np.int32]:
        values = as_indices(indices, self.levels)
        if values.ndim != 2 or values.shape[1] != self.latents:
            raise InputError(
                f"the entropy model codes samples of {self.latents} latents, but the indices have "
                f"shape {values.shape}: use the model that was fitted to this functaset."
            )
        return values


def _fixed_point(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scale positive integer weights (rows, levels) to positive integers that sum to TOTAL.

    Integer arithmetic by largest remainders, so that every machine finds the same frequencies.
    """
    levels, sums = weights.shape[1], weights.sum(axis=1, keepdims=True)
    quotient, remainder = np.divmod(weights * (TOTAL - levels), sums)
    missing = TOTAL - levels - quotient.sum(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1, kind="stable")
    return 1 + quotient + (rank < missing)


def _categorical(frequencies: NDArray[np.int64]) -> constriction.stream.model.Categorical:
    # Constriction adds 1 to each weight after scaling their sum to 2^24 - levels. Weights that
    # already have that sum are scaled by exactly 1, and integers below 2^24 add up exactly in
    # floating point, so that its fixed-point table is this one, bit for bit.
    weights = (frequencies - 1).astype(np.float64)
    return constriction.stream.model.Categorical(weights, perfect=False)
