"""Chunks: every cell is in one of them, and a part needs no more than it must."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.coding.layout import RUN, Layout

shapes = st.lists(st.integers(1, 40), min_size=0, max_size=3)


@given(st.integers(1, 600), shapes)
def test_every_cell_is_in_one_chunk(samples, cells):
    layout = Layout.of(samples, cells, sequence=False)
    seen = np.zeros((samples, *cells), int)
    for chunk in range(len(layout)):
        seen[layout.block(chunk)] += 1
    assert (seen == 1).all()


@given(st.integers(1, 600), shapes, st.randoms(use_true_random=False))
def test_the_chunks_that_cover_a_block_are_those_that_touch_it(samples, cells, random):
    layout = Layout.of(samples, cells, sequence=False)
    block = []
    for n in layout.shape:
        start = random.randrange(n)
        block.append(slice(start, random.randrange(start, n) + 1))
    wanted = np.zeros(layout.shape, bool)
    wanted[tuple(block)] = True
    touching = [i for i in range(len(layout)) if wanted[layout.block(i)].any()]
    assert layout.covering(tuple(block)) == touching


@given(st.integers(1, 300), shapes)
def test_chunks_that_are_alike_have_one_shape(samples, cells):
    layout = Layout.of(samples, cells, sequence=False)
    groups = layout.alike(range(len(layout)))
    assert sorted(i for group in groups.values() for i in group) == list(range(len(layout)))
    for shape, group in groups.items():
        for chunk in group:
            assert tuple(s.stop - s.start for s in layout.block(chunk)) == shape


@pytest.mark.parametrize("samples", [1, RUN[0], RUN[0] + 1, 1000])
def test_runs_are_in_order(samples):
    layout = Layout.of(samples, (), sequence=True)
    ends = [layout.block(i)[0].stop for i in range(len(layout))]
    assert ends == sorted(ends)
    assert ends[-1] == samples
    assert max(np.diff([0, *ends])) <= RUN[0]
