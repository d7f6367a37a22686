"""Training of the model that codes: it learns what neighbours and earlier latents say."""

from pathlib import Path

import numpy as np
import pytest

from functory.coding.autoregressive_flow import AutoregressiveFlowConfig, AutoregressiveTraining
from functory.coding.distillation import (
    DistillationTraining,
    IntegerTraining,
    train_integer_model,
)
from functory.errors import InputError
from functory.optimisation import Optimisation

LEVELS = np.array([32, 32, 32, 1])


def brief(steps: int) -> Optimisation:
    """Return a short training."""
    return Optimisation(
        steps=steps,
        batch=64,
        rate=5e-3,
        schedule="cosine",
        evaluate_every=10,
        checkpoint_every=10,
    )


def config(steps: int) -> IntegerTraining:
    """Return a small flow and a small network."""
    flow = AutoregressiveFlowConfig(width=16, dropout=0.0)
    return IntegerTraining(
        flow=AutoregressiveTraining(flow=flow, optimisation=brief(steps)),
        distillation=DistillationTraining(units=2, optimisation=brief(steps)),
    )


def runs(chunks: int, seed: int) -> np.ndarray:
    """Return (chunks, 1, 6, 4) symbols: walks with small steps, and a third latent of noise."""
    draw = np.random.default_rng(seed)
    steps = draw.normal(0, 1, (chunks, 1, 6, 3))
    steps[:, :, 0] *= 5
    walks = steps.cumsum(axis=2)
    walks[..., 1] += walks[..., 0]
    walks[..., 2] = draw.normal(0, 3, walks.shape[:-1])
    walks = np.concatenate([np.round(walks + 16), np.zeros((chunks, 1, 6, 1))], axis=-1)
    return walks.clip(0, LEVELS - 1).astype(np.int32)


@pytest.fixture(scope="module")
def trained():
    """Return a model of walks, its flow and its report."""
    return train_integer_model(runs(200, 0), runs(100, 1), LEVELS, config(50))


def test_it_beats_one_histogram_for_each_latent(trained):
    model, _, report = trained
    tested = runs(100, 2)
    assert list(report) == ["histogram", "flow", "network", "integers"]
    assert report["integers"] < 0.85 * report["histogram"]
    np.testing.assert_allclose(model.bits(tested).mean() / 4, report["integers"], rtol=0.05)
    coded = sum(32 * chunk.size for chunk in model.encode(tested))
    assert coded < 0.9 * tested[..., 0].size * 4 * report["histogram"] + 64 * len(tested)


def test_the_flow_and_the_integers_say_nearly_the_same(trained):
    model, flow, report = trained
    assert abs(report["integers"] / report["network"] - 1) < 0.005
    assert abs(report["integers"] / report["flow"] - 1) < 0.1
    tested = runs(100, 1)
    np.testing.assert_allclose(flow.bits(tested).mean() / 4, report["flow"], rtol=1e-3)
    assert np.corrcoef(flow.bits(tested).ravel(), model.bits(tested).ravel())[0, 1] > 0.9


def test_the_neighbours_are_what_helps(trained):
    model, _, _ = trained
    tested = runs(100, 2)
    cost = model.bits(tested).mean(axis=(0, 1))
    # the entropy of a rounded normal: two with a deviation of 5 and of 1, noise with one of 3
    first, later = (
        np.log2(np.sqrt(2 * np.pi * np.e) * np.array(s)).sum() for s in ([5, 5, 3], [1, 1, 3])
    )
    assert cost[0] < 1.25 * first
    assert (cost[1:] < 1.1 * later).all()
    shuffled = np.random.default_rng(0).permutation(tested.reshape(-1, 4)).reshape(tested.shape)
    assert model.bits(shuffled).mean() > 1.3 * model.bits(tested).mean()


def test_training_again_gives_the_same_integers_and_resumes(tmp_path: Path):
    both = runs(20, 0), runs(10, 1)
    once, _, _ = train_integer_model(*both, LEVELS, config(10), tmp_path / "state")
    assert (tmp_path / "state-flow").exists()
    again, _, _ = train_integer_model(*both, LEVELS, config(10))
    resumed, _, _ = train_integer_model(*both, LEVELS, config(10), tmp_path / "state")
    for name, array in once.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
        np.testing.assert_array_equal(array, resumed.arrays()[name])


def test_symbols_that_cannot_be_learned_from_are_refused():
    known = runs(10, 0)
    with pytest.raises(InputError, match="both need signals"):
        train_integer_model(known, known[:0], LEVELS, config(1))
    with pytest.raises(InputError, match="same lattice"):
        train_integer_model(known, known[:, 0], LEVELS, config(1))
    with pytest.raises(InputError, match="outside"):
        train_integer_model(known, known, LEVELS // 2, config(1))
