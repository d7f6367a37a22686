"""Grids to decode on: finer ones, parts, and where their points lie on the coded one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.errors import InputError
from functory.fields.grids import between, finer, places, within

axes = st.lists(st.floats(0.01, 10), min_size=1, max_size=30).map(np.cumsum)


@given(axes, st.booleans())
def test_a_finer_grid_of_degrees_holds_the_coarse_one(values, descending):
    values = values[::-1] if descending else values
    found = finer(values, 3, ends=True)
    assert np.allclose(found[::3], values, rtol=1e-12)


@given(st.integers(1, 50), st.integers(1, 8))
def test_finer_pixels_keep_their_outer_edges(count, scale):
    pixels = (np.arange(count) + 0.5) / count
    if count == 1:
        return
    found = finer(pixels, scale, ends=False)
    assert np.allclose(found, (np.arange(count * scale) + 0.5) / (count * scale))


@given(axes, st.booleans(), st.lists(st.floats(-2, 32), min_size=1))
def test_places_are_the_inverse_of_between(values, descending, index):
    if len(values) == 1:
        return
    values = values[::-1] if descending else values
    index = np.array(index)
    assert np.allclose(places(values, between(values, index)), index, atol=1e-6)


def test_a_box_keeps_the_points_inside_whatever_its_order():
    grid = {"latitude": np.arange(58.0, 49, -1), "longitude": np.arange(5.0)}
    found = within(grid, {"latitude": (52, 54)})
    assert found["latitude"].tolist() == [54, 53, 52]
    assert found["longitude"] is grid["longitude"]
    assert within(grid, {"latitude": (54, 52)})["latitude"].tolist() == [54, 53, 52]


def test_a_box_without_points_or_of_another_axis_is_refused():
    grid = {"x": np.arange(3.0)}
    with pytest.raises(InputError, match="from 0 to 2"):
        within(grid, {"x": (5, 6)})
    with pytest.raises(InputError, match="the axes are x"):
        within(grid, {"lat": (5, 6)})
