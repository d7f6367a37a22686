"""The factorised entropy model: exact codes, of the length that it promises."""

import constriction
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from functory.coding.factorised import TOTAL, FactorisedModel, _categorical
from functory.errors import InputError

LEVELS = 32
GOLDEN_FREQUENCIES = [[5033165, 8388607, 1677722, 1677722], [1677722, 1677722, 5033165, 8388607]]
GOLDEN_WORDS = [1662046101, 1005335393, 3557942112, 24845]


@st.composite
def index_arrays(draw, levels: int = LEVELS):
    """Return two index arrays with the same latents: to fit, and to code."""
    latents = draw(st.integers(1, 5))
    elements = st.integers(0, levels - 1)
    training, coded = (
        draw(arrays(np.int32, (draw(st.integers(smallest, 12)), latents), elements=elements))
        for smallest in (1, 0)
    )
    return training, coded


def peaked(samples: int, latents: int, seed: int = 0) -> np.ndarray:
    """Return indices of quantised normal variables, of another spread in each latent."""
    spread = np.linspace(1, 8, latents)
    draws = np.random.default_rng(seed).normal(LEVELS / 2, spread, (samples, latents))
    return draws.clip(0, LEVELS - 1).astype(np.int32)


@given(index_arrays(), st.booleans())
def test_codes_give_back_the_indices_even_those_that_training_never_showed(pair, per_dimension):
    training, coded = pair
    model = FactorisedModel.fit(training, LEVELS, per_dimension)
    words = model.encode(coded)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(model.decode(words, len(coded)), coded)


@given(index_arrays(), st.booleans())
def test_frequencies_are_distributions_without_zeros(pair, per_dimension):
    model = FactorisedModel.fit(pair[0], LEVELS, per_dimension)
    assert (model.frequencies > 0).all()
    assert (model.frequencies.sum(axis=1) == TOTAL).all()
    assert model.frequencies.shape == (pair[0].shape[1] if per_dimension else 1, LEVELS)


@pytest.mark.parametrize("per_dimension", [True, False])
def test_the_coded_length_is_the_cross_entropy(per_dimension):
    model = FactorisedModel.fit(peaked(500, 16), LEVELS, per_dimension)
    coded = peaked(5000, 16, seed=1)
    promised = model.bits(coded).sum()
    length = 32 * model.encode(coded).size
    assert promised <= length + 1e-6 * promised
    assert length <= 1.01 * promised + 64


@given(index_arrays(), st.booleans())
def test_cross_entropy_is_at_least_the_empirical_entropy(pair, per_dimension):
    training, _ = pair
    model = FactorisedModel.fit(training, LEVELS, per_dimension)
    entropy = 0.0
    for sequence in training.T if per_dimension else [training.ravel()]:
        counts = np.unique(sequence, return_counts=True)[1]
        entropy -= (counts * np.log2(counts / counts.sum())).sum()
    assert model.bits(training).sum() >= entropy - 1e-9


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_uniform_indices_cost_their_bits(bits):
    levels = 2**bits
    indices = np.arange(4 * levels).reshape(-1, 1).repeat(3, axis=1) % levels
    model = FactorisedModel.fit(indices, levels)
    np.testing.assert_array_equal(model.bits(indices), 3 * bits)
    assert 32 * model.encode(indices).size <= indices.size * bits + 64


def test_frequencies_follow_the_counts_plus_one_half():
    model = FactorisedModel.fit(np.array([[0], [0], [0], [1]]), levels=4)
    np.testing.assert_allclose(
        model.probabilities, [[3.5 / 6, 1.5 / 6, 0.5 / 6, 0.5 / 6]], rtol=1e-5
    )


def test_a_table_for_each_latent_beats_a_shared_one_where_latents_differ():
    training, coded = peaked(2000, 8), peaked(500, 8, seed=1)
    each, shared = (FactorisedModel.fit(training, LEVELS, own) for own in (True, False))
    assert each.bits(coded).mean() < 0.95 * shared.bits(coded).mean()


def test_sixteen_bits_are_possible():
    indices = np.array([[0, 65535], [65535, 7]])
    model = FactorisedModel.fit(indices, levels=2**16)
    np.testing.assert_array_equal(model.decode(model.encode(indices), 2), indices)


def test_the_code_is_the_same_on_every_machine():
    model = FactorisedModel.fit(np.array([[0, 3], [1, 3], [1, 2]]), levels=4)
    assert model.frequencies.tolist() == GOLDEN_FREQUENCIES
    words = model.encode(np.array([[0, 3], [1, 3], [2, 0], [3, 1], [1, 3], [1, 3]] * 4))
    assert words.tolist() == GOLDEN_WORDS


def test_the_coder_uses_these_very_frequencies():
    frequencies = np.array([[1, 5, TOTAL - 7, 1]])
    model = FactorisedModel(frequencies, latents=1)
    ends = frequencies[0].cumsum()
    for index, edges in enumerate(zip(ends - frequencies[0], ends - 1, strict=True)):
        for quantile in edges:
            # The low 24 bits of the coder's state are the quantile of the next index.
            coder = constriction.stream.stack.AnsCoder(np.array([quantile, 1], dtype=np.uint32))
            assert coder.decode(_categorical(model.frequencies[0])) == index


def test_damaged_words_are_refused():
    indices = peaked(50, 4)
    model = FactorisedModel.fit(indices, LEVELS)
    words = model.encode(indices)
    with pytest.raises(InputError, match="not 49 samples of 4 latents"):
        model.decode(words, 49)
    with pytest.raises(InputError, match="zero word"):
        model.decode(np.append(words, np.uint32(0)), 50)
    with pytest.raises(InputError, match="not 50 samples"):
        model.decode(words[: len(words) // 2], 50)
    words[3] ^= 1
    with pytest.raises(InputError, match="not 50 samples"):
        model.decode(words, 50)


def test_what_does_not_fit_is_refused():
    model = FactorisedModel.fit(peaked(50, 4), LEVELS)
    with pytest.raises(InputError, match=r"index 32 at \(0, 0\) is outside 0\.\.31"):
        model.encode(np.full((1, 4), 32))
    with pytest.raises(InputError, match=r"samples of 4 latents.*\(2, 3\)"):
        model.bits(np.zeros((2, 3), dtype=int))
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        FactorisedModel.fit(np.zeros(4, dtype=int), LEVELS)
    with pytest.raises(InputError, match=r"5 latents need \(5, levels\)"):
        FactorisedModel(model.frequencies, latents=5)
    with pytest.raises(InputError, match="sum to 16777216"):
        FactorisedModel(2 * model.frequencies, latents=4)
