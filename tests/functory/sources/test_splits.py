"""Splits: exact sizes, shares to within chance, whole years apart, memberships that stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from functory.errors import InputError
from functory.sources.splits import (
    Periods,
    RandomShares,
    RandomSizes,
    Split,
    Years,
    assign,
    draw,
    draw_by_class,
)


def hours(count: int) -> tuple[list[str], list[int]]:
    times = np.datetime64("2019-01-01T00:00:00") + np.arange(count) * np.timedelta64(12, "h")
    years = times.astype("datetime64[Y]").astype(int) + 1970
    return [str(t) for t in times], [int(y) for y in years]


SPLITS: list[Split] = [
    RandomShares(),
    RandomSizes(train=70, validation=10, test=20),
    Years(test=(2019,)),
]


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.method)
@given(grown=st.integers(1000, 2000))
def test_memberships_stay_when_the_data_set_grows(split: Split, grown: int) -> None:
    before, after = assign(*hours(1000), split), assign(*hours(grown), split)
    assert (after[:1000] == before).all()


def test_sizes_are_exact_and_later_signals_follow_in_proportion() -> None:
    marks = assign(*hours(10_100), RandomSizes(train=70, validation=10, test=20))
    counts = [int((marks[:100] == s).sum()) for s in ("train", "validation", "test")]
    assert counts == [70, 10, 20]
    shares = [(marks[100:] == s).mean() for s in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)


def test_shares_hold_to_within_chance() -> None:
    marks = assign(*hours(10_000), RandomShares(validation=0.1, test=0.2, seed=3))
    assert (marks == "test").mean() == pytest.approx(0.2, abs=0.02)
    assert (marks == "validation").mean() == pytest.approx(0.1, abs=0.015)


def test_seeds_differ_and_are_deterministic() -> None:
    first, again, other = (assign(*hours(200), RandomShares(seed=s)) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_years_are_whole() -> None:
    times, years = hours(1500)
    marks = assign(times, years, Years(validation=(2020,), test=(2019,)))
    by_year = {year: set(marks[np.array(years) == year]) for year in set(years)}
    assert by_year == {2019: {"test"}, 2020: {"validation"}, 2021: {"train"}}


def test_too_few_signals() -> None:
    with pytest.raises(InputError, match=r"70 \+ 0 \+ 31 = 101 signals, but there are 100"):
        assign(*hours(100), RandomSizes(train=70, test=31))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"no signal for test among 100 signals \(2019 to 2019\)"):
        assign(*hours(100), Years(test=(1999,)))


def test_overlapping_years_are_refused() -> None:
    with pytest.raises(ValueError, match="in validation and in test"):
        Years(validation=(2019,), test=(2019, 2020))


def models(counts: dict[str, int]) -> tuple[list[str], list[str]]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [f"{label}/{i}" for i, label in enumerate(labels)], labels


@settings(deadline=None)
@given(
    st.lists(st.integers(3, 40), min_size=1, max_size=5),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.integers(0, 9),
)
def test_shares_hold_within_every_class(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    names, labels = models({f"class {i}": count for i, count in enumerate(counts)})
    shares = {"validation": validation, "test": test}
    marks = draw_by_class(names, labels, RandomShares(**shares, seed=seed))
    for i, count in enumerate(counts):
        of_class = marks[np.array(labels) == f"class {i}"].tolist()
        for split, share in shares.items():
            found = of_class.count(split)
            assert (found == 0) == (share == 0)
            assert abs(found - share * count) <= 0.5 or found == 1
        assert "train" in of_class


@settings(deadline=None)
@given(st.permutations(range(30)))
def test_the_order_of_models_does_not_matter(order: list[int]) -> None:
    names, labels = models({"chair": 12, "table": 18})
    for split in (RandomShares(), RandomSizes(train=18, validation=6, test=6)):
        marks = draw_by_class(names, labels, split)
        again = draw_by_class([names[i] for i in order], [labels[i] for i in order], split)
        assert (again == marks[order]).all()


def test_a_class_is_split_the_same_beside_any_others() -> None:
    names, labels = models({"chair": 20, "table": 30})
    marks = draw_by_class(names, labels, RandomShares())
    alone = draw_by_class(names[20:], labels[20:], RandomShares())
    assert (alone == marks[20:]).all()
    assert (draw_by_class(names, labels, RandomShares(seed=1)) != marks).any()


def test_sizes_are_exact_over_all_classes() -> None:
    names, labels = models({"chair": 40, "table": 60})
    split = RandomSizes(train=70, validation=10, test=20)
    marks = draw_by_class(names, labels, split)
    assert [int((marks == s).sum()) for s in ("train", "validation", "test")] == [70, 10, 20]
    assert (marks == draw(names, split)).all()


@pytest.mark.parametrize(
    ("count", "split", "missing"),
    [
        (2, RandomShares(), "train"),
        (1, RandomShares(), "train and validation"),
        (2, RandomSizes(train=30, validation=1, test=1), "test and validation|test|validation"),
    ],
)
def test_a_class_with_too_few_models(
    count: int, split: RandomShares | RandomSizes, missing: str
) -> None:
    names, labels = models({"chair": 30, "lamp": count})
    with pytest.raises(InputError, match=f"'lamp' has {count} models.*({missing})") as caught:
        draw_by_class(names, labels, split)
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(". ") == 0


def test_a_class_with_few_models_is_enough_without_validation() -> None:
    names, labels = models({"chair": 30, "lamp": 2})
    marks = draw_by_class(names, labels, RandomShares(validation=0))
    assert sorted(marks[30:]) == ["test", "train"]


def test_periods_split_at_their_times():
    times = [f"2019-03-{day:02d}T00:00:00" for day in range(1, 11)]
    marks = assign(times, [2019] * 10, Periods(validation="2019-03-05", test="2019-03-08T00"))
    assert marks.tolist() == ["train"] * 4 + ["validation"] * 3 + ["test"] * 3
    assert "validation" not in assign(times, [2019] * 10, Periods(test="2019-03-08"))


def test_periods_out_of_order_or_beyond_the_record_are_refused():
    with pytest.raises(ValidationError, match="validation starts before test"):
        Periods(validation="2019-03-08", test="2019-03-05")
    with pytest.raises(InputError, match="no signal for test"):
        assign(["2019-03-01T00:00:00"], [2019], Periods(test="2020"))
