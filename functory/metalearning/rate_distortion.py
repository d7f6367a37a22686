"""Rate and distortion: a learned network trained on for what its rounded modulations cost.

The outer loss becomes D + lambda R (equation 6.7 of the thesis). D is of modulations that are
really rounded, with a straight-through gradient; in R uniform noise as wide as a step takes the
place of rounding (Ballé et al. 2017), which a density can be learned from. With noise in D too
(there, a latent that varies less than a step is never silent) all gains were half as large.
"""

import math
from statistics import NormalDist

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from functory.coding.rounding import matched_weight
from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewtonSteps
from functory.optimisation import Optimisation
from functory.quality import psnr
from functory.signals import Signals

__all__ = ["DENSITY_RATE", "LatentDensity", "RateDistortion", "RateDistortionLoss", "sort_latents"]

COMPONENTS = 3  # of a latent's density: many are skewed, or have two modes
DENSITY_RATE = 1e-2  # in deviations of a latent: it has to follow the network, and costs nothing


class RateDistortion(Config):
    """How a learned network is trained on for rounded modulations."""

    step: PositiveFloat
    """The step that modulations will be rounded to, as a root mean squared error: a change of any
    latent by it changes the normalised signal by as much. Rounding n latents adds an error of up
    to step * sqrt(n / 12), and less where they vary less than a step."""
    weight: PositiveFloat | None = None
    """Lambda: the mean squared error, of normalised values, that one bit per value is worth; null
    takes what makes the step the best one at high rates."""
    optimisation: Optimisation = Optimisation(
        steps=300, batch=16, rate=1e-4, optimiser="soap", schedule="cosine", warmup=20
    )
    """The outer loop, taken up again."""


class LatentDensity(nn.Module):
    """A density for each latent, a mixture of logistic ones: the factorised model of the rate.

    Starts from modulations, (signals, latents).
    """

    unit: Tensor

    def __init__(self, modulations: Tensor) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(modulations, 0, correction=0)
        unit = torch.where(deviation > 0, deviation, torch.ones_like(deviation))[:, None]
        self.register_buffer("unit", unit)
        shares = [(2 * k + 1) / (2 * COMPONENTS) for k in range(COMPONENTS)]
        spread = unit.new_tensor([NormalDist().inv_cdf(share) for share in shares])
        self.location = nn.Parameter(mean[:, None] / unit + spread)
        # a logistic density has a deviation of pi / sqrt(3) scales: half the latent's, at first
        scale = math.log(0.5 * math.sqrt(3) / math.pi)
        self.log_scale = nn.Parameter(torch.full_like(self.location, scale))
        self.share = nn.Parameter(torch.zeros_like(self.location))

    def bits(self, modulations: Tensor, step: float) -> Tensor:
        """Return -log2 of the mass within half a step of modulations, (signals, latents)."""
        sharpness = (-self.log_scale).exp()
        distance = (modulations[..., None] / self.unit - self.location) * sharpness
        half = step / 2 / self.unit * sharpness
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), which never underflows
        mass = functional.logsigmoid(distance + half) + functional.logsigmoid(half - distance)
        mass = mass + torch.log(-torch.expm1(-2 * half))
        nats = -torch.logsumexp(mass + self.share.log_softmax(-1), -1)
        return nats / math.log(2)


class RateDistortionLoss:
    """D + lambda R of a network's fitted signals, and how it does once modulations are rounded.

    D is the mean squared error of normalised values, R the bits per value by the density. With
    values n to a signal, lambda is by default n times the `matched_weight` of a bit.
    """

    def __init__(
        self,
        network: LatentModulatedSiren,
        solver: GaussNewtonSteps,
        known: Signals,
        step: float,
        weight: float | None = None,
    ) -> None:
        self.network, self.solver, self.step = network, solver, step
        self.density = LatentDensity(fit(network, solver, known)[0]).to(known.features.device)
        self.values = known.features[0].numel()
        self.bit = matched_weight(step) if weight is None else weight / self.values

    def __call__(self, signals: Signals, phi: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of signals at their modulations, with new noise in the rate."""
        noise = torch.rand(phi.shape, generator=generator, dtype=phi.dtype) - 0.5
        noisy = phi + self.step * noise.to(phi.device)
        # the gradient goes through as if nothing had been rounded
        rounded = phi + (self._rounded(phi) - phi).detach()
        error = signals.squared_error(self.network(signals.points, rounded))
        return (error + self.bit * self.density.bits(noisy, self.step).sum(1)).mean()

    def _rounded(self, phi: Tensor) -> Tensor:
        return torch.round(phi / self.step) * self.step

    @torch.no_grad()
    def measure(self, signals: Signals) -> dict[str, float]:
        """Return the PSNR of fitted signals, before and after rounding, and the bits per value."""
        phi, found = fit(self.network, self.solver, signals)
        rounded = self._rounded(phi)
        parts = [(signals.take(slice(i, i + 1)), rounded[i : i + 1]) for i in range(len(signals))]
        errors = [part.squared_error(self.network(part.points, one)) for part, one in parts]
        bits = self.density.bits(rounded, self.step).sum(1).mean() / self.values
        return {
            "psnr": psnr(found["mse"]),
            "psnr_rounded": psnr(torch.cat(errors)),
            "bits_per_value": float(bits),
        }


@torch.no_grad()
def sort_latents(
    network: LatentModulatedSiren, solver: GaussNewtonSteps, training: Signals
) -> None:
    """Order the latents by their variance over training signals, and leave them as they are.

    What fixes the gauge at first must not do so again: training with a rate has made the columns
    of the modulation matrix as long as the step suits, and has chosen axes along which latents are
    cheap one by one. Whitening would undo the first, and a rotation the second; an order neither.
    """
    variances = solver.first_step(network, training).var(0)
    order = variances.argsort(descending=True, stable=True)
    network.modulation.weight.copy_(network.modulation.weight[:, order])
