"""Uniform quantisation of modulations to a few bits each."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError

__all__ = ["Quantisation", "StepQuantiser", "UniformQuantiser", "as_indices"]


class Quantisation(Config):
    """How modulations become integers."""

    bits: int = Field(default=5, ge=1, le=16)
    """Bits of one index: an interval is cut into 2^bits equal bins."""

    per_dimension: bool = True
    """One interval for each latent dimension, rather than one for all of them (as in COIN++)."""

    spread: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """Half the width of an interval, in standard deviations about the mean; values outside are
    clipped."""


@dataclass(frozen=True, eq=False)
class UniformQuantiser:
    """Equal bins between `low` and `high` in every latent dimension.

    A dimension whose `low` and `high` coincide (it was constant when fitted) holds that one value,
    as index 0.

    Parameters
    ----------
    low, high
        Ends of the interval, float32 of shape (latents,): with `bits` they are all that a decoder
        needs.
    bits
        Bits of one index.

    References
    ----------
    COIN++ (Dupont et al., 2022), section 4.2.3 of Dupont's thesis; per dimension: section 6.4.1.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    bits: int

    @classmethod
    def fit(cls, modulations: ArrayLike, config: Quantisation) -> Self:
        """Choose the intervals from modulations (samples, latents), those of the training split."""
        values = np.asarray(modulations, dtype=np.float64)
        if values.ndim != 2 or values.size == 0:
            raise InputError(
                f"a quantiser is fitted to modulations of shape (samples, latents), but these have "
                f"shape {values.shape}: pass at least one sample and one latent."
            )
        _require_finite(values)
        axis = 0 if config.per_dimension else None
        mean, reach = values.mean(axis), config.spread * values.std(axis)
        ends = np.broadcast_to(np.stack([mean - reach, mean + reach]).T, (values.shape[1], 2))
        low, high = ends.T.astype(np.float32)
        return cls(low, high, config.bits)

    @property
    def levels(self) -> int:
        """Number of bins, 2^bits."""
        return 2**self.bits

    @property
    def width(self) -> NDArray[np.float64]:
        """Width of the bins of each latent; the error inside the interval is half of it at most."""
        return (self.high.astype(np.float64) - self.low) / self.levels

    def quantise(self, modulations: ArrayLike) -> NDArray[np.int32]:
        """Return the bin of each value (…, latents); what lies outside goes to the nearest bin."""
        values = np.asarray(modulations, dtype=np.float64)
        self._require_latents(values.shape)
        _require_finite(values)
        above = values.clip(self.low, self.high) - self.low
        bins = np.floor(above / np.where(self.width > 0, self.width, 1))
        return bins.clip(max=self.levels - 1).astype(np.int32)

    def dequantise(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return the centres of the bins `indices` (…, latents)."""
        bins = as_indices(indices, self.levels)
        self._require_latents(bins.shape)
        return (self.low + (bins + 0.5) * self.width).astype(np.float32)

    def _require_latents(self, shape: tuple[int, ...]) -> None:
        if shape[-1:] != self.low.shape:
            raise InputError(
                f"the quantiser has {self.low.size} latents along the last axis, but the array has "
                f"shape {shape}: use the quantiser that was fitted to these modulations."
            )


@dataclass(frozen=True, eq=False)
class StepQuantiser:
    """Steps of one length for each latent, about zero: what costs no more than it has to.

    Where equal changes of any latent change the functions equally, one step for all spends bits
    where they help most: a latent that varies less than the step costs next to nothing.

    Parameters
    ----------
    step
        Length of a step, float64 of shape (latents,).
    low, high
        Least and greatest multiple of the step that can be coded, int32 of shape (latents,).
    """

    step: NDArray[np.float64]
    low: NDArray[np.int32]
    high: NDArray[np.int32]

    @classmethod
    def fit(cls, modulations: ArrayLike, step: ArrayLike) -> Self:
        """Choose the range from modulations (…, latents), with room for half as much again."""
        values = np.asarray(modulations, dtype=np.float64)
        _require_finite(values)
        steps = np.broadcast_to(np.asarray(step, dtype=np.float64), values.shape[-1:]).copy()
        largest = np.rint(np.abs(values).max(axis=tuple(range(values.ndim - 1))) / steps)
        reach = np.where(largest > 0, np.ceil(1.5 * largest) + 1, 1).astype(np.int32)
        return cls(steps, -reach, reach)

    @property
    def levels(self) -> NDArray[np.int32]:
        """Number of different symbols of each latent."""
        return self.high - self.low + 1

    @property
    def offset(self) -> NDArray[np.float64]:
        """The value of symbol 0 of each latent."""
        return self.low * self.step

    def quantise(self, modulations: ArrayLike) -> NDArray[np.int32]:
        """Return the nearest symbol of each value (…, latents), 0 for the least."""
        values = np.asarray(modulations, dtype=np.float64)
        _require_finite(values)
        return (np.rint(values / self.step).clip(self.low, self.high) - self.low).astype(np.int32)

    def dequantise(self, symbols: ArrayLike) -> NDArray[np.float32]:
        """Return the values of symbols (…, latents): the same bits on every machine."""
        return ((np.asarray(symbols) + self.low) * self.step).astype(np.float32)


def as_indices(indices: ArrayLike, levels: int) -> NDArray[np.int32]:
    """Return `indices` as int32, or raise InputError where one is not an integer in 0..levels-1."""
    values = np.asarray(indices)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(f"indices are integers, but these are {values.dtype}: quantise first.")
    outside = (values < 0) | (values >= levels)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise InputError(
            f"index {values[where]} at {where} is outside 0..{levels - 1}: it was made by another "
            f"quantiser, or the data are damaged."
        )
    return values.astype(np.int32)


def _require_finite(values: NDArray[np.float64]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise InputError(
            f"{np.count_nonzero(~finite)} of {values.size} modulations are not finite, the first "
            f"at {where}: fit these samples again before quantising."
        )
