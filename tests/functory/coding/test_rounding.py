"""Rate-aware rounding: it never costs more than rounding to the nearest symbol."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.coding.quantisation import StepQuantiser
from functory.coding.rounding import cheapest_symbols, marginal_bits, matched_weight
from functory.errors import InputError


def problem(seed: int, latents: int, step: float) -> tuple[np.ndarray, StepQuantiser, np.ndarray]:
    """Return modulations (signals, latents), some out of range, and what their symbols cost."""
    generator = np.random.default_rng(seed)
    spread = generator.gamma(1, 1, latents)
    training, values = generator.laplace(size=(2, 30, latents)) * spread
    quantiser = StepQuantiser.fit(training, step)
    return values * 2, quantiser, marginal_bits(quantiser.quantise(training), quantiser)


def costs(
    values: np.ndarray,
    symbols: np.ndarray,
    quantiser: StepQuantiser,
    bits: np.ndarray,
    weight: float,
) -> np.ndarray:
    """Return D + lambda R of every symbol."""
    # in double precision: not as float32 stores what symbols stand for
    error = (symbols + quantiser.low) * quantiser.step - values
    return error**2 + weight * bits[np.arange(len(bits)), symbols]


problems = st.builds(
    problem, st.integers(0, 2**31), st.integers(1, 6), st.floats(0.02, 5, exclude_min=True)
)


@settings(max_examples=50)
@given(problems, st.floats(0, 10))
def test_it_never_costs_more_than_the_nearest_symbol(found, weight):
    values, quantiser, bits = found
    chosen = cheapest_symbols(values, quantiser, bits, weight)
    nearest = quantiser.quantise(values)
    assert chosen.dtype == nearest.dtype
    assert (chosen >= 0).all()
    assert (chosen < quantiser.levels).all()
    dear = costs(values, nearest, quantiser, bits, weight)
    assert (costs(values, chosen, quantiser, bits, weight) <= dear + 1e-12).all()
    rate = bits[np.arange(len(bits)), chosen] - bits[np.arange(len(bits)), nearest]
    assert (rate <= 0).all()


@settings(max_examples=50)
@given(problems)
def test_without_a_weight_it_is_rounding(found):
    values, quantiser, bits = found
    nearest = quantiser.quantise(values)
    chosen = cheapest_symbols(values, quantiser, bits, 0.0)
    np.testing.assert_allclose(
        costs(values, chosen, quantiser, bits, 0.0), costs(values, nearest, quantiser, bits, 0.0)
    )


def test_a_high_weight_takes_the_cheapest_of_what_is_near():
    quantiser = StepQuantiser(np.ones(1), np.array([-3], np.int32), np.array([3], np.int32))
    bits = np.array([[9.0, 9, 1, 2, 9, 3, 4]])
    values = np.array([[-2.4], [-1.2], [0.3], [2.3], [2.8]])
    chosen = cheapest_symbols(values, quantiser, bits, 100.0)
    assert (chosen[:, 0] + quantiser.low).tolist() == [0, -1, 0, 0, 0]
    small = cheapest_symbols(values, quantiser, bits, 1e-3)
    assert (small[:, 0] + quantiser.low).tolist() == [-2, -1, 0, 2, 3]


def test_the_default_weight_is_that_of_the_step():
    values, quantiser, bits = problem(3, 5, 0.7)
    np.testing.assert_array_equal(
        cheapest_symbols(values, quantiser, bits),
        cheapest_symbols(values, quantiser, bits, matched_weight(0.7)),
    )


def test_any_leading_axes_are_rounded_alike():
    values, quantiser, bits = problem(4, 3, 0.5)
    whole = cheapest_symbols(values, quantiser, bits)
    shaped = cheapest_symbols(values.reshape(5, 2, 3, 3), quantiser, bits)
    np.testing.assert_array_equal(shaped.reshape(-1, 3), whole)


def test_costs_are_a_distribution_over_the_symbols_that_there_are():
    _, quantiser, bits = problem(5, 6, 0.3)
    np.testing.assert_allclose(np.exp2(-bits).sum(axis=1), 1)
    there = np.arange(bits.shape[1]) < quantiser.levels[:, None]
    np.testing.assert_array_equal(np.isfinite(bits), there)


def test_costs_of_another_network_are_refused():
    values, quantiser, bits = problem(6, 4, 0.5)
    with pytest.raises(InputError, match="4 latents are to be rounded"):
        cheapest_symbols(values[:, :3], quantiser, bits)
    with pytest.raises(InputError, match="count them with the same quantiser"):
        cheapest_symbols(values, quantiser, bits[:, :2])
