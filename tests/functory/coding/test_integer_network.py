"""Integer arithmetic: distributions that are exact, positive and close to the real ones."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import random_model, random_symbols

from functory.coding.integer_network import TOTAL, MixtureTables, Unfolding, counts
from functory.errors import InputError

TABLES = MixtureTables.compute(-4, 11)
number = st.integers(-(2**21), 2**21)
outputs = st.lists(st.tuples(number, number, number), min_size=1, max_size=4)


@given(outputs, st.integers(1, 4096))
@settings(max_examples=25)
def test_frequencies_are_positive_integers_that_sum_to_the_total(parameters, levels):
    edges = np.arange(levels + 1.0)
    found = counts(TABLES, edges, np.array(parameters, float).T, np.array(float(levels)))
    assert found[0] == 0
    assert found[-1] == TOTAL
    assert (np.diff(found) >= 2).all()
    np.testing.assert_array_equal(found, np.round(found))


@given(outputs, st.integers(2, 500), st.integers(0, 499))
@settings(max_examples=25)
def test_the_interval_of_one_symbol_is_that_of_the_whole_table(parameters, levels, symbol):
    symbol = min(symbol, levels - 1)
    mixture, size = np.array(parameters, float).T, np.array(float(levels))
    whole = counts(TABLES, np.arange(levels + 1.0), mixture, size)
    own = counts(TABLES, np.array([symbol, symbol + 1.0]), mixture, size)
    np.testing.assert_array_equal(own, whole[symbol : symbol + 2])


@pytest.mark.parametrize("scale", [0.07, 0.5, 3.0, 60.0])
def test_the_tables_are_those_of_a_mixture_of_logistics(scale):
    weight, places, levels = 0.3, np.array([20.25, 33.0]), 50
    log_scale = np.round((np.log2(scale) + 4) * 8) / 8
    fixed = np.array(
        [[np.log(weight / (1 - weight)) * 256, 0], places * 256, [log_scale * 256 + 16] * 2]
    )
    found = counts(TABLES, np.arange(levels + 1.0), np.floor(fixed), np.array(50.0))
    arguments = (np.arange(1, levels)[:, None] - 0.5 - places) / 2 ** (log_scale - 4)
    wanted = (1 / (1 + np.exp(-arguments))) @ [weight, 1 - weight]
    # 1/32 nat in the logits, 12 bits in the weights, 1/16 between two entries of the table
    np.testing.assert_allclose(found[1:-1] / TOTAL, wanted, atol=4e-3)


@given(st.integers(0, 3), st.integers(0, 50))
@settings(max_examples=25)
def test_one_latent_after_another_gives_the_same_integers_as_all_at_once(axes, seed):
    network = random_model(axes, [40, 1, 7, 300], seed).network
    draw = np.random.default_rng(seed)
    context = draw.integers(-(2**18), 2**18, (5, network.first.shape[0] - 4)).astype(float)
    values = draw.integers(-(2**18), 2**18, (5, 4)).astype(float)
    at_once, unfolding = network(values, context), Unfolding(network, context)
    for latent in range(4):
        np.testing.assert_array_equal(unfolding.next(latent), at_once[:, latent])
        unfolding.learn(latent, values[:, latent])


@given(st.integers(0, 50))
@settings(max_examples=25)
def test_the_order_of_summation_changes_nothing(seed):
    network = random_model(2, [40, 1, 7, 300], seed).network
    draw = np.random.default_rng(seed)
    inputs = draw.integers(-(2**18), 2**18, len(network.first)).astype(float)
    sums = [
        np.cumsum((inputs[:, None, None] * network.first)[order], axis=0)[-1]
        for order in (slice(None), slice(None, None, -1), draw.permutation(len(inputs)))
    ]
    np.testing.assert_array_equal(sums[0], sums[1])
    np.testing.assert_array_equal(sums[0], sums[2])
    exact = inputs.astype(int) @ network.first.astype(int).reshape(len(inputs), -1)
    np.testing.assert_array_equal(sums[0].ravel(), exact)


def test_outputs_do_not_depend_on_the_latent_itself_nor_on_later_ones():
    model = random_model(1, [40, 9, 7, 300])
    network = model.network
    symbols = random_symbols(model, (20,))
    context = np.zeros((20, network.first.shape[0] - 4))
    before = network(network.standardise(symbols), context)
    for latent in range(4):
        other = symbols.copy()
        other[:, latent] = model.levels[latent] - 1 - other[:, latent]
        after = network(network.standardise(other), context)
        changed = (after != before).any(axis=(0, 2, 3))
        assert not changed[: latent + 1].any()
        assert changed[latent + 1 :].all()


@pytest.mark.parametrize("name", ["logistic", "exponential", "reciprocal"])
def test_tables_that_are_no_functions_are_refused(name):
    for spoilt in (getattr(TABLES, name)[:1], 0 * getattr(TABLES, name) + (name == "reciprocal")):
        if name == "reciprocal" and spoilt.size > 1:
            spoilt = spoilt * 2**27
        with pytest.raises(InputError, match=name):
            dataclasses.replace(TABLES, **{name: spoilt})
