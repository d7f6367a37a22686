"""The network before it is rounded: proper distributions, and little lost by rounding."""

import numpy as np
import torch
from random_networks import random_network, random_symbols

from functory.coding.autoregressive_flow import code_lengths
from functory.coding.examples import Examples
from functory.coding.mixture_network import rounded

LEVELS = [40, 1, 7, 300]


def test_probabilities_sum_to_one_and_are_those_of_the_symbols():
    network = random_network(1, LEVELS)
    symbols = random_symbols(rounded(network), (1, 20, 3))
    examples = Examples.of(symbols, network.statistics)
    tables = network.log2_tables(examples).exp2()
    real = torch.arange(300) < torch.tensor(LEVELS)[:, None]
    np.testing.assert_allclose((tables * real).sum(-1), 1, atol=2e-5)
    chosen = tables.gather(2, examples.symbols[..., None].long())[..., 0]
    # differences of sums in single precision: good to about 1e-7
    np.testing.assert_allclose(network.log2_probabilities(examples).exp2(), chosen, atol=1e-6)


def test_rounding_costs_little():
    for axes, cells in enumerate([(), (6,), (2, 3), (2, 2, 2)]):
        network = random_network(axes, LEVELS, seed=axes)
        model = rounded(network)
        symbols = random_symbols(model, (1, 200, *cells))
        real = code_lengths(network, Examples.of(symbols, network.statistics))
        whole = model.bits(symbols).ravel()
        assert abs(whole.sum() - real.sum()) < 0.005 * real.sum()
        assert abs(whole - real).max() < 0.1 * real.max()
