"""The flow prior: a neural spline flow over modulations (thesis, section 5.A.4)."""

import copy
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from nflows.distributions.normal import StandardNormal
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    LULinear,
    PiecewiseRationalQuadraticCouplingTransform,
    RandomPermutation,
)
from nflows.utils import create_mid_split_binary_mask
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from functory.configuration import Config
from functory.errors import InputError
from functory.optimisation import Optimisation
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = ["FlowConfig", "FlowPrior", "FlowTraining", "train_flow"]


# nflows 0.14, its last release, calls what torch will drop one day; torch is pinned until then
warnings.filterwarnings("ignore", message="torch.triangular_solve is deprecated")


class FlowConfig(Config):
    """Architecture of the flow."""

    layers: PositiveInt = 8
    """Flow layers: each a random permutation, an LU linear map and a spline coupling."""
    width: PositiveInt = 128
    """Units of the conditioner's hidden layers."""
    bins: PositiveInt = 8
    """Bins of each rational-quadratic spline."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Dropout probability in the conditioner."""
    norm_factor: PositiveFloat = 4.0
    """Standardised modulations are divided by this; the base has a deviation of 1/norm_factor."""
    embedding: PositiveInt = 32
    """Numbers that stand for a class in the conditioners of a class-conditional flow."""


class FlowTraining(Config):
    """How a flow prior is trained."""

    flow: FlowConfig = FlowConfig()
    """Architecture of the flow."""
    optimisation: Optimisation = Optimisation(
        steps=20_000,
        batch=64,
        rate=3e-4,
        schedule="inverse-sqrt",
        warmup=4000,
        evaluate_every=500,
        checkpoint_every=500,
    )
    """Adam; the parameters with the best held-out likelihood are kept."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class FlowPrior(nn.Module):
    """A density over modulations, standardised by the training set's own mean and deviation.

    Coupling splines act on [-1, 1], four deviations of the base either way, and are the identity
    beyond. With `classes` the density is that of a class: its learned embedding goes into every
    conditioner, and labels, (samples,) integers, must be given wherever modulations are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, mean: Tensor, deviation: Tensor, config: FlowConfig, classes: int = 0
    ) -> None:
        super().__init__()
        self.classes = classes
        latents = len(mean)
        if latents < 2:
            raise InputError("A coupling flow needs two latents or more; the functaset has one.")
        self.config = config
        self.register_buffer("mean", mean)
        # a latent that never varies carries nothing: a deviation of one keeps it where it is
        self.register_buffer(
            "deviation", torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        )
        self.embedding = nn.Embedding(classes, config.embedding) if classes else None
        self.base = StandardNormal([latents])
        self.transform = CompositeTransform(
            [t for i in range(config.layers) for t in self._layer(latents, i % 2 == 0)]
        )

    def _layer(self, latents: int, even: bool) -> list[nn.Module]:
        def conditioner(inputs: int, outputs: int) -> nn.Module:
            return ResidualNet(
                inputs,
                outputs,
                hidden_features=self.config.width,
                context_features=self.config.embedding if self.classes else None,
                num_blocks=1,
                dropout_probability=self.config.dropout,
            )

        mask = create_mid_split_binary_mask(latents)
        coupling = PiecewiseRationalQuadraticCouplingTransform(
            mask if even else 1 - mask,
            conditioner,
            num_bins=self.config.bins,
            tails="linear",
            tail_bound=1.0,
        )
        return [RandomPermutation(latents), LULinear(latents), coupling]

    def log_prob(self, modulations: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the log density, in nats, of (samples, latents) modulations."""
        noise, logdet = self._forward(modulations, labels)
        # the base has a deviation of 1/norm_factor: its log density is that of a unit normal
        # at norm_factor * noise, plus latents * log norm_factor, which cancels with the scaling
        log_base = self.base.log_prob(noise * self.config.norm_factor)
        return cast(Tensor, log_base + logdet - self.deviation.log().sum())

    def to_latent(self, modulations: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the base's values, standard normal under the flow, of modulations."""
        return self._forward(modulations, labels)[0] * self.config.norm_factor

    def from_latent(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the modulations of (samples, latents) values of the base, in double precision."""
        double = copy.deepcopy(self).cpu().double().eval()
        noise = latent.cpu().double() / self.config.norm_factor
        with torch.no_grad():
            context = double._context(None if labels is None else labels.cpu())
            found = _invert(double.transform, noise, context)
            found = found * self.config.norm_factor * double.deviation + double.mean
        return found.float()

    def _forward(self, modulations: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        scaled = (modulations - self.mean) / (self.deviation * self.config.norm_factor)
        return cast(tuple[Tensor, Tensor], self.transform(scaled, self._context(labels)))

    def _context(self, labels: Tensor | None) -> Tensor | None:
        if (labels is None) != (self.embedding is None):
            raise ValueError("labels are for class-conditional flows, which need them")
        if self.embedding is None or labels is None:
            return None
        return cast(Tensor, self.embedding(labels))

    def bits_per_dimension(self, modulations: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return -log2 of the density of *standardised* modulations per latent, for each sample.

        Independent of the modulations' scale; an independent normal has about 2.05.
        """
        standardised = self.log_prob(modulations, labels) + self.deviation.log().sum()
        return -standardised / (len(self.mean) * math.log(2))

    def sample(
        self, count: int, temperature: float = 1.0, seed: int = 0, labels: Tensor | None = None
    ) -> Tensor:
        """Draw (count, latents) modulations; a temperature below 1 draws nearer to the mode."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float64)
        return self.from_latent(noise * temperature, labels)


def _invert(transform: Any, noise: Tensor, context: Tensor | None) -> Tensor:
    """Invert the flow, in double precision and with a second chance for single samples.

    The spline's inverse solves a quadratic and asserts that its discriminant is not negative, which
    rounding can break for a value on the edge of a bin: one bad sample would cost the whole batch.
    """
    try:
        return cast(Tensor, transform.inverse(noise, context)[0])
    except AssertionError:
        if len(noise) == 1:
            return _invert(transform, noise * (1 - 1e-9), context)
        half = (len(noise) + 1) // 2
        parts = [(noise[:half], slice(half)), (noise[half:], slice(half, None))]
        return torch.cat(
            [_invert(transform, n, None if context is None else context[at]) for n, at in parts]
        )


def train_flow(
    training: Tensor,
    held_out: Tensor,
    config: FlowTraining,
    checkpoint: Path | None = None,
    *,
    labels: tuple[Tensor, Tensor] | None = None,
    perturb: Callable[[Tensor, torch.Generator | None], Tensor] | None = None,
    label: str = "flow prior",
) -> tuple[FlowPrior, History]:
    """Fit a flow to (samples, latents) modulations by maximum likelihood.

    The parameters with the best likelihood on `held_out`, a row's `log2_likelihood` per latent of
    standardised modulations, are kept. `perturb` adds noise to a batch
    (uniform dequantisation, say); held-out data get the same noise at every measurement. `labels`
    of training and held-out samples, integers from 0, make the flow class-conditional.
    """
    optimisation, device = config.optimisation, resolve_device(config.device)
    training, held_out = training.to(device), held_out.to(device)
    with torch.random.fork_rng([]):
        torch.manual_seed(optimisation.seed)
        classes = 0 if labels is None else int(labels[0].max()) + 1
        mean, deviation = training.mean(0), training.std(0, correction=0)
        flow = FlowPrior(mean, deviation, config.flow, classes).to(device)
    known, asked = (None, None) if labels is None else (part.to(device) for part in labels)

    def loss(step: Step) -> Tensor:
        chosen = batch(len(training), optimisation.batch, optimisation.seed, step.number)
        values = training[chosen]
        if perturb is not None:
            values = perturb(values, step.generator)
        return flow.bits_per_dimension(values, None if known is None else known[chosen]).mean()

    def evaluate() -> dict[str, float]:
        values = held_out
        if perturb is not None:
            values = perturb(values, torch.Generator().manual_seed(optimisation.seed))
        with torch.no_grad():
            return {"log2_likelihood": -float(flow.bits_per_dimension(values, asked).mean())}

    history = train(
        flow,
        loss,
        optimisation,
        label=label,
        evaluate=evaluate,
        select="log2_likelihood",
        checkpoint=checkpoint,
    )
    return flow, history
