"""Examples and the linear prediction that conditional models start from."""

import numpy as np
import torch

from functory.coding.examples import Examples, LinearPrediction, Statistics


def rows(vectors: int, cells: int, seed: int) -> np.ndarray:
    """Return symbols in a line: each cell is nearly the last, latent 1 is nearly latent 0."""
    draw = np.random.default_rng(seed)
    steps = draw.normal(size=(1, vectors, cells, 2)).cumsum(axis=2) * 4
    steps[..., 1] = steps[..., 0] + draw.normal(size=steps.shape[:-1])
    return np.round(steps + 100).astype(np.int32)


def test_examples_are_standardised_and_a_latent_that_never_varies_stays_finite():
    symbols = np.concatenate([rows(200, 3, 0), np.full((1, 200, 3, 1), 7)], axis=-1)
    values = Examples.of(symbols, Statistics.of(symbols)).values
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(0, correction=0), [1, 1, 0], atol=1e-4)


def test_examples_stand_in_the_order_of_the_lattice():
    symbols = rows(5, 4, 0)
    examples = Examples.of(symbols, Statistics.of(symbols))
    np.testing.assert_array_equal(examples.symbols.reshape(symbols.shape), symbols)
    context = examples.context.reshape(5, 4, -1)
    np.testing.assert_array_equal(context[:, 1:, :2], examples.values.reshape(5, 4, 2)[:, :-1])
    assert len(examples.split(7)) == 3


def test_the_prediction_is_ridge_regression_on_what_is_known():
    symbols = rows(400, 3, 0)
    examples = Examples.of(symbols, Statistics.of(symbols))
    found = LinearPrediction.fit(examples, examples).coefficients.double()
    known = torch.cat([examples.context, examples.values], dim=1).double()
    for latent in range(2):
        before = known[:, : 6 + latent]
        gram = before.T @ before / len(before) + 1e-4 * torch.eye(6 + latent)
        wanted = torch.linalg.solve(gram, before.T @ examples.values[:, latent].double())
        np.testing.assert_allclose(found[latent, : 6 + latent], wanted / len(before), atol=1e-5)
        assert (found[latent, 6 + latent :] == 0).all()


def test_the_prediction_leaves_what_cannot_be_known():
    symbols = rows(4000, 3, 0)
    statistics = Statistics.of(symbols)
    examples = Examples.of(symbols, statistics)
    left = LinearPrediction.fit(examples, examples).residual.numpy() * statistics.deviation
    np.testing.assert_allclose(left[1], np.sqrt(1 + 1 / 6), rtol=0.05)  # noise, and rounding twice
    assert left[0] < 1.1 * 4


def test_few_examples_are_predicted_with_a_stronger_hand():
    draw = np.random.default_rng(0)
    few, more = (draw.integers(0, 50, (1, n, 40)) for n in (60, 500))
    statistics = Statistics.of(few)
    training, held_out = (Examples.of(part, statistics) for part in (few, more))
    left = LinearPrediction.fit(training, held_out)
    error = held_out.values - held_out.values @ left.coefficients.T
    greedy = LinearPrediction.fit(training, training)
    assert error.square().mean() < (
        (held_out.values - held_out.values @ greedy.coefficients.T).square().mean() * 0.8
    )
