"""Rate-aware rounding: of the symbols near a value, the one with the least distortion and rate.

What video coders call rate-distortion optimised quantisation (Sullivan and Wiegand, 1998): a value
near the middle of two symbols goes to the cheaper one, and a small one to zero.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from functory.coding.quantisation import StepQuantiser
from functory.errors import InputError

__all__ = ["cheapest_symbols", "marginal_bits", "matched_weight"]


def matched_weight(step: float) -> float:
    """Return the squared error that one bit is worth where a step is as long as it should be.

    In the whitened gauge a latent's error adds to the mean squared error of its signal as it is.
    Rounded to steps q that are short beside its spread, a latent of differential entropy h adds
    D = q²/12 and costs R = h - log2 q bits. D + lambda R is least where dD/dq = -lambda dR/dq,
    q/6 = lambda / (q ln 2), so that lambda = q² ln 2 / 6: 2 ln 2 times the error of one latent.
    """
    return step**2 * math.log(2) / 6


def marginal_bits(symbols: ArrayLike, quantiser: StepQuantiser) -> NDArray[np.float64]:
    """Return what symbols cost by themselves, (latents, most levels), from training's (…, latents).

    Counts start at one half (Krichevsky and Trofimov, 1981). A symbol that a latent does not have
    costs infinitely many bits.
    """
    values = np.asarray(symbols).reshape(-1, len(quantiser.step))
    most = int(quantiser.levels.max())
    counts = np.stack([np.bincount(column, minlength=most) for column in values.T]) + 0.5
    counts[np.arange(most) >= quantiser.levels[:, None]] = 0
    with np.errstate(divide="ignore"):
        return -np.log2(counts / counts.sum(axis=1, keepdims=True))


def cheapest_symbols(
    modulations: ArrayLike,
    quantiser: StepQuantiser,
    bits: NDArray[np.float64],
    weight: float | None = None,
) -> NDArray[np.int32]:
    """Return the symbol of each value (…, latents) that has the least D + lambda R.

    D is the square of what rounding changes, in the whitened gauge the signal's mean squared
    error. To choose from are the symbols below and above the value, and zero; the lowest of equals
    is taken. Where symbols inform each other, this is right only for what a symbol costs by itself.

    Parameters
    ----------
    bits
        What each symbol costs, (latents, levels), as of `marginal_bits`. Rounding changes how often
        symbols occur: an entropy model is best fitted to symbols that were rounded in this way.
    weight
        Lambda, the squared error that one bit is worth; None takes the `matched_weight` of the
        root mean square of the steps.
    """
    values = np.asarray(modulations, dtype=np.float64)
    latents = len(quantiser.step)
    if values.shape[-1:] != (latents,) or len(bits) != latents:
        raise InputError(
            f"{latents} latents are to be rounded, but the modulations have shape {values.shape} "
            f"and the costs {bits.shape}: use those of one network."
        )
    if bits.shape[1] < quantiser.levels.max():
        raise InputError(
            f"the costs are of {bits.shape[1]} symbols, but the quantiser has up to "
            f"{quantiser.levels.max()}: count them with the same quantiser."
        )
    if weight is None:
        weight = matched_weight(math.sqrt(np.square(quantiser.step).mean()))
    below = np.floor(values / quantiser.step)
    multiples = np.sort(np.stack([below, below + 1, np.zeros_like(below)]), axis=0)
    multiples = multiples.clip(quantiser.low, quantiser.high)
    symbols = (multiples - quantiser.low).astype(np.int32)
    squared = np.square(multiples * quantiser.step - values)
    costs = squared + weight * bits[np.arange(latents), symbols]
    return np.take_along_axis(symbols, costs.argmin(axis=0)[None], axis=0)[0]
