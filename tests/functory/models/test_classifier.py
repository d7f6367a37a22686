"""Classifiers: the papers' sizes, what they can learn, and that a seed says all."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from functory.models import classifier
from functory.models.classifier import (
    ConvolutionalConfig,
    ModulationClassifier,
    PerceptronConfig,
    VoxelClassifier,
    accuracy,
    train_classifier,
)
from functory.optimisation import Optimisation

CLASSES, LATENTS, SIDE = 3, 4, 8
SMALL = PerceptronConfig(width=16, depth=2)
TRAINING = Optimisation(steps=100, batch=64, rate=5e-3, evaluate_every=25)


def latents(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return modulations of three classes, apart in one latent of a tiny scale."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    values = torch.randn(count, LATENTS, generator=generator) * torch.tensor([1, 100, 1, 1e-3])
    values[:, 3] += 6e-3 * labels
    values[:, 2] = 5  # a latent that carries nothing
    return values, labels


def solids(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return rods along one axis or another, anywhere in the grid."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    voxels = torch.zeros(count, SIDE, SIDE, SIDE, dtype=torch.bool)
    for shape, label in zip(voxels, labels.tolist(), strict=True):
        a, b = torch.randint(SIDE - 2, (2,), generator=generator).tolist()
        shape.movedim(label, 0)[:, a : a + 3, b : b + 3] = True
    return voxels.flatten(1), labels


def perceptron(training: Tensor) -> partial[nn.Module]:
    mean, deviation = training.mean(0), training.std(0, correction=0)
    return partial(ModulationClassifier, mean, deviation, CLASSES, SMALL)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("side", "convolutions"), [(64, 6), (32, 5), (8, 3), (5, 3)])
def test_convolutions_halve_the_cube_until_one_voxel_is_left(side: int, convolutions: int) -> None:
    model = VoxelClassifier(side, 10, ConvolutionalConfig(channels=4, width=8)).eval()
    layers = [layer for layer in model if isinstance(layer, nn.Conv3d)]
    assert len(layers) == convolutions
    assert model(torch.zeros(2, side**3)).shape == (2, 10)
    before = [type(layer) for layer in model].index(nn.Flatten)
    assert nn.Sequential(*list(model)[:before])(torch.zeros(1, side**3)).shape == (1, 4, 1, 1, 1)


def test_sizes_are_those_of_the_thesis() -> None:
    assert parameters(VoxelClassifier(64, 10, ConvolutionalConfig())) == 564_682
    model = ModulationClassifier(torch.zeros(256), torch.ones(256), 10, PerceptronConfig())
    assert parameters(model) == 83_722
    assert len([layer for layer in model if isinstance(layer, nn.Linear)]) == 5


def test_every_voxel_matters() -> None:
    torch.manual_seed(0)
    model = VoxelClassifier(SIDE, CLASSES, ConvolutionalConfig(channels=8, width=8)).eval()
    voxels = torch.rand(1, SIDE**3, requires_grad=True)
    model(voxels).square().sum().backward()
    assert voxels.grad is not None
    assert (voxels.grad != 0).all()


def test_modulations_are_told_apart_whatever_their_scales() -> None:
    training, held_out, test = (latents(300, seed) for seed in range(3))
    model, history = train_classifier(perceptron(training[0]), training, held_out, TRAINING)
    assert accuracy(model, *test) > 0.97
    assert not model.training
    best = max(history.rows, key=lambda row: row["log_likelihood"])
    assert history.best_step == best["step"]


def test_voxels_are_told_apart() -> None:
    training, held_out, test = (solids(240, seed) for seed in range(3))
    config = ConvolutionalConfig(channels=8, width=16, dropout=0.0)
    build = partial(VoxelClassifier, SIDE, CLASSES, config)
    model, _ = train_classifier(build, training, held_out, TRAINING)
    assert accuracy(model, *test) > 0.95


def test_labels_by_chance_are_not_told_apart() -> None:
    training, held_out, (values, labels) = (latents(300, seed) for seed in range(3))
    shuffled = training[1][torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    model, _ = train_classifier(
        perceptron(training[0]), (training[0], shuffled), held_out, TRAINING
    )
    assert accuracy(model, values, labels) < 0.6


def test_a_seed_says_all() -> None:
    training, held_out = latents(90, 0), latents(30, 1)
    short = TRAINING.model_copy(update={"steps": 12, "evaluate_every": 6})

    def trained(optimisation: Optimisation) -> nn.Module:
        return train_classifier(perceptron(training[0]), training, held_out, optimisation)[0]

    before = torch.random.get_rng_state()
    one = trained(short)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    assert same(one, trained(short))
    assert not same(one, trained(short.model_copy(update={"seed": 1})))


def test_a_killed_run_resumes_to_the_same_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, held_out = latents(90, 0), latents(30, 1)
    short = TRAINING.model_copy(update={"steps": 12, "evaluate_every": 3, "checkpoint_every": 4})
    arguments = (perceptron(training[0]), training, held_out, short, "cpu")
    whole, _ = train_classifier(*arguments)
    calls = 0

    def deadly(*numbers: int) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return drawn(*numbers)

    drawn = classifier.batch
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "batch", deadly)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(*arguments, tmp_path / "checkpoint")
    resumed, _ = train_classifier(*arguments, tmp_path / "checkpoint")
    assert same(resumed, whole)


def test_a_batch_larger_than_the_data_takes_them_all() -> None:
    training, held_out = latents(30, 0), latents(30, 1)
    large = TRAINING.model_copy(update={"batch": 1024, "steps": 3, "evaluate_every": 3})
    _, history = train_classifier(perceptron(training[0]), training, held_out, large)
    assert set(history.rows[0]) >= {"accuracy", "log_likelihood"}


def test_a_constant_latent_is_only_shifted() -> None:
    training = latents(300, 0)[0]
    standardised = perceptron(training)()[0](training)
    assert (standardised[:, 2] == 0).all()
    torch.testing.assert_close(standardised.mean(0), torch.zeros(LATENTS), atol=1e-4, rtol=0)
    deviation = standardised.std(0, correction=0)
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1, 0, 1]), atol=1e-4, rtol=0)


def test_accuracy_counts_what_is_right() -> None:
    logits = torch.eye(3).repeat(200, 1)  # more than are classified at once
    assert accuracy(nn.Identity(), logits, torch.arange(600) % 3) == 1
    assert accuracy(nn.Identity(), logits, (torch.arange(600) + 1) % 3) == 0
    assert accuracy(nn.Identity(), logits, torch.zeros(600)) == pytest.approx(1 / 3)
