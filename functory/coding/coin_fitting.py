"""Fitting COIN's network to one image, in a minute where the paper's way takes hours."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from functory.coding.coin import (
    VALUES,
    Architecture,
    Coin,
    Layers,
    Width,
    decode,
    decode_weights,
    encode_weights,
)
from functory.configuration import Config
from functory.errors import InputError
from functory.fields.coordinates import Box, coordinates_for
from functory.optimisation import Optimisation
from functory.quality import psnr
from functory.training import Device, Step, batch, resolve_device, train

__all__ = ["CoinConfig", "CoinResult", "fewest_bits", "fit_coin", "image_coordinates"]

POINTS = 16_384  # on which a network is measured while it trains
SENSED = 512  # points that tell how much a weight matters
TOGETHER = 32  # of these at once: a derivative for every weight, feature and point
LADDER = 128  # eighths of an octave in which all steps together are chosen
FINEST = 2.0**-16  # change of a feature that the finest steps make

Report = Callable[[Mapping[str, float]], None]


class CoinConfig(Config):
    """How an image is fitted."""

    layers: Layers = 5
    """Sine layers."""
    width: Width = 30
    """Units of every sine layer."""
    bits: Literal[16, "fewest"] = 16
    """Bits of a weight: 16 as in the paper, or as few as cost no more than `tolerance`, coded."""
    tolerance: PositiveFloat = 0.1
    """PSNR in dB that fewer bits may cost."""
    method: Literal["fast", "adam"] = "fast"
    """SOAP (Vyas et al. 2024) on 4,096 random pixels a step with a cosine to zero, or as in the
    paper: Adam at 2e-4 on all pixels."""
    steps: PositiveInt = 5000
    """Optimiser steps: the default reaches what the paper reaches in its 50,000."""
    seed: int = 0
    """Seed of the first weights, and of which pixels are drawn."""
    device: Device = "auto"
    """Where the network is trained."""

    def optimisation(self, pixels: int) -> Optimisation:
        """Return how an image of so many pixels is trained on."""
        paper = Optimisation(
            steps=self.steps,
            batch=pixels,
            rate=2e-4,
            clip=None,
            evaluate_every=max(1, self.steps // 40),
            checkpoint_every=200,
            seed=self.seed,
        )
        if self.method == "adam":
            return paper
        return paper.model_copy(
            update={
                "batch": 4096,
                # at 3e-3 five layers forget in long runs, and ten do better at half of it
                "rate": min(3e-3, 0.01 / self.layers),
                "optimiser": "soap",
                "schedule": "cosine",
                "warmup": min(100, self.steps // 10),
            }
        )


@dataclass(frozen=True, eq=False)
class CoinResult:
    """An image as a network.

    Parameters
    ----------
    network
        With the weights that `coded` holds.
    coordinates
        The axes `y` and `x`, in pixels, that the network is a function of.
    coded
        What `decode_weights` reads.
    psnr
        Of the image decoded from `coded`, values cut to [0, 1], in dB.
    fitted_psnr
        The same, before the weights were quantised.
    history
        CPU seconds of training, and the PSNR (of 16,384 of the pixels) that was reached in them.
    """

    network: Coin
    coordinates: Box
    coded: bytes
    psnr: float
    fitted_psnr: float
    history: list[tuple[float, float]]


def image_coordinates(height: int, width: int) -> Box:
    """Return the axes of an image: its outermost pixels are at -1 and 1, as in the paper."""
    return coordinates_for("box", ("y", "x"), _pixels(height, width))  # type: ignore[return-value]


def fit_coin(image: Tensor, config: CoinConfig, report: Report | None = None) -> CoinResult:
    """Overfit a network to one image, keep its best state, and quantise it.

    Parameters
    ----------
    image
        (y, x, channels), with values in [0, 1].
    report
        Told `psnr` and `seconds` (of CPU) forty times along the way.
    """
    _require_image(image)
    device = resolve_device(config.device)
    image = image.to(device, torch.float32)
    coordinates = image_coordinates(*image.shape[:2])
    architecture = Architecture(layers=config.layers, width=config.width, outputs=image.shape[2])
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        network = Coin(architecture).to(device)
    history = _train(network, image, coordinates, config, report)

    def measure(candidate: Coin) -> float:
        decoded = decode(candidate.to(device), coordinates, _pixels(*image.shape[:2]))
        return psnr((decoded.clamp(0, 1) - image).square())

    if config.bits == 16:
        coded = encode_weights(network)
    else:
        coded = fewest_bits(network, measure, config.tolerance)
    decoded = decode_weights(coded, architecture).to(device)
    return CoinResult(decoded, coordinates, coded, measure(decoded), measure(network), history)


def fewest_bits(network: Coin, measure: Callable[[Coin], float], tolerance: float) -> bytes:
    """Encode weights with the longest steps that lose at most `tolerance` dB.

    All steps change the features alike: one is in inverse proportion to the root mean square of
    the features' derivatives in its tensor's weights, which takes some three bits a weight fewer
    than as many steps in every tensor. How long they are together is found by bisection of eighths
    of an octave; where not even the finest will do, the weights stay at 16 bits.

    Parameters
    ----------
    measure
        The PSNR of a network, in dB.
    """
    target = measure(network) - tolerance
    effects = _sensitivities(network)
    found, low, high = encode_weights(network), -1, LADDER
    while high - low > 1:
        middle = (low + high) // 2
        change = FINEST * 2 ** (middle / 8)
        tried = encode_weights(network, [change / max(effect, 1e-12) for effect in effects])
        if measure(decode_weights(tried, network.architecture)) >= target:
            found, low = tried, middle
        else:
            high = middle
    return found


def _train(
    network: Coin, image: Tensor, coordinates: Box, config: CoinConfig, report: Report | None
) -> list[tuple[float, float]]:
    """Train a network in place; return CPU seconds and the PSNR that was reached in them."""
    colours = image.flatten(0, 1)
    points = torch.from_numpy(coordinates.points(_pixels(*image.shape[:2]))).to(image.device)
    optimisation = config.optimisation(len(colours))
    few = batch(len(colours), POINTS, config.seed, 0).to(image.device)
    start = time.process_time()

    def loss(step: Step) -> Tensor:
        if optimisation.batch >= len(colours):
            return _blockwise_error(network, points, colours)
        drawn = batch(len(colours), optimisation.batch, config.seed, step.number)
        drawn = drawn.to(image.device)
        return (network(points[drawn]) - colours[drawn]).square().mean()

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        seconds = time.process_time() - start
        error = (network(points[few]).clamp(0, 1) - colours[few]).square()
        row = {"psnr": psnr(error), "seconds": seconds}
        if report is not None:
            report(row)
        return row

    # sines can lose in one step what they have learned in many, at values that are all finite
    history = train(
        network,
        loss,
        optimisation,
        label="fitting",
        evaluate=evaluate,
        select="psnr",
        relapse=2.0,
    )
    return [(row["seconds"], row["psnr"]) for row in history.rows]


def _blockwise_error(network: Coin, points: Tensor, colours: Tensor) -> Tensor:
    """Return the mean squared error at all points, differentiated block by block.

    The activations of all points would not fit into a cache, nor those of a large image into
    memory.
    """
    parameters = list(network.parameters())
    block = max(1, VALUES // network.architecture.width)
    total, gradients = colours.new_zeros(()), [torch.zeros_like(p) for p in parameters]
    for part, target in zip(points.split(block), colours.split(block), strict=True):
        error = (network(part) - target).square().sum() / colours.numel()
        for sum_, term in zip(gradients, torch.autograd.grad(error, parameters), strict=True):
            sum_ += term
        total += error.detach()
    # linear in the parameters, with the value and the gradient that were found
    pairs = zip(parameters, gradients, strict=True)
    linear = torch.stack([(p * g).sum() for p, g in pairs]).sum()
    return total + linear - linear.detach()


def _sensitivities(network: Coin) -> list[float]:
    """Return the root mean square of the derivatives of all features in each tensor's weights."""
    weights = {name: p.detach() for name, p in network.named_parameters()}
    device = network.last.weight.device
    inputs = network.architecture.inputs
    # the same points always, spread evenly (Sobol 1967)
    points = 2 * torch.quasirandom.SobolEngine(inputs).draw(SENSED).to(device) - 1

    def features(given: Mapping[str, Tensor], point: Tensor) -> Tensor:
        return functional_call(network, dict(given), (point,))

    derivatives = vmap(jacrev(features), (None, 0))
    squares = dict.fromkeys(weights, 0.0)
    for part in points.split(TOGETHER):
        for name, jacobian in derivatives(weights, part).items():
            squares[name] += float(jacobian.square().flatten(2).mean(2).sum())
    return [math.sqrt(square / SENSED) for square in squares.values()]


def _pixels(height: int, width: int) -> dict[str, np.ndarray]:
    return {"y": np.arange(height, dtype=np.float64), "x": np.arange(width, dtype=np.float64)}


def _require_image(image: Tensor) -> None:
    if image.ndim != 3 or min(image.shape) < 1:
        raise InputError(
            f"an image has the axes y, x and channel, but this array has shape "
            f"{tuple(image.shape)}: add or choose an axis."
        )
    low, high = (float(value) for value in image.aminmax())
    if not (low >= 0 and high <= 1):  # which values that are not numbers are not, either
        raise InputError(
            f"the values of an image are from 0 to 1, but these are from {low:g} to {high:g}: "
            f"scale the image first."
        )
