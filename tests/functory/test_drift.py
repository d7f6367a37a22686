"""The check of later months: its rate of false alarms, and what it sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.drift import Drift, limit, monthly_means, probability_of_lower
from functory.errors import InputError

TRIALS = 3000


def failing(draws: np.ndarray, level: float) -> float:
    """Return the share of trials, (trials, 24 tested months and a later one), that fail."""
    judged = [probability_of_lower(row[:-1], row[-1:])[0] for row in draws]
    return float(np.mean(np.array(judged) <= level))


@pytest.mark.parametrize("level", [0.005, 0.05])
def test_normal_months_fail_as_often_as_is_said(level: float) -> None:
    share = failing(np.random.default_rng(0).normal(40, 3, (TRIALS, 25)), level)
    deviation = np.sqrt(level * (1 - level) / TRIALS)
    assert share == pytest.approx(level, abs=4 * deviation)


def test_months_with_a_tail_fail_at_most_a_few_times_as_often() -> None:
    # the left tail of a Gumbel distribution is what a likelihood's may be like
    draws = -np.random.default_rng(0).gumbel(size=(TRIALS, 25))
    assert failing(draws, 0.005) < 0.03


def test_a_month_far_below_fails_and_one_above_does_not() -> None:
    tested = np.random.default_rng(0).normal(40, 0.5, 24)
    assert list(probability_of_lower(tested, np.array([36.0, 44.0, np.nan])) <= 0.005) == [
        True,
        False,
        True,
    ]


@given(
    tested=st.lists(st.floats(-100, 100), min_size=3, max_size=30, unique=True),
    level=st.floats(0.001, 0.4),
)
def test_the_limit_is_where_a_month_begins_to_fail(tested: list[float], level: float) -> None:
    below = limit(np.array(tested), level)
    assert probability_of_lower(np.array(tested), np.array([below]))[0] == pytest.approx(level)


def test_months_that_are_all_alike_judge_without_an_error() -> None:
    alike = np.full(12, 40.0)
    assert list(probability_of_lower(alike, np.array([39.0, 41.0]))) == [0, 1]


def test_a_month_counts_once_however_many_hours_it_has() -> None:
    values, months = np.array([1.0, 3.0, 10.0]), np.array([7, 7, 9])
    assert list(monthly_means(values, months)) == [2, 10]


def test_too_few_months_to_compare_with() -> None:
    with pytest.raises(InputError, match=r"of which there are 2; give a year"):
        probability_of_lower(np.ones(2), np.ones(1))


def test_both_measures_share_the_false_alarms() -> None:
    assert Drift(false_alarms=0.01).level == 0.005
