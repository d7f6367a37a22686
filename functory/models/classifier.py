"""Classifiers: an MLP on modulations, and the 3D CNN on voxels that it is compared with.

Of classes, or of several attributes at once, which each are true or not.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from functory.configuration import Config
from functory.optimisation import Optimisation
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = [
    "ConvolutionalConfig",
    "ModulationClassifier",
    "PerceptronConfig",
    "VoxelClassifier",
    "accuracy",
    "attribute_accuracies",
    "train_classifier",
]

Dropout = Annotated[float, Field(ge=0, lt=1)]


class PerceptronConfig(Config):
    """Architecture of the classifier of modulations (thesis, section 5.A.7)."""

    width: PositiveInt = 128
    """Units of every hidden layer."""
    depth: PositiveInt = 4
    """Hidden layers."""
    dropout: Dropout = 0.2
    """Dropout probability after every hidden layer."""


class ConvolutionalConfig(Config):
    """Architecture of the classifier of voxels (thesis, section 5.A.7)."""

    channels: PositiveInt = 64
    """Channels of every convolution."""
    width: PositiveInt = 128
    """Units of the linear layer before the last."""
    dropout: Dropout = 0.2
    """Dropout probability after every layer but the last."""


class ModulationClassifier(nn.Sequential):
    """An MLP with SiLU on modulations, standardised by the training set's mean and deviation."""

    def __init__(
        self, mean: Tensor, deviation: Tensor, classes: int, config: PerceptronConfig
    ) -> None:
        layers: list[nn.Module] = [_Standardise(mean, deviation)]
        sizes = [len(mean)] + [config.width] * config.depth
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.SiLU(), nn.Dropout(config.dropout)]
        super().__init__(*layers, nn.Linear(config.width, classes))


class VoxelClassifier(nn.Sequential):
    """Convolutions of 3³ with stride 2 until one voxel is left, then two linear layers.

    Takes (samples, voxels) of cubes with `side` voxels each way.
    """

    def __init__(self, side: int, classes: int, config: ConvolutionalConfig) -> None:
        layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side, side))]
        channels = 1
        while side > 1:
            convolution = nn.Conv3d(channels, config.channels, 3, stride=2, padding=1)
            layers += [convolution, nn.SiLU(), nn.Dropout(config.dropout)]
            channels, side = config.channels, (side + 1) // 2
        layers += [nn.Flatten(), nn.Linear(channels, config.width), nn.SiLU()]
        super().__init__(*layers, nn.Dropout(config.dropout), nn.Linear(config.width, classes))


class _Standardise(nn.Module):
    """Subtract a mean and divide by a deviation."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.deviation


def train_classifier(
    build: Callable[[], nn.Module],
    training: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    optimisation: Optimisation,
    device: Device = "auto",
    checkpoint: Path | None = None,
    label: str = "classifier",
) -> tuple[nn.Module, History]:
    """Train a classifier by cross-entropy, and keep what is best on held-out samples.

    Attributes are learned by the mean of their binary cross-entropies.

    Parameters
    ----------
    build
        Makes the untrained model; called with the optimisation's seed.
    training, held_out
        Inputs, (samples, values), of any type, and labels: classes, (samples,), integers from 0,
        or attributes, (samples, attributes), booleans.
    """
    on = resolve_device(device)
    inputs, labels = (part.to(on) for part in training)
    with torch.random.fork_rng([]):
        torch.manual_seed(optimisation.seed)
        model = build().to(on)

    def loss(step: Step) -> Tensor:
        chosen = batch(len(inputs), optimisation.batch, optimisation.seed, step.number)
        return _cross_entropy(model(inputs[chosen].float()), labels[chosen])

    def evaluate() -> dict[str, float]:
        logits = _logits(model, held_out[0].to(on))
        asked = held_out[1].to(on)
        loss = float(_cross_entropy(logits, asked))
        found = float(_is_right(logits, asked).float().mean())
        return {"accuracy": found, "log_likelihood": -loss}

    history = train(
        model,
        loss,
        optimisation,
        label=label,
        evaluate=evaluate,
        select="log_likelihood",
        checkpoint=checkpoint,
    )
    return model, history


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return the share of samples whose most probable class is theirs, or of right attributes."""
    return float(_is_right(_logits(model, inputs), labels).float().mean())


def attribute_accuracies(model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the accuracy and the balanced accuracy of every attribute, (attributes,) each.

    Balanced is the mean of the shares found of the samples that have the attribute and of those
    that do not: 0.5 for a constant answer, however rare the attribute. Where all samples have the
    same value it is the accuracy.
    """
    right = _is_right(_logits(model, inputs), labels).double()
    of_each = torch.stack([(right * kind).sum(0) / kind.sum(0) for kind in (labels, ~labels)])
    return right.mean(0), of_each.nanmean(0)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        return nn.functional.cross_entropy(logits, labels)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.float())


def _is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which classes, (samples,), or attributes, (samples, attributes), are found."""
    return logits.argmax(1) == labels if labels.ndim == 1 else (logits > 0) == labels


@torch.no_grad()
def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([model(part.float()) for part in inputs.split(256)])
