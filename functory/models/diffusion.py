"""Diffusion over modulations: learn to predict noise, then draw samples by removing it.

Thesis, section 5.A.5; Ho et al. 2020 (DDPM); Song et al. 2021 (DDIM).
"""

import copy
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from functory.configuration import Config
from functory.errors import InputError
from functory.models.denoisers import ResidualPerceptronConfig, UNetConfig, build_denoiser
from functory.optimisation import Optimisation
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = ["Diffusion", "DiffusionConfig", "DiffusionTraining", "train_diffusion"]

UNTOLD = 0.1  # share of the samples whose class is not told in training
CHUNK = 256  # samples that go through the network together, to bound memory

Share = Annotated[float, Field(gt=0, lt=1)]


class DiffusionConfig(Config):
    """The noise that is added, and the network that predicts it."""

    timesteps: PositiveInt = 1000
    """Steps in which data become noise."""
    first: Share = 1e-4
    """Variance of the noise that the first step adds; it grows linearly."""
    last: Share = 0.02
    """Variance of the noise that the last step adds."""
    network: Annotated[ResidualPerceptronConfig | UNetConfig, Field(discriminator="kind")] = (
        ResidualPerceptronConfig()
    )
    """The network that predicts noise; a U-Net is for spatial functasets alone."""


class DiffusionTraining(Config):
    """How a diffusion is trained."""

    diffusion: DiffusionConfig = DiffusionConfig()
    """Noise and network."""
    optimisation: Optimisation = Optimisation(
        steps=100_000,
        batch=256,
        rate=3e-4,
        schedule="inverse-sqrt",
        warmup=4000,
        evaluate_every=500,
        checkpoint_every=500,
    )
    """Adam; the average of the last parameters is kept."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the moving average of the parameters; 0.999 averages over about 1000 steps."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class Diffusion(nn.Module):
    """A distribution of modulations, each latent standardised by the training set's statistics.

    Samples have a `shape`: (latents,), or (rows, columns, latents), where `mean` and `deviation`
    are (latents,). With classes it also learns what is typical of each. In training mode noise is
    predicted by `network`; in evaluation mode by `average`, the moving average of its parameters,
    whose samples are better.
    """

    mean: Tensor
    deviation: Tensor
    updates: Tensor
    signal: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        mean: Tensor,
        deviation: Tensor,
        config: DiffusionConfig,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.shape, self.config, self.classes = shape, config, classes
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        # the share of the signal's variance that is left at each timestep; follows from the config
        betas = torch.linspace(config.first, config.last, config.timesteps, dtype=torch.float64)
        self.register_buffer("signal", (1 - betas).cumprod(0), persistent=False)
        self.network = build_denoiser(shape, config.network, classes)
        self.average = copy.deepcopy(self.network).requires_grad_(False)

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the noise predicted in (samples, *shape) noisy values, at timesteps from 0.

        The network adds to what is best for independent normals: the v of Salimans and Ho (2022).
        Were it asked for the noise itself, its error where hardly any signal is left would be
        magnified 160 times in the signal, and after a short training many samples end far from all
        data.
        """
        network = self.network if self.training else self.average
        signal, noise = self._amplitudes(timesteps)
        return noise * noisy + signal * network(noisy, timesteps, labels)

    def add_noise(self, values: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return standardised values, (samples, *shape), as they are at (samples,) timesteps."""
        kept, added = self._amplitudes(timesteps)
        return kept * values + added * noise

    def _amplitudes(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the amplitudes of signal and noise, which broadcast with samples."""
        signal = self.signal[timesteps].view(-1, *[1] * len(self.shape))
        return signal.sqrt().float(), (1 - signal).sqrt().float()

    def loss(
        self, values: Tensor, generator: torch.Generator, labels: Tensor | None = None
    ) -> Tensor:
        """Return the mean squared error of the noise predicted in (samples, *shape) modulations.

        Predicting no noise at all has an error of one. A share of the (samples,) labels is not
        told, so that the same network also knows what is typical of all.
        """
        # where a latent never varies there is nothing to divide by
        scale = torch.where(self.deviation > 0, self.deviation, 1.0)
        timesteps = torch.randint(len(self.signal), (len(values),), generator=generator)
        noise = torch.randn(values.shape, generator=generator).to(values)
        timesteps = timesteps.to(values.device)
        noisy = self.add_noise((values - self.mean) / scale, noise, timesteps)
        if labels is not None:
            untold = torch.rand(len(values), generator=generator).to(values.device) < UNTOLD
            labels = torch.where(untold, self.classes, labels)
        return (self(noisy, timesteps, labels) - noise).square().mean()

    def update_average(self, decay: float) -> None:
        """Move the average towards the network's parameters; faster at first, when they are new."""
        count = int(self.updates)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        with torch.no_grad():
            for average, new in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                average.lerp_(new, weight)
        self.updates += 1

    def sample(
        self,
        count: int,
        steps: int = 100,
        seed: int = 0,
        labels: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Draw (count, *shape) modulations; a sample depends on the seed and its index alone.

        With as many steps as timesteps these are those of DDPM, each of which adds noise; with
        fewer, they are those of DDIM, and the first noise decides. Samples are of the (count,)
        labels' classes, or of any. A guidance above 1 exaggerates what is typical of a class
        (classifier-free guidance, Ho and Salimans 2022).

        Raises
        ------
        InputError
            If there are more steps than timesteps.
        """
        if not 1 <= steps <= len(self.signal):
            raise InputError(
                f"A diffusion of {len(self.signal)} timesteps is sampled in 1 to as many steps; "
                f"{steps} were asked for."
            )
        training = self.training
        self.eval()
        chunks = [
            self._denoise(range(start, min(start + CHUNK, count)), steps, seed, labels, guidance)
            for start in range(0, count, CHUNK)
        ]
        self.train(training)
        return torch.cat(chunks) if chunks else torch.zeros(0, *self.shape)

    @torch.no_grad()
    def _denoise(
        self,
        indices: range,
        steps: int,
        seed: int,
        labels: Tensor | None,
        guidance: float,
    ) -> Tensor:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # slow to import
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        timesteps, betas = _respaced(self.signal.cpu(), steps)
        schedule = DDPMScheduler if steps == len(self.signal) else DDIMScheduler
        scheduler = schedule(steps, trained_betas=betas.tolist(), clip_sample=False)
        scheduler.set_timesteps(steps)
        # one for each sample, so that it does not depend on how many there are
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in indices]
        values = torch.stack([torch.randn(self.shape, generator=g) for g in generators])
        values = values.to(self.mean)
        known = None if labels is None else labels[indices.start : indices.stop].to(values.device)
        for step in reversed(range(steps)):
            time = timesteps[step].to(values.device).expand(len(values))
            noise = self(values, time, known)
            if known is not None and guidance != 1:
                plain = self(values, time)
                noise = plain + guidance * (noise - plain)
            values = scheduler.step(noise, step, values, generator=generators).prev_sample
        return (values * self.deviation + self.mean).cpu()


def _respaced(signal: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return evenly spaced timesteps, the last one among them, and the variance added between.

    A scheduler is given these as all the timesteps that there are. Left to choose from all, that of
    diffusers removes the noise of T // steps timesteps at once, too little where steps does not
    divide T.
    """
    timesteps = torch.from_numpy(np.linspace(0, len(signal), steps + 1)[1:].round() - 1).long()
    left = torch.cat([torch.ones(1, dtype=signal.dtype), signal[timesteps]])
    return timesteps, 1 - left[1:] / left[:-1]


def train_diffusion(
    training: Tensor,
    held_out: Tensor,
    config: DiffusionTraining,
    checkpoint: Path | None = None,
    label: str = "diffusion",
    labels: tuple[Tensor, Tensor] | None = None,
    effects: Tensor | None = None,
) -> tuple[Diffusion, History]:
    """Fit a diffusion to modulations, (samples, latents) or (samples, rows, columns, latents).

    `labels` are the classes of both, (samples,), integers from 0, all of them in the first.
    `effects`, (latents,), say how much a deviation of each latent changes the functions: noise then
    hides small details first, as it does in images, instead of all latents at once.
    A row's `held_out_loss` is that of the average, always with the same noise. Nothing is chosen by
    it: how samples look says more, and the average of the last parameters is kept.
    """
    optimisation, device = config.optimisation, resolve_device(config.device)
    training, held_out = training.to(device), held_out.to(device)
    over = tuple(range(training.ndim - 1))
    mean, deviation = training.mean(over), training.std(over, correction=0)
    if effects is not None:
        effects = effects.to(device)
        scaled = deviation * effects.square().mean().sqrt() / effects
        deviation = torch.where(effects > 0, scaled, deviation)
    known, asked = (None, None) if labels is None else (part.to(device) for part in labels)
    classes = 0 if known is None else int(known.max()) + 1
    with torch.random.fork_rng([]):
        torch.manual_seed(optimisation.seed)
        diffusion = Diffusion(tuple(training.shape[1:]), mean, deviation, config.diffusion, classes)
    diffusion.to(device)

    def loss(step: Step) -> Tensor:
        chosen = batch(len(training), optimisation.batch, optimisation.seed, step.number)
        told = None if known is None else known[chosen]
        return diffusion.loss(training[chosen], step.generator, told)

    def evaluate() -> dict[str, float]:
        generator = torch.Generator().manual_seed(optimisation.seed)
        with torch.no_grad():
            total = 0.0
            for part in torch.arange(len(held_out)).split(CHUNK):
                told = None if asked is None else asked[part]
                total += float(diffusion.loss(held_out[part], generator, told)) * len(part)
        return {"held_out_loss": total / len(held_out)}

    history = train(
        diffusion,
        loss,
        optimisation,
        label=label,
        groups=[{"params": list(diffusion.network.parameters())}],
        evaluate=evaluate,
        after_step=lambda: diffusion.update_average(config.average),
        checkpoint=checkpoint,
    )
    return diffusion, history
