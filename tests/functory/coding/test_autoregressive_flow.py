"""The autoregressive flow: exact conditional probabilities, in one order."""

import numpy as np
import pytest
import torch

from functory.coding.autoregressive_flow import (
    AutoregressiveFlow,
    AutoregressiveFlowConfig,
    AutoregressiveTraining,
    train_autoregressive_flow,
)
from functory.coding.examples import Examples, LinearPrediction, Statistics
from functory.optimisation import Optimisation

LEVELS = np.array([5, 1, 9, 2])


def symbols(signals: int, seed: int = 0) -> np.ndarray:
    """Return symbols on a line of three cells, all of them random."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, LEVELS, (1, signals, 3, len(LEVELS))).astype(np.int32)


@pytest.fixture(scope="module")
def flow() -> AutoregressiveFlow:
    """Return a flow with weights that no training made, so that all of them matter."""
    torch.manual_seed(0)
    statistics = Statistics.of(symbols(50))
    examples = Examples.of(symbols(50), statistics)
    config = AutoregressiveFlowConfig(width=16)
    made = AutoregressiveFlow(
        LEVELS, statistics, LinearPrediction.fit(examples, examples), config
    ).double()
    torch.nn.init.normal_(made.conditioner.final_layer.weight, std=0.4)
    return made.eval()


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Return other symbols as examples in double precision."""
    found = Examples.of(symbols(20, seed=1), Statistics.of(symbols(50)))
    return Examples(found.symbols, found.values.double(), found.context.double())


@torch.no_grad()
def test_probabilities_sum_to_one_and_are_those_of_the_symbols(flow, examples):
    tables = flow.tables(examples)
    np.testing.assert_allclose(tables.sum(-1), 1, atol=1e-6)
    beyond = torch.arange(9) >= torch.from_numpy(LEVELS)[:, None]
    assert (tables[:, beyond] == 0).all()
    assert (tables[:, ~beyond] > 0).all()
    chosen = tables.gather(2, examples.symbols[..., None].long())[..., 0]
    np.testing.assert_allclose(flow.log2_probabilities(examples), chosen.log2(), atol=1e-5)


def test_the_probability_of_a_bin_is_the_integral_of_a_density(flow, examples):
    some = examples[slice(0, 4)]
    grid = (torch.arange(0, 9 * 64, dtype=torch.float64) + 0.5) / 64 - 0.5
    edges = grid.expand(4, len(LEVELS), -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(flow(some, edges).sum(), edges)
    scaled = flow(some, edges).detach() * np.pi / np.sqrt(3)
    density = slope * (np.pi / np.sqrt(3)) / (2 + 2 * torch.cosh(scaled))
    assert (slope > 0).all()
    integrals = density.reshape(4, len(LEVELS), 9, 64).mean(-1)
    tables = flow.tables(some).detach()
    inner = slice(1, 8)  # the first and the last bin have the tails too
    np.testing.assert_allclose(tables[:, 2, inner], integrals[:, 2, inner], atol=2e-4)


@torch.no_grad()
def test_a_latent_depends_on_those_before_it_and_on_no_other(flow, examples):
    before = flow.tables(examples)
    for latent in range(len(LEVELS)):
        values = examples.values.clone()
        values[:, latent] += 1
        after = flow.tables(Examples(examples.symbols, values, examples.context))
        changed = (after != before).any(-1).any(0)
        assert not changed[: latent + 1].any()
        assert changed[latent + 1 :].tolist() == [size > 1 for size in LEVELS[latent + 1 :]]


@torch.no_grad()
def test_the_context_reaches_even_the_first_latent_other_than_linearly(flow, examples):
    known = [
        flow(
            Examples(examples.symbols, examples.values, examples.context + shift),
            torch.ones(60, 4, 1, dtype=torch.float64),
        )[:, 0, 0]
        for shift in (-1, 0, 1)
    ]
    assert (known[0] + known[2] - 2 * known[1]).abs().max() > 1e-3


def test_training_finds_what_one_latent_says_of_the_next():
    draw = np.random.default_rng(0)
    hidden = draw.integers(0, 8, (1, 400, 1))
    noisy = np.abs(2 * hidden - 7) + draw.integers(0, 2, hidden.shape)  # no line fits this
    both = np.concatenate([hidden, noisy], axis=-1).astype(np.int32)
    statistics = Statistics.of(both)
    training, held_out = (Examples.of(b, statistics) for b in (both[:, :300], both[:, 300:]))
    config = AutoregressiveTraining(
        flow=AutoregressiveFlowConfig(width=32, dropout=0),
        penalty=1,
        optimisation=Optimisation(steps=100, batch=64, rate=1e-2, evaluate_every=20),
    )
    flow, history = train_autoregressive_flow(
        training,
        held_out,
        np.array([8, 9]),
        statistics,
        LinearPrediction.fit(training, held_out),
        config,
    )
    # 3 bits of the first, and one of noise: alone, the second would cost about three
    assert flow.bits(both[:, 300:]).mean() < 5
    best = max(row["log2_likelihood"] for row in history.rows)
    np.testing.assert_allclose(flow.bits(both[:, 300:]).mean(), -2 * best, rtol=1e-5)
