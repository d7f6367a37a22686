"""Networks that predict the noise in noisy modulations: a residual MLP, and a U-Net for grids."""

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from functory.configuration import Config
from functory.errors import InputError

__all__ = [
    "Denoiser",
    "ResidualPerceptron",
    "ResidualPerceptronConfig",
    "UNet",
    "UNetConfig",
    "build_denoiser",
]

GROUPS = 8  # of the normalisation: what channels must be divisible by
TIMES = 128  # values that stand for a timestep; one number needs no wide layer
SMALLEST = 4  # cells on a side: a coarser grid would be all border
Dropout = Annotated[float, Field(ge=0, lt=1)]


class ResidualPerceptronConfig(Config):
    """Architecture of the residual MLP (thesis, section 5.A.5)."""

    kind: Literal["mlp"] = "mlp"
    """Takes a modulation vector; a grid of them is flattened."""
    width: PositiveInt = 512
    """Units of every layer: what sample quality depends on most."""
    blocks: PositiveInt = 4
    """Residual blocks, of two layers each."""
    dropout: Dropout = 0.0
    """Dropout probability in every block: keeps a wide network from memorising."""


class UNetConfig(Config):
    """Architecture of the U-Net for spatial functasets (Ho et al. 2020, for small grids)."""

    kind: Literal["unet"] = "unet"
    """Takes a grid of modulation vectors."""
    channels: Annotated[PositiveInt, Field(multiple_of=GROUPS)] = 64
    """Channels on the finest grid; each coarser one has twice as many."""
    levels: PositiveInt = 3
    """Grids at most: a grid is halved only while its sides are even and more than four cells."""
    dropout: Dropout = 0.0
    """Dropout probability in every block."""


class Embedding(nn.Module):
    """Sines and cosines of a timestep, and a class; ends in SiLU, ready for blocks.

    The number after the last class stands for none.
    """

    frequencies: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.none = classes
        waves = TIMES // 2
        # not stored: always the same; periods from 2π to 10,000 times that
        frequencies = torch.exp(-math.log(10_000) * torch.arange(waves) / waves)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(nn.Linear(TIMES, TIMES), nn.SiLU(), nn.Linear(TIMES, TIMES))
        self.classes = nn.Embedding(classes + 1, TIMES)

    def forward(self, timesteps: Tensor, labels: Tensor | None) -> Tensor:
        angles = timesteps[:, None] * self.frequencies
        time = self.layers(torch.cat([angles.sin(), angles.cos()], 1))
        if labels is None:
            labels = torch.full_like(timesteps, self.none, dtype=torch.long)
        return nn.functional.silu(time + self.classes(labels))


class LinearBlock(nn.Module):
    """A residual block on vectors: the time enters between its two linear layers."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Linear(TIMES, width)
        self.second = nn.Sequential(
            nn.LayerNorm(width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        return hidden + self.second(self.first(hidden) + self.time(time))


class ResidualPerceptron(nn.Module):
    """A residual MLP; at first it predicts zero, the mean of all noise.

    Takes (samples, latents), or more dimensions, which are flattened, (samples,) timesteps and
    classes, or None for none.
    """

    def __init__(self, values: int, config: ResidualPerceptronConfig, classes: int = 0) -> None:
        super().__init__()
        width = config.width
        self.time = Embedding(classes)
        self.enter = nn.Linear(values, width)
        self.blocks = nn.ModuleList(
            LinearBlock(width, config.dropout) for _ in range(config.blocks)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), _zero(nn.Linear(width, values)))

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the noise in noisy samples, of their shape."""
        time = self.time(timesteps, labels)
        hidden = self.enter(noisy.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.leave(hidden).view(noisy.shape)


class ConvolutionalBlock(nn.Module):
    """A residual block on grids: the time enters between its two convolutions."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, 1, 1))
        self.time = nn.Linear(TIMES, outputs)
        self.second = nn.Sequential(
            _norm(outputs), nn.SiLU(), nn.Dropout(dropout), nn.Conv2d(outputs, outputs, 3, 1, 1)
        )
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        shifted = self.first(hidden) + self.time(time)[:, :, None, None]
        return self.skip(hidden) + self.second(shifted)


class Attention(nn.Module):
    """Every cell of a grid looks at all others, added to what is there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.ask = nn.Conv2d(channels, 3 * channels, 1)
        self.answer = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        cells = self.ask(self.norm(hidden)).flatten(2).mT
        found = scaled_dot_product_attention(*cells.chunk(3, -1))
        return hidden + self.answer(found.mT.reshape(hidden.shape))


class UNet(nn.Module):
    """A U-Net with attention on its coarsest grid; at first it predicts zero.

    Takes (samples, rows, columns, latents), (samples,) timesteps and classes, or None for none.
    Grids of any size will do: one with an odd side, or of four cells or fewer, is not halved.
    """

    def __init__(
        self, rows: int, columns: int, latents: int, config: UNetConfig, classes: int = 0
    ) -> None:
        super().__init__()
        grids, side = 1, (rows, columns)
        while grids < config.levels and all(n % 2 == 0 and n > SMALLEST for n in side):
            grids, side = grids + 1, (side[0] // 2, side[1] // 2)
        sizes = [config.channels * 2**level for level in range(grids)]

        def block(inputs: int, outputs: int) -> nn.Module:
            return ConvolutionalBlock(inputs, outputs, config.dropout)

        self.time = Embedding(classes)
        self.enter = nn.Conv2d(latents, sizes[0], 3, 1, 1)
        self.down = nn.ModuleList(block(size, size) for size in sizes)
        self.halved = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(sizes))
        self.middle = nn.ModuleList(block(sizes[-1], sizes[-1]) for _ in range(2))
        self.attention = Attention(sizes[-1])
        self.up = nn.ModuleList(block(2 * size, size) for size in sizes)
        self.doubled = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in pairwise(sizes))
        self.leave = nn.Sequential(
            _norm(sizes[0]), nn.SiLU(), _zero(nn.Conv2d(sizes[0], latents, 3, 1, 1))
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the noise in noisy samples, of their shape."""
        time = self.time(timesteps, labels)
        hidden = self.enter(noisy.movedim(-1, 1))
        seen: list[Tensor] = []
        for level, block in enumerate(self.down):
            hidden = block(self.halved[level - 1](hidden) if level else hidden, time)
            seen.append(hidden)
        hidden = self.attention(self.middle[0](hidden, time))
        hidden = self.middle[1](hidden, time)
        for level in reversed(range(len(seen))):
            hidden = self.up[level](torch.cat([hidden, seen[level]], 1), time)
            if level:
                hidden = self.doubled[level - 1](interpolate(hidden, scale_factor=2.0))
        return self.leave(hidden).movedim(1, -1)


Denoiser = ResidualPerceptron | UNet


def build_denoiser(
    shape: tuple[int, ...], config: ResidualPerceptronConfig | UNetConfig, classes: int = 0
) -> Denoiser:
    """Build the network that a configuration names, for samples of a shape.

    Raises
    ------
    InputError
        If a U-Net is asked for where samples are no grid (rows, columns, latents).
    """
    if isinstance(config, ResidualPerceptronConfig):
        return ResidualPerceptron(math.prod(shape), config, classes)
    if len(shape) != 3:
        raise InputError(
            f"A U-Net needs a spatial functaset, of (sample, row, column, latent); the samples of "
            f"this one have the shape {shape}: take the network 'mlp'."
        )
    return UNet(*shape, config, classes)


def _norm(channels: int) -> nn.Module:
    return nn.GroupNorm(GROUPS, channels)


def _zero(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """Set a layer's weights to zero, so that its output is zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
