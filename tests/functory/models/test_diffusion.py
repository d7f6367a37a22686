"""Diffusion: the noise is as scheduled, what removes it is exact, and training finds structure."""

import math
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from functory.errors import InputError
from functory.models.denoisers import (
    ResidualPerceptronConfig,
    UNetConfig,
)
from functory.models.diffusion import Diffusion, DiffusionConfig, DiffusionTraining, train_diffusion
from functory.optimisation import Optimisation

SMALL = DiffusionConfig(network=ResidualPerceptronConfig(width=16, blocks=1))
# as much noise in the end as a thousand of the usual steps add
FEW_STEPS = {"timesteps": 100, "first": 1e-3, "last": 0.2}
TRAINING = DiffusionTraining(
    diffusion=DiffusionConfig(network=ResidualPerceptronConfig(width=64, blocks=1), **FEW_STEPS),
    optimisation=Optimisation(steps=250, batch=256, rate=1e-2, schedule="cosine", warmup=20),
    average=0.98,
    device="cpu",
)
Network = TypeVar("Network", bound=nn.Module)
SPREAD = torch.tensor([0.5, 1.0, 2.0])  # of standardised values


def untrained(shape: tuple[int, ...], config: DiffusionConfig = SMALL) -> Diffusion:
    torch.manual_seed(0)
    return Diffusion(shape, torch.zeros(shape[-1]), torch.ones(shape[-1]), config)


def stirred(network: Network) -> Network:
    """Fill a network with noise: with its zeros, what comes before them has no effect."""
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.1)
    return network


class Gaussian(Diffusion):
    """The exact diffusion of independent normals, of deviations `SPREAD` around 1."""

    def forward(self, noisy: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the mean of the noise, given values that are noisy with it."""
        signal = self.signal[timesteps][:, None]
        variance = signal * SPREAD**2 + 1 - signal
        return ((1 - signal).sqrt() * (noisy - signal.sqrt()) / variance).float()


def two_moons(count: int, seed: int) -> Tensor:
    """Return points of two half circles, which hold one another, in two scales."""
    generator = torch.Generator().manual_seed(seed)
    angle = math.pi * torch.rand(count, generator=generator)
    lower = torch.arange(count) % 2
    x, y = angle.cos() + lower, angle.sin() * (1 - 2 * lower) + 0.5 * lower
    points = torch.stack([x, y], 1) + 0.05 * torch.randn(count, 2, generator=generator)
    return points * torch.tensor([1.0, 100.0])


def test_noise_is_as_the_schedule_says() -> None:
    diffusion = untrained((2,))
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    values = torch.tensor([3.0, -1.0]).expand(20_000, 2)
    noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(0))
    for timestep in (0, 250, 999):
        left = float((1 - betas[: timestep + 1]).prod())
        noisy = diffusion.add_noise(values, noise, torch.full((20_000,), timestep))
        deviation = math.sqrt(1 - left)
        expected = math.sqrt(left) * values[0]
        torch.testing.assert_close(noisy.mean(0), expected, atol=4 * deviation / 141, rtol=1e-4)
        torch.testing.assert_close(noisy.std(0), torch.full((2,), deviation), atol=0, rtol=0.02)
    assert left < 1e-4  # nothing is left of the data


def test_an_untrained_network_is_that_of_independent_normals() -> None:
    drawn = untrained((3,)).sample(500, 20)
    error = 4 / math.sqrt(500)
    torch.testing.assert_close(drawn.mean(0), torch.zeros(3), atol=error, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.ones(3), atol=error, rtol=0)
    diffusion = untrained((50,))
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    loss = diffusion.loss(torch.randn(2000, 50), torch.Generator().manual_seed(0)).detach()
    assert float(loss) == pytest.approx(float((1 - betas).cumprod(0).mean()), rel=0.05)


def test_the_error_does_not_depend_on_the_scale_of_latents() -> None:
    torch.manual_seed(1)
    values, scale = torch.randn(64, 3), torch.tensor([1e-3, 1.0, 1e3])
    losses = []
    for factor in (torch.ones(3), scale):
        torch.manual_seed(0)
        diffusion = stirred(Diffusion((3,), 2 * factor, factor, SMALL))
        generator = torch.Generator().manual_seed(0)
        losses.append(float(diffusion.loss((values + 2) * factor, generator).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


# Samples


@pytest.mark.parametrize("steps", [90, 100])
def test_exact_noise_gives_exact_samples(steps: int) -> None:
    mean, deviation = torch.tensor([5.0, 0.0, -3.0]), torch.tensor([1e-2, 1.0, 1e2])
    config = DiffusionConfig(network=SMALL.network, **FEW_STEPS)
    drawn = (Gaussian((3,), mean, deviation, config).sample(500, steps) - mean) / deviation
    error = 4 / math.sqrt(500)  # four standard errors
    torch.testing.assert_close((drawn.mean(0) - 1) / SPREAD, torch.zeros(3), atol=error, rtol=0)
    torch.testing.assert_close(drawn.std(0) / SPREAD, torch.ones(3), atol=error, rtol=0)
    correlation = torch.corrcoef(drawn.T) - torch.eye(3)
    assert correlation.abs().max() < error


@pytest.mark.parametrize("steps", [3, 20, 333])
def test_ddim_follows_the_exact_path(steps: int) -> None:
    """For a normal the path is known. 333 does not divide 1000: noise is removed to the last."""
    diffusion = Gaussian((3,), torch.zeros(3), torch.ones(3), SMALL)
    drawn = diffusion.sample(40, steps, seed=2).double()
    generators = [torch.Generator().manual_seed(2 * 1_000_003 + i) for i in range(40)]
    values = torch.stack([torch.randn(3, generator=g) for g in generators]).double()
    times = [round(1000 * (i + 1) / steps) - 1 for i in range(steps)]
    for before, time in reversed(list(zip([-1, *times], times, strict=False))):
        left = 1.0 if before < 0 else float(diffusion.signal[before])
        noise = diffusion(values, torch.full((40,), time)).double()
        signal = float(diffusion.signal[time])
        clean = (values - math.sqrt(1 - signal) * noise) / math.sqrt(signal)
        values = math.sqrt(left) * clean + math.sqrt(1 - left) * noise
    torch.testing.assert_close(drawn, values, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("steps", [4, 20])
def test_samples_depend_on_their_seed_and_index_alone(steps: int) -> None:
    config = DiffusionConfig(timesteps=20, first=0.01, last=0.4, network=SMALL.network)
    diffusion = stirred(untrained((3,), config))
    drawn = diffusion.sample(9, steps, seed=1)
    assert torch.equal(diffusion.sample(9, steps, seed=1), drawn)
    assert not torch.isclose(diffusion.sample(9, steps, seed=2), drawn).any()
    assert len(torch.cat([drawn, diffusion.sample(9, steps, seed=0)]).unique(dim=0)) == 18
    torch.testing.assert_close(diffusion.sample(4, steps, seed=1), drawn[:4])
    with patch("functory.models.diffusion.CHUNK", 4):
        torch.testing.assert_close(diffusion.sample(9, steps, seed=1), drawn)


@pytest.mark.parametrize("steps", [0, 1001])
def test_there_are_no_more_steps_than_timesteps(steps: int) -> None:
    with pytest.raises(InputError, match=f"1000 timesteps.*{steps} were asked for"):
        untrained((2,)).sample(1, steps)


def test_sampling_leaves_the_mode_and_the_randomness_as_they_are() -> None:
    diffusion = untrained((2,)).train()
    state = torch.get_rng_state()
    diffusion.sample(2, 2)
    assert diffusion.training
    assert torch.equal(torch.get_rng_state(), state)


# Training


def test_both_moons_are_found() -> None:
    train, test = two_moons(4000, 0), two_moons(500, 1)
    diffusion, history = train_diffusion(train, test, TRAINING)
    scale, noise = train.std(0), torch.randn(500, 2, generator=torch.Generator().manual_seed(0))

    def distances(points: Tensor) -> Tensor:
        return torch.cdist(points / scale, test / scale).min(1).values

    drawn = diffusion.sample(500, 50)
    blurred = noise * scale + train.mean(0)  # has the mean and deviation, and nothing else
    assert distances(drawn).mean() < 0.6 * distances(blurred).mean()
    lower = torch.cdist(drawn / scale, test / scale).argmin(1) % 2
    assert 0.4 < lower.float().mean() < 0.6
    assert history.rows[-1]["held_out_loss"] < 0.95 * history.rows[0]["held_out_loss"]


@pytest.mark.parametrize(
    "network", [ResidualPerceptronConfig(width=32, blocks=1), UNetConfig(channels=8)]
)
def test_cells_of_a_grid_tell_of_one_another(
    network: ResidualPerceptronConfig | UNetConfig,
) -> None:
    generator = torch.Generator().manual_seed(0)
    sign = torch.randint(2, (600, 1, 1, 1), generator=generator) * 2.0 - 1
    grids = sign * torch.tensor([1.0, -10.0]) + 0.1 * torch.randn(600, 4, 4, 2, generator=generator)
    config = DiffusionTraining(
        diffusion=DiffusionConfig(network=network, **FEW_STEPS),
        optimisation=Optimisation(steps=40, batch=64, rate=3e-3, schedule="cosine"),
        average=0.95,
        device="cpu",
    )
    diffusion, history = train_diffusion(grids[:500], grids[500:], config)
    independent = float(diffusion.signal.mean())  # the error for normals, of which no cell tells
    assert history.rows[-1]["held_out_loss"] < 0.8 * independent
    drawn = diffusion.sample(3, 4)
    assert drawn.shape == (3, 4, 4, 2)
    assert torch.isfinite(drawn).all()


def test_a_constant_latent_stays_what_it_is() -> None:
    data = torch.cat([two_moons(100, 0), torch.full((100, 1), 7.0)], 1)
    config = TRAINING.model_copy(update={"optimisation": Optimisation(steps=3, batch=8, rate=1e-3)})
    drawn = train_diffusion(data[:80], data[80:], config)[0].sample(5, 10)
    assert torch.isfinite(drawn).all()
    assert (drawn[:, 2] == 7).all()


def test_the_average_follows_the_network() -> None:
    diffusion = untrained((2,))
    first = [p.clone() for p in diffusion.average.parameters()]
    for parameter in diffusion.network.parameters():
        parameter.data += 1
    left = 1.0
    for update in range(200):
        diffusion.update_average(0.9)
        left *= min(0.9, (1 + update) / (10 + update))
    for before, after in zip(first, diffusion.average.parameters(), strict=True):
        torch.testing.assert_close(after, before + 1 - left)
    assert left < 0.01
    assert not any(p.requires_grad for p in diffusion.average.parameters())


def test_the_average_predicts_in_evaluation_and_the_network_in_training() -> None:
    diffusion = untrained((2,))
    for value, part in ((1.0, diffusion.network), (2.0, diffusion.average)):
        part.leave[-1].bias.data.fill_(value)  # its weights are zero
    noisy, timesteps = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    first = math.sqrt(1 - 1e-4)
    torch.testing.assert_close(diffusion.train()(noisy, timesteps), torch.full((3, 2), first))
    torch.testing.assert_close(diffusion.eval()(noisy, timesteps), torch.full((3, 2), 2 * first))


def test_resume_gives_the_same_diffusion(tmp_path: Path) -> None:
    network = ResidualPerceptronConfig(width=16, blocks=1, dropout=0.3)
    config = DiffusionTraining(
        diffusion=DiffusionConfig(network=network),
        optimisation=Optimisation(steps=12, batch=64, rate=1e-2, checkpoint_every=4),
        device="cpu",
    )
    train, test = two_moons(200, 0), two_moons(50, 1)
    whole, history = train_diffusion(train, test, config)
    checkpoint = tmp_path / "checkpoint"
    update, calls = Diffusion.update_average, 0

    def stop(self: Diffusion, decay: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        update(self, decay)

    with patch.object(Diffusion, "update_average", stop), pytest.raises(KeyboardInterrupt):
        train_diffusion(train, test, config, checkpoint)
    resumed, again = train_diffusion(train, test, config, checkpoint)
    assert again == history
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_a_class_is_drawn_from_when_it_is_named() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    values = 0.1 * torch.randn(600, 2, generator=generator) + (2.0 * labels - 1)[:, None]
    config = TRAINING.model_copy(
        update={"optimisation": TRAINING.optimisation.model_copy(update={"steps": 200})}
    )
    both = (labels[:500], labels[500:])
    diffusion, _ = train_diffusion(values[:500], values[500:], config, labels=both)
    asked = torch.arange(64) % 2
    drawn = diffusion.sample(64, 20, labels=asked)
    assert ((drawn.mean(1) > 0) == (asked == 1)).float().mean() > 0.95
    free = diffusion.sample(64, 20).mean(1) > 0
    assert 0.2 < free.float().mean() < 0.8  # of any class where none is named
    again = diffusion.sample(10, 20, labels=asked[:10])
    torch.testing.assert_close(again, drawn[:10], atol=1e-5, rtol=0)
    guided = diffusion.sample(64, 20, labels=asked, guidance=1.0)
    assert torch.equal(guided, drawn)
    exaggerated = diffusion.sample(64, 20, labels=asked, guidance=4.0)
    assert exaggerated.mean(1).abs().mean() > drawn.mean(1).abs().mean()


def test_noise_hides_latents_that_change_little_before_others() -> None:
    values = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    steps = TRAINING.optimisation.model_copy(update={"steps": 1})
    config = TRAINING.model_copy(update={"optimisation": steps})
    effects = torch.tensor([4.0, 1.0, 0.0])
    plain, _ = train_diffusion(values, values, config)
    scaled, _ = train_diffusion(values, values, config, effects=effects)
    spread = (values / scaled.deviation).std(0, correction=0)
    torch.testing.assert_close(spread[0] / spread[1], torch.tensor(4.0))
    assert scaled.deviation[2] == plain.deviation[2]  # nothing to weigh it by
