"""Stored networks: nothing is lost, and damage is refused with a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import random_model

from functory.coding.integer_model import IntegerModel
from functory.errors import InputError


@given(st.integers(0, 3), st.lists(st.integers(1, 4096), min_size=1, max_size=4))
@settings(max_examples=25)
def test_what_is_read_back_is_what_was_stored(axes, levels):
    model = random_model(axes, levels)
    arrays = model.arrays()
    again = IntegerModel.from_arrays(arrays)
    assert (again.axes, again.levels.tolist()) == (axes, levels)
    np.testing.assert_array_equal(again.network.first, model.network.first)
    np.testing.assert_array_equal(again.network.second, model.network.second)
    for name, array in again.arrays().items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])


def test_the_size_counts_no_weight_that_must_be_zero():
    small, large = (random_model(0, [9] * n) for n in (10, 20))
    tables = 8 * sum(small.arrays()[n].nbytes for n in ("logistic", "exponential", "reciprocal"))
    # twice the latents: four times the pairs, of which fewer than half are left out
    assert 3 < (large.size - tables) / (small.size - tables) < 4


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("axes", lambda a: a + 9),
        ("levels", lambda a: a * 0),
        ("levels", lambda a: a + 5000),
        ("levels", lambda a: np.resize(a, 5000)),
        ("gain", lambda a: -a),
        ("gain", lambda a: a[:1]),
        ("shift", lambda a: a + 2**60),
        ("first", lambda a: a[:-1]),
        ("first", lambda a: a.astype(np.float32)),
        ("first_bias", lambda a: a[0]),
        ("first_shift", lambda a: a - 100),
        ("second", lambda a: a.astype(np.int32)),
        ("second_bias", lambda a: a[:, :1]),
        ("second_shift", lambda a: np.full_like(a, 127)),
        ("logistic", lambda a: a[::-1]),
        ("reciprocal", lambda a: a + 2**30),
    ],
)
def test_damaged_arrays_are_refused(name, spoil):
    arrays = random_model(1, [9, 3]).arrays()
    with pytest.raises(InputError, match="damaged"):
        IntegerModel.from_arrays(arrays | {name: spoil(arrays[name])})


def test_missing_and_unknown_arrays_are_refused():
    arrays = random_model(1, [9, 3]).arrays()
    with pytest.raises(InputError, match="damaged"):
        IntegerModel.from_arrays({k: v for k, v in arrays.items() if k != "gain"})
    with pytest.raises(InputError, match="damaged"):
        IntegerModel.from_arrays(arrays | {"more": arrays["gain"]})
