"""The causal context: every neighbour is decoded before, and nothing later is looked at."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.coding.context import lattice, neighbours, offsets, waves

lattices = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@given(lattices)
@settings(max_examples=25)
def test_every_cell_is_in_one_wave_and_its_neighbours_are_in_earlier_ones(cells):
    when = np.full(cells, -1)
    for number, wave in enumerate(waves(cells)):
        for position in map(tuple, wave):
            assert when[position] == -1
            when[position] = number
    assert (when >= 0).all()
    for position in map(tuple, lattice(cells)):
        for offset in offsets(len(cells)):
            neighbour = tuple(np.add(position, offset))
            if min(neighbour) >= 0:
                assert when[neighbour] < when[position]


@given(lattices, st.integers(0, 9))
@settings(max_examples=25)
def test_a_context_knows_only_what_is_decoded_before(cells, seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(2, *cells, 3))
    for wave in waves(cells):
        before = neighbours(values, wave)
        values[(slice(None), *wave.T)] = draw.normal()
        np.testing.assert_array_equal(neighbours(values, wave), before)


def test_slots_hold_the_values_of_the_neighbours_and_whether_there_are_any():
    values = np.arange(1.0, 7).reshape(1, 2, 3, 1)
    corner, edge, inside = neighbours(values, np.array([[0, 0], [0, 2], [1, 1]]))[0]
    assert offsets(2) == [(0, -1), (-1, 0), (-1, -1)]
    assert corner.tolist() == [0, 0, 0, 0, 0, 0]
    assert edge.tolist() == [2, 0, 0, 1, 0, 0]
    assert inside.tolist() == [4, 2, 1, 1, 1, 1]


def test_along_one_axis_two_steps_are_remembered():
    values = np.arange(1.0, 9).reshape(1, 4, 2)
    assert neighbours(values, np.array([[3]]), one=7).tolist() == [[[5, 6, 3, 4, 7, 7]]]
    assert neighbours(values, np.array([[1]]), one=7).tolist() == [[[1, 2, 0, 0, 7, 0]]]


@pytest.mark.parametrize(("cells", "count"), [((), 1), ((5,), 5), ((3, 4), 6), ((2, 3, 4), 7)])
def test_there_are_no_more_waves_than_needed(cells, count):
    assert len(waves(cells)) == count


def test_without_a_lattice_there_is_no_context():
    assert neighbours(np.ones((4, 3)), lattice(())).shape == (4, 1, 0)
