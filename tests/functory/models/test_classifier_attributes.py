"""Classifiers of attributes: what they learn, and the two accuracies."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from functory.models.classifier import (
    ModulationClassifier,
    PerceptronConfig,
    accuracy,
    attribute_accuracies,
    train_classifier,
)
from functory.optimisation import Optimisation

SMALL = PerceptronConfig(width=16, depth=2)
TRAINING = Optimisation(steps=150, batch=64, rate=5e-3, evaluate_every=25)


def latents(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return modulations, and attributes: a sign, a rare one, one by chance, one of all."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 4, generator=generator)
    by_chance = torch.rand(count, generator=generator) < 0.8
    attributes = [values[:, 0] > 0, values[:, 1] > 1.3, by_chance, torch.ones(count).bool()]
    return values, torch.stack(attributes, 1)


def test_attributes_are_learned_side_by_side() -> None:
    training, held_out, test = (latents(400, seed) for seed in range(3))
    mean, deviation = training[0].mean(0), training[0].std(0, correction=0)
    build = partial(ModulationClassifier, mean, deviation, 4, SMALL)
    model, history = train_classifier(build, training, held_out, TRAINING)
    found, balanced = attribute_accuracies(model, *test)
    assert (found[:2] > 0.9).all()
    assert (balanced[:2] > 0.8).all()
    assert found[2] > 0.7  # most have it,
    assert balanced[2] == pytest.approx(0.5, abs=0.1)  # but nothing is known of it
    assert found[3] == balanced[3] == 1
    assert accuracy(model, *test) == pytest.approx(float(found.mean()), abs=1e-6)
    best = max(history.rows, key=lambda row: row["log_likelihood"])
    assert history.best_step == best["step"]


def test_accuracies_count_what_is_right() -> None:
    truth = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 0]]).bool()
    logits = torch.tensor([[3.0, -1], [1, -2], [-1, -1], [5, -4]])
    found, balanced = attribute_accuracies(nn.Identity(), logits, truth)
    assert found.tolist() == [0.5, 0.75]
    assert balanced.tolist() == pytest.approx([(2 / 3 + 0) / 2, (0 + 1) / 2])
    assert accuracy(nn.Identity(), logits, truth) == 0.625


def test_a_constant_answer_has_a_balanced_accuracy_of_a_half() -> None:
    truth = torch.arange(600)[:, None] % 10 == 0  # more than are classified at once
    found, balanced = attribute_accuracies(nn.Identity(), -torch.ones(600, 1), truth)
    assert found.item() == pytest.approx(0.9)
    assert balanced.item() == 0.5
