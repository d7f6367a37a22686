"""Features of images: a small network trained on the training split, to compare images with."""

from pathlib import Path

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from functory.configuration import Config
from functory.optimisation import Optimisation
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = ["FeatureNetwork", "FeatureTraining", "train_features"]

SMALLEST = 4  # pixels a side, from which on convolutions do not halve an image any more
PART = 0.7  # of an image's side, at least, is in a view of it
SHADE = 0.2  # by which views are brighter or darker, and of more or less contrast
TEMPERATURE = 0.2  # of the similarities of views, where there are no labels


class FeatureTraining(Config):
    """The network whose features images are compared by, and its training."""

    channels: PositiveInt = 32
    """Channels of every convolution."""
    features: PositiveInt = 64
    """Features of an image. A Fréchet distance needs several times as many images."""
    optimisation: Optimisation = Optimisation(
        steps=600, batch=128, rate=1e-3, schedule="cosine", evaluate_every=100
    )
    """Adam; the last parameters are kept, as no held-out image may have a say."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class FeatureNetwork(nn.Module):
    """Strided convolutions, a linear layer to the features, and a head that learns from them.

    Takes images as (images, points, channels), of height times width points in raster order.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        mean: Tensor,
        deviation: Tensor,
        height: int,
        width: int,
        outputs: int,
        config: FeatureTraining,
    ) -> None:
        super().__init__()
        self.height, self.width, self.config = height, width, config
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.where(deviation > 0, deviation, 1.0))
        layers: list[nn.Module] = []
        channels = len(mean)
        while max(height, width) > SMALLEST:
            convolution = nn.Conv2d(channels, config.channels, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(config.channels), nn.SiLU()]
            channels, height, width = config.channels, (height + 1) // 2, (width + 1) // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.last = nn.Linear(channels * height * width, config.features)
        self.head = nn.Sequential(nn.SiLU(), nn.Linear(config.features, outputs))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features of (images, channels, height, width)."""
        standardised = (pictures - self.mean[:, None, None]) / self.deviation[:, None, None]
        features: Tensor = self.last(self.convolutions(standardised))
        return features

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Return the features, (images, features), of (images, points, channels) in [0, 1].

        Batches are taken to the network's device one by one; the features are on the images' own.
        """
        parts = [self(self.pictures(part.to(self.mean.device))) for part in images.split(256)]
        return torch.cat(parts).to(images.device)

    def pictures(self, images: Tensor) -> Tensor:
        """Return (images, points, channels) as (images, channels, height, width)."""
        return images.float().mT.unflatten(-1, (self.height, self.width))


def train_features(
    images: Tensor,
    height: int,
    width: int,
    config: FeatureTraining,
    labels: Tensor | None = None,
    checkpoint: Path | None = None,
    label: str = "features",
) -> tuple[FeatureNetwork, History]:
    """Train a network on images, to compare other images by its features.

    It learns classes or attributes from views of the images, which are parts of them in another
    brightness and contrast. Without labels, it learns to tell which two views are of one image
    (SimCLR, Chen et al. 2020).

    Parameters
    ----------
    images
        The training split, (images, height * width, channels) in [0, 1].
    labels
        Classes, (images,), integers from 0, or attributes, (images, attributes), booleans.
    """
    optimisation, on = config.optimisation, resolve_device(config.device)
    images, labels = images.to(on), None if labels is None else labels.to(on)
    with torch.random.fork_rng([]):
        torch.manual_seed(optimisation.seed)
        network = _build(images, height, width, config, labels).to(on)

    def loss(step: Step) -> Tensor:
        chosen = batch(len(images), optimisation.batch, optimisation.seed, step.number)
        pictures = network.pictures(images[chosen])
        if labels is None:
            seen = torch.cat([_view(pictures), _view(pictures)])
            return _told_apart(network.head(network(seen)))
        logits = network.head(network(_view(pictures)))
        if labels.ndim == 1:
            return nn.functional.cross_entropy(logits, labels[chosen])
        wanted = labels[chosen].float()
        return nn.functional.binary_cross_entropy_with_logits(logits, wanted)

    history = train(
        network,
        loss,
        optimisation,
        label=label,
        evaluate=lambda: {},  # rows of the loss alone
        checkpoint=checkpoint,
    )
    return network, history


def _build(
    images: Tensor, height: int, width: int, config: FeatureTraining, labels: Tensor | None
) -> FeatureNetwork:
    if labels is None:
        outputs = config.features
    else:
        outputs = int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]
    mean, deviation = images.float().mean((0, 1)), images.float().std((0, 1), correction=0)
    return FeatureNetwork(mean, deviation, height, width, outputs, config)


def _view(pictures: Tensor) -> Tensor:
    """Return random parts of (images, channels, y, x), at their size, in another shade."""

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(len(pictures), *shape, device=pictures.device) - 1

    side = 1 - (1 - PART) * uniform(1).abs()
    scales = torch.diag_embed(side.expand(-1, 2))
    placement = torch.cat([scales, ((1 - side) * uniform(2))[:, :, None]], dim=2)
    grid = nn.functional.affine_grid(placement, list(pictures.shape), align_corners=False)
    parts = nn.functional.grid_sample(
        pictures, grid, padding_mode="reflection", align_corners=False
    )
    channels = pictures.shape[1]
    return parts * (1 + SHADE * uniform(1, 1, 1)) + SHADE / 2 * uniform(channels, 1, 1)


def _told_apart(projected: Tensor) -> Tensor:
    """Return the cross-entropy of finding, for every view, the other one of the same image."""
    count = len(projected) // 2
    directions = nn.functional.normalize(projected, dim=1)
    similarity = directions @ directions.T / TEMPERATURE
    itself = torch.eye(2 * count, dtype=torch.bool, device=projected.device)
    other = torch.arange(2 * count, device=projected.device).roll(count)
    return nn.functional.cross_entropy(similarity.masked_fill(itself, -torch.inf), other)
