"""Which signals train, validate and test: a property of each signal, not of the data set's size."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from functory.configuration import Config
from functory.errors import InputError

__all__ = [
    "Periods",
    "RandomShares",
    "RandomSizes",
    "RandomSplit",
    "SourceSplit",
    "Split",
    "Years",
    "assign",
    "draw",
    "draw_by_class",
    "given",
]


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


class Periods(Config):
    """Later times apart: what a network will meet that is used on from where it was trained."""

    method: Literal["time"] = "time"
    validation: str | None = None
    """The first time that validates, in ISO 8601 (`2019-03-22`); null has none that do."""
    test: str
    """The first time that tests; all before `validation` train."""

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        if self.validation is not None and self.validation >= self.test:
            raise ValueError("validation starts before test")
        return self


class SourceSplit(Config):
    """The data set's own partitions."""

    method: Literal["source"] = "source"


RandomSplit = Annotated[RandomShares | RandomSizes, Field(discriminator="method")]
Split = Annotated[RandomShares | RandomSizes | Years | Periods, Field(discriminator="method")]


def assign(times: Sequence[str], years: Sequence[int], split: Split) -> np.ndarray:
    """Return 'train', 'validation' or 'test' for every signal of a record in time.

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
    if isinstance(split, Periods):
        starts = (split.validation or split.test, split.test)
        marks = [
            "train" if t < starts[0] else "validation" if t < starts[1] else "test" for t in times
        ]
        _check(marks, split, f"{times[0]} to {times[-1]}")
        return np.array(marks)
    if not isinstance(split, Years):
        return draw(times, split)
    marks = ["test" if y in split.test else "validation" for y in years]
    chosen = {*split.test, *split.validation}
    marks = [m if y in chosen else "train" for m, y in zip(marks, years, strict=True)]
    _check(marks, split, f"{min(years)} to {max(years)}")
    return np.array(marks)


def draw(names: Sequence[str], split: RandomShares | RandomSizes) -> np.ndarray:
    """Return 'train', 'validation' or 'test' by lot; the lot of a signal depends on its name.

    Raises
    ------
    InputError
        As `assign`.
    """
    if isinstance(split, RandomSizes):
        marks = _by_size(names, split)
    else:
        marks = _by_lot(_lots(names, split.seed), split.validation, split.test)
    _check(marks, split, f"{names[0]} to {names[-1]}")
    return np.array(marks)


def draw_by_class(
    names: Sequence[str],
    labels: Sequence[str],
    split: RandomShares | RandomSizes,
    things: str = "models",
) -> np.ndarray:
    """Return 'train', 'validation' or 'test' by lot, with every class in every split.

    Shares hold within each class, to the nearest signal and with one at least; exact sizes hold
    over all classes together. What is drawn is called `things` in errors.

    Raises
    ------
    InputError
        As `draw`, and if a class has too few signals to be in every split.
    """
    marks = np.full(len(names), "train", dtype=object)
    if isinstance(split, RandomSizes):
        marks = draw(names, split).astype(object)
    asked = ["train", *(s for s in ("validation", "test") if getattr(split, s))]
    for label in sorted(set(labels)):
        of_class = [i for i, other in enumerate(labels) if other == label]
        if isinstance(split, RandomShares):
            lots = dict(zip(of_class, _lots([names[i] for i in of_class], split.seed), strict=True))
            shares = {"test": split.test, "validation": split.validation}
            ordered = sorted(of_class, key=lots.__getitem__)
            for name, share in shares.items():
                count = max(1, round(share * len(of_class))) if share else 0
                marks[ordered[:count]], ordered = name, ordered[count:]
        empty = sorted(set(asked) - set(marks[of_class]))
        if empty:
            raise InputError(
                f"Class '{label}' has {len(of_class)} {things}, of which none is left for "
                f"{' and '.join(empty)}; give more of them, leave the class out, or "
                "change the split."
            )
    return marks.astype(str)


def given(names: Sequence[str], partitions: Sequence[str]) -> np.ndarray:
    """Return the partitions of the data set's own: 'train', 'validation' or 'test'.

    Raises
    ------
    InputError
        If a signal is in none of these, or none trains or none tests.
    """
    for name, partition in zip(names, partitions, strict=True):
        if partition not in ("train", "validation", "test"):
            raise InputError(
                f"{name} is in no partition of the data set's own; choose another method of "
                "preparation.split."
            )
    for asked in ("train", "test"):
        if asked not in partitions:
            raise InputError(
                f"The data set's own partitions leave no signal for {asked} among {len(names)}; "
                "choose another method of preparation.split."
            )
    return np.array(partitions)


def _check(marks: Sequence[str], split: Split, range_: str) -> None:
    asked = {"train"} | {s for s in ("validation", "test") if getattr(split, s)}
    empty = sorted(asked - set(marks))
    if empty:
        raise InputError(
            f"The split leaves no signal for {' and '.join(empty)} among {len(marks)} signals "
            f"({range_}); change its seed, shares or years."
        )


def _lots(names: Sequence[str], seed: int) -> list[float]:
    """Return a number in [0, 1) for every signal, from its name and the seed."""
    texts = (f"{seed} {name}".encode() for name in names)
    return [int.from_bytes(hashlib.blake2b(t, digest_size=8).digest()) / 2**64 for t in texts]


def _by_lot(lots: Sequence[float], validation: float, test: float) -> list[str]:
    return [
        "test" if lot < test else "validation" if lot < test + validation else "train"
        for lot in lots
    ]


def _by_size(names: Sequence[str], split: RandomSizes) -> list[str]:
    total = split.train + split.validation + split.test
    if len(names) < total:
        raise InputError(
            f"The split asks for {split.train} + {split.validation} + {split.test} = {total} "
            f"signals, but there are {len(names)}; give more data or a smaller split."
        )
    lots = _lots(names, split.seed)
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
