"""Uniform quantisation: the laws of its bins, and its borders."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from functory.coding.quantisation import Quantisation, StepQuantiser, UniformQuantiser
from functory.errors import InputError

modulations = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-100, 100, width=32),
)
configurations = st.builds(
    Quantisation, bits=st.integers(1, 16), per_dimension=st.booleans(), spread=st.floats(0.5, 5)
)


def within(quantiser: UniformQuantiser, fractions: np.ndarray) -> np.ndarray:
    """Return values inside the quantiser's interval, at fractions of its length."""
    low, high = quantiser.low.astype(np.float64), quantiser.high.astype(np.float64)
    return (low + fractions[:, None] * (high - low)).clip(low, high)


def rounding(quantiser: UniformQuantiser) -> np.ndarray:
    """Return the error of storing a value of the interval as float32."""
    return np.spacing(np.maximum(abs(quantiser.low), abs(quantiser.high)))


@given(modulations, configurations)
def test_quantising_a_dequantised_value_changes_nothing(values, config):
    quantiser = UniformQuantiser.fit(values, config)
    once = quantiser.dequantise(quantiser.quantise(values))
    twice = quantiser.dequantise(quantiser.quantise(once))
    np.testing.assert_array_equal(twice, once)


@given(modulations, configurations)
def test_every_index_survives_where_float32_resolves_the_bins(values, config):
    quantiser = UniformQuantiser.fit(values, config)
    resolved = quantiser.width > 4 * rounding(quantiser)
    indices = np.arange(quantiser.levels, dtype=np.int32)[:, None].repeat(values.shape[1], axis=1)
    again = quantiser.quantise(quantiser.dequantise(indices))
    np.testing.assert_array_equal(again[:, resolved], indices[:, resolved])


@given(modulations, configurations, arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_error_inside_the_interval_is_at_most_half_a_bin(values, config, fractions):
    quantiser = UniformQuantiser.fit(values, config)
    inside = within(quantiser, fractions)
    error = abs(quantiser.dequantise(quantiser.quantise(inside)) - inside)
    assert (error <= quantiser.width / 2 * (1 + 1e-9) + rounding(quantiser)).all()


@given(modulations, configurations, arrays(np.float64, 20, elements=st.floats(-1, 2)))
def test_indices_grow_with_the_values(values, config, fractions):
    quantiser = UniformQuantiser.fit(values, config)
    length = quantiser.high.astype(np.float64) - quantiser.low
    indices = quantiser.quantise(quantiser.low + np.sort(fractions)[:, None] * length)
    assert (np.diff(indices, axis=0) >= 0).all()
    assert indices.min() >= 0
    assert indices.max() < quantiser.levels


@given(modulations, st.integers(1, 15), st.booleans())
def test_a_bit_more_halves_the_worst_error(values, bits, per_dimension):
    coarse, fine = (
        UniformQuantiser.fit(values, Quantisation(bits=b, per_dimension=per_dimension))
        for b in (bits, bits + 1)
    )
    np.testing.assert_array_equal(fine.width, coarse.width / 2)


def test_interval_is_the_mean_and_three_standard_deviations_on_either_side():
    values = np.random.default_rng(0).normal([1, -5], [2, 0.1], (500, 2))
    each = UniformQuantiser.fit(values, Quantisation())
    np.testing.assert_allclose(each.low, values.mean(0) - 3 * values.std(0), rtol=1e-6)
    np.testing.assert_allclose(each.high, values.mean(0) + 3 * values.std(0), rtol=1e-6)
    shared = UniformQuantiser.fit(values, Quantisation(per_dimension=False))
    np.testing.assert_allclose(shared.low, [values.mean() - 3 * values.std()] * 2, rtol=1e-6)
    np.testing.assert_allclose(shared.width, 6 * values.std() / 32, rtol=1e-6)


def test_per_dimension_errs_less_where_the_scales_differ():
    values = np.random.default_rng(0).normal(0, [1, 0.01], (1000, 2))

    def error(per_dimension: bool) -> np.ndarray:
        quantiser = UniformQuantiser.fit(values, Quantisation(per_dimension=per_dimension))
        return ((quantiser.dequantise(quantiser.quantise(values)) - values) ** 2).mean(0)

    assert error(per_dimension=True)[1] < error(per_dimension=False)[1] / 100


@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_a_constant_dimension_keeps_its_value(value):
    values = np.array([[value, 1], [value, 2]], dtype=np.float32)
    quantiser = UniformQuantiser.fit(values, Quantisation(bits=3))
    indices = quantiser.quantise(values + np.float32(1))
    assert (indices[:, 0] == 0).all()
    np.testing.assert_array_equal(quantiser.dequantise(indices)[:, 0], values[:, 0])


def test_leading_axes_are_free():
    quantiser = UniformQuantiser.fit(np.arange(12.0).reshape(4, 3), Quantisation())
    one = np.array([1.0, 5.0, 9.0])
    assert quantiser.quantise(one).dtype == np.int32
    np.testing.assert_array_equal(
        quantiser.quantise(one[None, None])[0, 0], quantiser.quantise(one)
    )
    assert quantiser.dequantise(quantiser.quantise(one)).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    values = np.ones((4, 3))
    quantiser = UniformQuantiser.fit(values, Quantisation())
    values[2, 1] = bad
    with pytest.raises(InputError, match=r"1 of 12 modulations are not finite.*\(2, 1\)"):
        quantiser.quantise(values)
    with pytest.raises(InputError, match="not finite"):
        UniformQuantiser.fit(values, Quantisation())


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"shape \(0, 3\)"):
        UniformQuantiser.fit(np.empty((0, 3)), Quantisation())
    quantiser = UniformQuantiser.fit(np.eye(3), Quantisation(bits=2))
    with pytest.raises(InputError, match="3 latents"):
        quantiser.quantise(np.ones((2, 4)))
    with pytest.raises(InputError, match=r"index 4 at \(1,\) is outside 0\.\.3"):
        quantiser.dequantise(np.array([0, 4, -1]))
    with pytest.raises(InputError, match="float64"):
        quantiser.dequantise(np.ones(3))


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"bits": 17}, {"spread": 0}, {"levels": 32}])
def test_configuration_refuses(wrong):
    with pytest.raises(ValidationError):
        Quantisation(**wrong)


@given(modulations, st.floats(0.01, 5))
def test_steps_miss_by_half_a_step_at_most(values, step):
    quantiser = StepQuantiser.fit(values, step)
    symbols = quantiser.quantise(values)
    assert (symbols >= 0).all()
    assert (symbols < quantiser.levels).all()
    assert np.allclose(quantiser.dequantise(symbols), values, atol=step / 2 + 1e-5)
    assert np.array_equal(quantiser.quantise(quantiser.dequantise(symbols)), symbols)


def test_what_is_beyond_all_steps_becomes_the_last():
    quantiser = StepQuantiser.fit(np.array([[1.0], [-1.0]]), 0.5)
    assert quantiser.quantise(np.array([[1e9]])) == quantiser.levels - 1
    assert quantiser.quantise(np.array([[-1e9]])) == 0


def test_steps_can_differ_by_latent():
    quantiser = StepQuantiser.fit(np.array([[3.0, 3.0]]), np.array([1.0, 0.1]))
    assert quantiser.levels[1] > quantiser.levels[0]
    assert np.allclose(quantiser.offset, quantiser.dequantise(np.zeros((1, 2), int))[0])
