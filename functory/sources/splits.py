"""Which signals train, validate and test: a property of each signal, not of the data set's size."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from functory.configuration import Config
from functory.errors import InputError

__all__ = ["RandomShares", "RandomSizes", "Split", "Years", "assign"]


class RandomShares(Config):
    """Each signal by its own lot: shares of the data set, to within chance."""

    method: Literal["random"] = "random"
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the signals that validate."""
    test: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the signals that test; 0 only for signal sets that nothing is measured on."""
    seed: int = 0
    """Seed of the lots."""

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave no signals to train on")
        return self


class RandomSizes(Config):
    """Exact sizes, as in the papers, among the first signals in time."""

    method: Literal["random-sizes"] = "random-sizes"
    train: PositiveInt
    """Signals that train."""
    validation: NonNegativeInt = 0
    """Signals that validate."""
    test: PositiveInt
    """Signals that test."""
    seed: int = 0
    """Seed of the lots."""


class Years(Config):
    """Whole years apart: the hours of a month, and months that follow, are nearly copies."""

    method: Literal["year"] = "year"
    validation: tuple[int, ...] = ()
    """Years that validate."""
    test: tuple[int, ...]
    """Years that test; all others train."""

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        both = sorted(set(self.validation) & set(self.test))
        if both:
            raise ValueError(f"years {both} are in validation and in test")
        return self


Split = Annotated[RandomShares | RandomSizes | Years, Field(discriminator="method")]


def assign(times: Sequence[str], years: Sequence[int], split: Split) -> np.ndarray:
    """Return 'train', 'validation' or 'test' for every signal.

    The lot of a signal depends on its time alone, so that its membership stays when the data set
    grows. Exact sizes are drawn among the first signals; later ones follow by lot in the same
    proportions.

    Parameters
    ----------
    times
        The time of every signal, in ISO 8601, ascending.
    years
        The year of every signal.

    Raises
    ------
    InputError
        If there are fewer signals than the sizes ask for, or a split that was asked for is empty.
    """
    if isinstance(split, Years):
        marks = ["test" if y in split.test else "validation" for y in years]
        chosen = {*split.test, *split.validation}
        marks = [m if y in chosen else "train" for m, y in zip(marks, years, strict=True)]
    elif isinstance(split, RandomSizes):
        marks = _by_size(times, split)
    else:
        marks = _by_lot(_lots(times, split.seed), split.validation, split.test)
    asked = {"train"} | {s for s in ("validation", "test") if getattr(split, s)}
    empty = sorted(asked - set(marks))
    if empty:
        raise InputError(
            f"The split leaves no signal for {' and '.join(empty)} among {len(times)} signals "
            f"({min(years)} to {max(years)}); change its seed, shares or years."
        )
    return np.array(marks)


def _lots(times: Sequence[str], seed: int) -> list[float]:
    """Return a number in [0, 1) for every signal, from its time and the seed."""
    texts = (f"{seed} {time}".encode() for time in times)
    return [int.from_bytes(hashlib.blake2b(t, digest_size=8).digest()) / 2**64 for t in texts]


def _by_lot(lots: Sequence[float], validation: float, test: float) -> list[str]:
    return [
        "test" if lot < test else "validation" if lot < test + validation else "train"
        for lot in lots
    ]


def _by_size(times: Sequence[str], split: RandomSizes) -> list[str]:
    total = split.train + split.validation + split.test
    if len(times) < total:
        raise InputError(
            f"The split asks for {split.train} + {split.validation} + {split.test} = {total} "
            f"signals, but there are {len(times)}; give more data or a smaller split."
        )
    lots = _lots(times, split.seed)
    order = sorted(range(total), key=lots.__getitem__)
    marks = _by_lot(lots, split.validation / total, split.test / total)
    for rank, i in enumerate(order):
        marks[i] = (
            "test"
            if rank < split.test
            else "validation"
            if rank < split.test + split.validation
            else "train"
        )
    return marks
