"""An autoregressive spline flow over symbols: the exact probability of each, given those before."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol, cast

import numpy as np
import torch
from nflows.transforms.made import MADE
from nflows.transforms.splines.rational_quadratic import (
    DEFAULT_MIN_DERIVATIVE,
    rational_quadratic_spline,
)
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from functory.coding.examples import Examples, LinearPrediction, Statistics
from functory.configuration import Config
from functory.optimisation import Optimisation
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = [
    "FLOOR",
    "AutoregressiveFlow",
    "AutoregressiveFlowConfig",
    "AutoregressiveTraining",
    "code_lengths",
    "kept_possible",
    "mass_between",
    "train_autoregressive_flow",
]

FLOOR = 2.0**-23  # of every probability, as in the integer tables that code
REACH = 6.0  # residual deviations either way that the spline bends; linear beyond
CERTAIN = 12.0  # deviations where the base's distribution function is 0 or 1 in single precision
ROWS = 1024  # vectors evaluated at once


class AutoregressiveFlowConfig(Config):
    """Architecture of the flow."""

    width: PositiveInt = 256
    """Units of the conditioner's hidden layers; at least two for each latent are taken."""
    blocks: PositiveInt = 1
    """Residual blocks of the conditioner."""
    bins: PositiveInt = 5
    """Bins of each rational-quadratic spline."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability in the conditioner."""


class AutoregressiveTraining(Config):
    """How an autoregressive flow is trained."""

    flow: AutoregressiveFlowConfig = AutoregressiveFlowConfig()
    """Architecture of the flow."""
    penalty: Annotated[float, Field(ge=0)] = 10.0
    """L2 penalty on the weights times the number of training vectors: fewer vectors, tighter."""
    optimisation: Optimisation = Optimisation(
        steps=800,
        batch=256,
        rate=3e-3,
        schedule="cosine",
        warmup=50,
        evaluate_every=25,
        checkpoint_every=100,
    )
    """Adam; the parameters with the best held-out likelihood are kept."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class AutoregressiveFlow(nn.Module):
    """The distribution of symbols given a cell's earlier latents and its neighbours.

    A latent is standardised, shifted by a linear function of what is known, scaled and bent by a
    monotone spline; the logistic distribution function of the result is the conditional one, so
    that the probability of a bin is exact. (A logistic base has the heavier tails that modulations
    have.) There is one such layer, and its latents keep their order: a permutation between layers
    would destroy the conditional.

    Parameters
    ----------
    levels
        Number of symbols of each latent, (latents,).
    statistics
        What standardised the examples.
    prediction
        The linear prediction of each latent from its context and the latents before it.
    """

    levels: Tensor
    mean: Tensor
    deviation: Tensor
    linear: Tensor
    residual: Tensor

    def __init__(
        self,
        levels: NDArray[np.int64],
        statistics: Statistics,
        prediction: LinearPrediction,
        config: AutoregressiveFlowConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("levels", torch.as_tensor(levels))
        self.register_buffer("mean", torch.from_numpy(statistics.mean).float())
        self.register_buffer("deviation", torch.from_numpy(statistics.deviation).float())
        self.register_buffer("linear", prediction.coefficients)
        self.register_buffer("residual", prediction.residual)
        latents = len(levels)
        # MADE's first feature sees no hidden unit, hence no context: a constant takes its place,
        # and latent d is feature d + 1
        self.conditioner = MADE(
            latents + 1,
            max(config.width, 2 * latents),
            context_features=prediction.coefficients.shape[1] - latents or None,
            num_blocks=config.blocks,
            output_multiplier=3 * config.bins + 1,
            dropout_probability=config.dropout,
        )
        nn.init.normal_(self.conditioner.final_layer.weight, std=1e-3)
        nn.init.zeros_(self.conditioner.final_layer.bias)

    def forward(self, examples: Examples, edges: Tensor) -> Tensor:
        """Return the base's values at `edges`, (vectors, latents, edges) in symbols."""
        values, context = examples.values, examples.context
        constant = F.pad(values, (1, 0))
        raw = self.conditioner(constant, context if context.shape[1] else None)
        parameters = raw.view(len(values), self.levels.numel() + 1, -1)[:, 1:]
        shift, scale = parameters[..., 0:1], parameters[..., 1:2]
        known = torch.cat([context, values], dim=1) @ self.linear.T
        standardised = (edges - self.mean[:, None]) / self.deviation[:, None]
        left = (standardised - known[..., None]) / self.residual[:, None]
        return _spline(left * scale.exp() - shift, parameters[..., 2:], self.config.bins)

    def log2_probabilities(self, examples: Examples) -> Tensor:
        """Return log2 of the probability of each symbol, (vectors, latents)."""
        symbols = examples.symbols
        edges = symbols[..., None] + torch.tensor([-0.5, 0.5], device=symbols.device)
        noise = self(examples, edges)
        low = torch.where(symbols == 0, -CERTAIN, noise[..., 0])
        high = torch.where(symbols == self.levels - 1, CERTAIN, noise[..., 1])
        mass = mass_between(_base, low, high)
        return kept_possible(mass, self.levels).log2()

    def tables(self, examples: Examples) -> Tensor:
        """Return the probability of every symbol, (vectors, latents, most levels)."""
        most = int(self.levels.max())
        edges = torch.arange(1, most, device=self.levels.device) - 0.5
        noise = self(examples, edges.expand(*examples.symbols.shape, most - 1))
        beyond = edges > self.levels[:, None] - 1
        below = _base(torch.where(beyond, CERTAIN, noise))
        mass = F.pad(F.pad(below, (1, 0), value=0.0), (0, 1), value=1.0).diff(dim=-1)
        possible = torch.arange(most, device=self.levels.device) < self.levels[:, None]
        return kept_possible(mass, self.levels[:, None]) * possible

    def bits(self, symbols: ArrayLike) -> NDArray[np.float64]:
        """Return the code length of each vector of symbols (chunks, signals, *cells, latents)."""
        statistics = Statistics(
            self.mean.double().cpu().numpy(), self.deviation.double().cpu().numpy()
        )
        examples = Examples.of(symbols, statistics).to(self.mean.device)
        return code_lengths(self.eval(), examples).reshape(np.shape(symbols)[:-1])


def _spline(inputs: Tensor, parameters: Tensor, bins: int) -> Tensor:
    """Bend inputs (…, edges) by splines with parameters (…, 3 · bins - 1), linear beyond REACH."""
    widths, heights, slopes = parameters.split([bins, bins, bins - 1], dim=-1)
    # a slope of one at both ends joins the linear tails, and one everywhere is where training
    # starts; nflows makes the identity of zero widths and heights
    one = math.log(math.exp(1 - DEFAULT_MIN_DERIVATIVE) - 1)
    slopes = F.pad(slopes, (1, 1)) + one
    inside = inputs.clamp(-REACH, REACH)
    bent, _ = rational_quadratic_spline(
        inside,
        *(p[..., None, :].expand(*inputs.shape, -1) for p in (widths, heights, slopes)),
        left=-REACH,
        right=REACH,
        bottom=-REACH,
        top=REACH,
    )
    return cast(Tensor, bent + inputs - inside)


def _base(values: Tensor) -> Tensor:
    """Return the distribution function of the logistic distribution of unit variance."""
    return torch.sigmoid(values * (math.pi / math.sqrt(3)))


def mass_between(distribution: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Return the probability between two values of a symmetric distribution function."""
    # where both are in the upper tail, single precision only resolves the mirror image
    sign = torch.where(low + high > 0, -1.0, 1.0)
    return (distribution(sign * high) - distribution(sign * low)).abs()


def kept_possible(mass: Tensor, levels: Tensor) -> Tensor:
    """Return probabilities that keep a share `FLOOR` for each of `levels` symbols."""
    return mass * (1 - FLOOR * levels) + FLOOR


class _Conditional(Protocol):
    def log2_probabilities(self, examples: Examples) -> Tensor: ...


@torch.no_grad()
def code_lengths(model: _Conditional, examples: Examples) -> NDArray[np.float64]:
    """Return the bits that a model needs for each vector, (vectors,)."""
    parts = [model.log2_probabilities(b).double().sum(1) for b in examples.split(ROWS)]
    return -torch.cat(parts).cpu().numpy()


def train_autoregressive_flow(
    training: Examples,
    held_out: Examples,
    levels: NDArray[np.int64],
    statistics: Statistics,
    prediction: LinearPrediction,
    config: AutoregressiveTraining,
    checkpoint: Path | None = None,
) -> tuple[AutoregressiveFlow, History]:
    """Fit a flow to symbols by their exact code length.

    The parameters with the shortest code of the held-out examples, a row's `log2_likelihood` per
    latent, are kept.
    """
    optimisation, device = config.optimisation, resolve_device(config.device)
    training, held_out = training.to(device), held_out.to(device)
    with torch.random.fork_rng([]):
        torch.manual_seed(optimisation.seed)
        flow = AutoregressiveFlow(levels, statistics, prediction, config.flow).to(device)

    def loss(step: Step) -> Tensor:
        chosen = batch(len(training), optimisation.batch, optimisation.seed, step.number)
        return -flow.log2_probabilities(training[chosen]).mean()

    def evaluate() -> dict[str, float]:
        return {"log2_likelihood": -float(code_lengths(flow, held_out).mean()) / len(levels)}

    decay = config.penalty / len(training)
    history = train(
        flow,
        loss,
        optimisation,
        label="autoregressive flow",
        groups=[{"params": list(flow.parameters()), "weight_decay": decay}],
        evaluate=evaluate,
        select="log2_likelihood",
        checkpoint=checkpoint,
    )
    return flow, history
