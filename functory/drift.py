"""Whether later months are still what a base network and a prior were learned for."""

from typing import Annotated

import numpy as np
from pydantic import Field
from scipy import stats

from functory.configuration import Config
from functory.errors import InputError

__all__ = ["MEASURES", "Drift", "limit", "monthly_means", "probability_of_lower"]

MEASURES = ("psnr", "log2_likelihood")
"""What is compared: the quality of the fits in dB, and the likelihood in bits a latent."""


class Drift(Config):
    """When later months count as other than those that the models were tested on."""

    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Share of months that fail although nothing has changed, over both measures together.

    Holds where a month's means are normal, and whole months test (a split by years).
    """

    @property
    def level(self) -> float:
        """The share for each of the measures."""
        return self.false_alarms / len(MEASURES)


def monthly_means(values: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Return the mean of the values of each month, in order.

    The hours of a month are nearly copies: a month is one observation, not 24.

    Parameters
    ----------
    values
        Of each field, (fields,).
    months
        The number of each field's month, (fields,).
    """
    return np.array([values[months == month].mean() for month in np.unique(months)])


def probability_of_lower(tested: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Return how probable a value as low as each later one is, if nothing has changed.

    Exact where months are independent and normal with any mean and deviation (the prediction
    interval of one more observation); a value that is not a number has probability 0.

    Parameters
    ----------
    tested
        Means of the months that test, (tested months,).
    later
        Means of later months, (later months,).

    Raises
    ------
    InputError
        If fewer than three months test.
    """
    centre, spread = _centre_and_spread(tested)
    lowness = (later - centre) / spread
    return np.where(np.isnan(later), 0.0, stats.t.cdf(lowness, len(tested) - 1))


def limit(tested: np.ndarray, level: float) -> float:
    """Return the value that a later month falls below with a probability of `level`."""
    centre, spread = _centre_and_spread(tested)
    return float(centre + spread * stats.t.ppf(level, len(tested) - 1))


def _centre_and_spread(tested: np.ndarray) -> tuple[float, float]:
    """Return the mean, and the deviation of the difference to it of one more observation."""
    if len(tested) < 3:
        raise InputError(
            f"Later months are compared with those that test, of which there are {len(tested)}; "
            "give a year at least to the test split."
        )
    spread = float(tested.std(ddof=1)) * np.sqrt(1 + 1 / len(tested))
    return float(tested.mean()), max(spread, np.finfo(np.float64).tiny)
