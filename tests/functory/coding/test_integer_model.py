"""The entropy model that codes: exact, as long as it promises, the same everywhere."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import random_model, random_symbols

from functory.coding.context import waves
from functory.coding.integer_model import CATEGORICAL, IntegerModel
from functory.coding.integer_network import TOTAL
from functory.errors import InputError


@st.composite
def cases(draw: st.DrawFn) -> tuple[IntegerModel, np.ndarray]:
    """Return a model and symbols for it."""
    cells = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    levels = draw(st.lists(st.sampled_from([1, 2, 3, 40, 700]), min_size=1, max_size=4))
    model = random_model(len(cells), levels, draw(st.integers(0, 20)))
    counted = (draw(st.integers(0, 3)), draw(st.integers(0, 3)))
    return model, random_symbols(model, (*counted, *cells), draw(st.integers(0, 20)))


@given(cases())
@settings(max_examples=30)
def test_codes_give_back_the_symbols(case):
    model, symbols = case
    words = model.encode(symbols)
    assert [chunk.dtype for chunk in words] == [np.uint32] * len(symbols)
    found = model.decode(words, symbols.shape[1], symbols.shape[2:-1])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, symbols)


@given(cases())
@settings(max_examples=20)
def test_a_chunk_is_as_long_as_promised_and_stands_alone(case):
    model, symbols = case
    promised = model.bits(symbols)
    assert promised.shape == symbols.shape[:-1]
    words = model.encode(symbols)
    for number, chunk in enumerate(words):
        assert 32 * chunk.size <= 1.005 * promised[number].sum() + 8 * 16
        alone = model.decode([chunk], symbols.shape[1], symbols.shape[2:-1])[0]
        np.testing.assert_array_equal(alone, symbols[number])


def test_long_chunks_cost_what_their_frequencies_say():
    model = random_model(1, [40, 3, 700])
    symbols = random_symbols(model, (2, 30, 20))
    for chunk, promised in zip(model.encode(symbols), model.bits(symbols), strict=True):
        assert promised.sum() - 32 <= 32 * chunk.size <= 1.0005 * promised.sum() + 64


def test_symbols_cost_the_logarithm_of_their_own_frequency():
    # of every first symbol, the probabilities sum to one
    model = random_model(0, [40])
    each = np.arange(40, dtype=np.int32).reshape(40, 1, 1)
    np.testing.assert_allclose((2.0 ** -model.bits(each)).sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("cells", [(), (5,), (2, 3), (2, 2, 2)])
def test_later_cells_do_not_change_the_cost_of_earlier_ones(cells):
    model = random_model(len(cells), [40, 9, 100])
    symbols = random_symbols(model, (1, 2, *cells))
    before, order = model.bits(symbols), waves(cells)
    for number, wave in enumerate(order):
        changed = symbols.copy()
        changed[(0, 0, *wave.T)] = (symbols[(0, 0, *wave.T)] + 2) % model.levels
        after = model.bits(changed)
        np.testing.assert_array_equal(after[0, 1], before[0, 1])
        for earlier in order[:number]:
            at = (0, 0, *earlier.T)
            np.testing.assert_array_equal(after[at], before[at])
        later = [(after != before)[(0, 0, *wave.T)].any() for wave in order[number + 1 :]]
        assert all(later[:1])


def test_batches_do_not_show():
    model = random_model(1, [40, 9])
    symbols = random_symbols(model, (1, 3, 1500))  # one signal is more than a batch
    apart = np.stack([model.bits(symbols[:, i : i + 1])[:, 0] for i in range(3)], axis=1)
    np.testing.assert_array_equal(model.bits(symbols), apart)
    many = random_symbols(model, (40, 30, 4))  # several groups of chunks
    np.testing.assert_array_equal(model.decode(model.encode(many), 30, (4,)), many)


@pytest.mark.parametrize("cells", [(), (3,)])
def test_leading_latents_are_given_back_alone(cells):
    model = random_model(len(cells), [40, 9, 100])
    symbols = random_symbols(model, (2, 3, *cells))
    words = model.encode(symbols)
    for latents in range(4):
        found = model.decode(words, 3, cells, latents)
        np.testing.assert_array_equal(found[..., :latents], symbols[..., :latents])
        assert (found[..., latents:] == model.network.middle[latents:]).all()


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_damaged_words_are_refused_or_decode_to_other_symbols(seed):
    draw = np.random.default_rng(seed)
    model = random_model(1, [40, 9, 2])
    symbols = random_symbols(model, (1, 4, 5))
    (words,) = model.encode(symbols)
    match seed % 4:
        case 0:
            damaged = words[: draw.integers(len(words))]
        case 1:
            damaged = np.append(words, draw.integers(0, 3, 2).astype(np.uint32))
        case 2:
            damaged = words ^ (draw.random(words.shape) < 0.2).astype(np.uint32)
        case _:
            damaged = draw.integers(0, 2**32, draw.integers(30), dtype=np.uint32)
    with contextlib.suppress(InputError):
        found = model.decode([damaged], 4, (5,))
        assert found.shape == symbols.shape
        assert (found < model.levels).all()
        assert np.array_equal(damaged, words) == np.array_equal(found, symbols)


def test_words_too_few_or_too_many_are_noticed():
    model = random_model(1, [40, 9, 100])
    words = model.encode(random_symbols(model, (3, 20, 5)))
    for spoilt in (words[1][:-1], words[1][1:], np.append(words[1], np.uint32(9))):
        with pytest.raises(InputError, match="chunk 1"):
            model.decode([words[0], spoilt, words[2]], 20, (5,))


def test_symbols_of_another_shape_or_alphabet_are_refused():
    model = random_model(1, [40, 9])
    right = random_symbols(model, (1, 2, 3))
    wrong = right.copy()
    wrong[0, 1, 2, 1] = 9
    with pytest.raises(InputError, match=r"symbol 9 at \(0, 1, 2, 1\)"):
        model.encode(wrong)
    with pytest.raises(InputError, match="2 latents"):
        model.bits(right[..., :1])
    with pytest.raises(InputError, match="1 axes"):
        model.bits(right[:, :, 0])
    with pytest.raises(InputError, match="1 axes"):
        model.decode(model.encode(right), 2, (3, 1))
    with pytest.raises(InputError, match="1 axes"):
        model.decode(model.encode(right), 2, (0,))
    with pytest.raises(InputError, match="1 axes"):
        model.encode(right[:, :, :0])
    with pytest.raises(InputError, match="integers"):
        model.bits(right + 0.5)


def test_the_coder_uses_these_very_frequencies():
    draw = np.random.default_rng(0)
    for levels in (2, 5, 300):
        weights = np.floor(draw.dirichlet(np.full(levels, 0.1)) * (TOTAL - 3 * levels)) + 1
        weights[0] += TOTAL - levels - weights.sum()
        ends = np.cumsum(weights + 1)
        for symbol, last in enumerate(ends - 1):
            first = last - weights[symbol]
            for quantile in (first, last):
                # the low 24 bits of the coder's state are the quantile of the next symbol
                state = np.array([quantile, 1], dtype=np.uint32)
                coder = constriction.stream.stack.AnsCoder(state)
                assert coder.decode(CATEGORICAL, weights[None]) == symbol


DECODE = """
import sys, numpy as np
from functory.coding.integer_model import IntegerModel
with np.load(sys.argv[1]) as file:
    arrays = dict(file)
symbols, words = arrays.pop("symbols"), arrays.pop("words")
model = IntegerModel.from_arrays(arrays)
np.testing.assert_array_equal(model.decode([words], 300, (3,)), symbols)
np.testing.assert_array_equal(model.encode(symbols)[0], words)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_another_process_reads_what_this_one_wrote(tmp_path: Path, threads):
    model = random_model(1, [40, 9, 2, 100] * 6)
    symbols = random_symbols(model, (1, 300, 3))
    (words,) = model.encode(symbols)
    np.savez(tmp_path / "coded.npz", symbols=symbols, words=words, **model.arrays())
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, threads)
    command = [sys.executable, "-c", DECODE, str(tmp_path / "coded.npz")]
    subprocess.run(command, env=environment, check=True)
