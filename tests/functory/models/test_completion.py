"""Completion: the mode of the posterior, of each signal by itself."""

import math

import pytest
import torch
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.models.completion import Completion, complete
from functory.models.flow_prior import FlowConfig, FlowPrior
from functory.signals import Signals

LATENTS, POINTS = 3, 60
CONFIG = Completion(noise=0.05, draws=20, steps=6)


@pytest.fixture(scope="module")
def network() -> LatentModulatedSiren:
    torch.manual_seed(0)
    config = SirenConfig(latents=LATENTS, width=12, depth=3, omega_0=1)
    return LatentModulatedSiren(2, 1, config).requires_grad_(False)


def untrained(classes: int = 0) -> FlowPrior:
    """Return a flow of no particular shape: splines with random knots."""
    torch.manual_seed(1)
    mean, deviation = torch.tensor([0.2, -0.1, 0.0]), torch.tensor([0.5, 0.3, 0.4])
    flow = FlowPrior(mean, deviation, FlowConfig(layers=2, width=8), classes)
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "final_layer" in name:
                parameter.mul_(4)
    return flow.eval().requires_grad_(False)


def gaussian() -> FlowPrior:
    """Return a flow whose splines are the identity: an independent normal distribution."""
    flow = untrained()
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if "final_layer.weight" in name:
                parameter.zero_()
            if "final_layer.bias" in name:
                slopes = parameter.view(-1, 3 * flow.config.bins - 1)
                slopes.zero_()
                slopes[:, 2 * flow.config.bins :] = math.log(math.expm1(1 - 1e-3))
    return flow


def partly_seen(
    network: LatentModulatedSiren,
    flow: FlowPrior,
    count: int = 6,
    labels: Tensor | None = None,
    share: float = 0.5,
) -> tuple[Signals, Tensor]:
    """Return functions of the prior, a share of each seen and with some noise, and all of it."""
    generator = torch.Generator().manual_seed(2)
    points = 2 * torch.rand(POINTS, 2, generator=generator) - 1
    whole = network(points, flow.sample(count, seed=7, labels=labels))
    observed = (torch.rand(count, POINTS, 1, generator=generator) < share).float()
    noisy = whole + 0.02 * torch.randn(whole.shape, generator=generator)
    return Signals(points, noisy * observed, observed), whole


def objective(
    network: LatentModulatedSiren,
    flow: FlowPrior,
    signals: Signals,
    phi: Tensor,
    config: Completion,
    labels: Tensor | None = None,
) -> Tensor:
    """Return -log p(phi) + lambda sum (f - y)^2, written down anew."""
    assert signals.observed is not None
    seen = signals.observed.sum((1, 2))
    error = (network(signals.points, phi) - signals.features) * signals.observed
    weight = seen.clamp(max=config.independent) / seen / (2 * config.noise**2)
    return weight * error.square().sum((1, 2)) - flow.log_prob(phi, labels)


def test_the_objective_never_rises_and_starts_below_every_draw(
    network: LatentModulatedSiren,
) -> None:
    flow = untrained()
    signals, _ = partly_seen(network, flow)
    draws = torch.cat([flow.mean[None], flow.sample(CONFIG.draws, seed=CONFIG.seed)])
    at_draws = torch.stack(
        [objective(network, flow, signals, one.expand(6, -1), CONFIG) for one in draws]
    )
    last = at_draws.amin(0)
    for steps in (1, 2, 3, 8):
        config = CONFIG.model_copy(update={"steps": steps})
        phi, labels = complete(network, flow, signals, config)
        assert labels is None
        value = objective(network, flow, signals, phi, config)
        assert (value <= last + 1e-3).all()
        last = value
    assert (last < at_draws.amin(0) - 0.1).all(), "steps gain something on the best of the draws"


def test_it_ends_where_the_gradient_vanishes(network: LatentModulatedSiren) -> None:
    flow = gaussian()
    signals, _ = partly_seen(network, flow)
    phi, _ = complete(network, flow, signals, CONFIG.model_copy(update={"steps": 40}))

    def gradient(at: Tensor) -> Tensor:
        leaf = at.clone().requires_grad_()
        value = objective(network, flow, signals, leaf, CONFIG).sum()
        return torch.autograd.grad(value, leaf)[0] * flow.deviation

    assert gradient(flow.mean.expand(6, -1)).abs().amax() > 10
    assert gradient(phi).abs().amax() < 0.1


def test_the_unseen_part_is_inferred(network: LatentModulatedSiren) -> None:
    flow = untrained()
    signals, whole = partly_seen(network, flow)
    assert signals.observed is not None
    phi, _ = complete(network, flow, signals, CONFIG)
    unseen = 1 - signals.observed

    def error(at: Tensor) -> Tensor:
        return ((network(signals.points, at) - whole) * unseen).square().sum((1, 2))

    assert error(phi).mean() < 0.1 * error(flow.mean.expand(6, -1)).mean()


def test_wholly_seen_signals_are_fitted_as_well_as_by_the_solver(
    network: LatentModulatedSiren,
) -> None:
    seen, _ = partly_seen(network, untrained(), share=1.0)
    solver = GaussNewtonSteps(GaussNewton(steps=30, damping=1e-8))
    _, fitted = fit(network, solver, seen)
    config = Completion(noise=1e-3, draws=200, steps=20)
    phi, _ = complete(network, gaussian(), seen, config)
    found = seen.squared_error(network(seen.points, phi))
    assert (found <= 1.01 * fitted["mse"] + 1e-6).all()
    whole = Signals(seen.points, seen.features)
    torch.testing.assert_close(complete(network, gaussian(), whole, config)[0], phi)


def test_noise_without_end_leaves_the_mode_of_the_prior(network: LatentModulatedSiren) -> None:
    normal, flow = gaussian(), untrained()
    signals, _ = partly_seen(network, flow)
    config = Completion(noise=1e4, draws=50, steps=30)
    phi, _ = complete(network, normal, signals, config)
    torch.testing.assert_close(phi, normal.mean.expand(6, -1), atol=1e-3, rtol=0)
    phi, _ = complete(network, flow, signals, config)
    denser = flow.log_prob(flow.sample(2000, seed=3)) > flow.log_prob(phi)[:, None]
    assert (denser.float().mean(1) < 0.01).all()


@pytest.mark.parametrize("points", [4096, 10])
def test_signals_do_not_see_each_other(network: LatentModulatedSiren, points: int) -> None:
    flow = untrained()
    signals, _ = partly_seen(network, flow, count=11)  # more than are completed at once
    config = CONFIG.model_copy(update={"points": points})
    together, _ = complete(network, flow, signals, config)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    permuted, _ = complete(network, flow, signals.take(order), config)
    torch.testing.assert_close(permuted, together[order], atol=2e-3, rtol=0)
    alone, _ = complete(network, flow, signals.take(slice(9, 10)), config)
    torch.testing.assert_close(alone, together[9:10], atol=2e-3, rtol=0)


def test_a_signal_of_which_little_is_seen_beside_one_of_which_more_is(
    network: LatentModulatedSiren,
) -> None:
    flow, config = untrained(), CONFIG.model_copy(update={"points": 20})
    signals, _ = partly_seen(network, flow, count=2)
    observed = torch.zeros_like(signals.features)
    observed[0, :4] = observed[1, :40] = 1
    features = torch.where(observed > 0, signals.features, torch.nan)
    few = Signals(signals.points, features.nan_to_num(0.0), observed)
    phi, _ = complete(network, flow, few, config)
    for i in range(2):
        alone, _ = complete(network, flow, few.take(slice(i, i + 1)), config)
        torch.testing.assert_close(phi[i : i + 1], alone, atol=2e-3, rtol=0)


def test_what_is_not_seen_does_not_matter(network: LatentModulatedSiren) -> None:
    flow = untrained()
    signals, _ = partly_seen(network, flow)
    assert signals.observed is not None
    other = Signals(signals.points, signals.features + 9 * (1 - signals.observed), signals.observed)
    one, two = (complete(network, flow, each, CONFIG)[0] for each in (signals, other))
    torch.testing.assert_close(one, two)


def test_more_observations_than_are_independent_count_as_no_more(
    network: LatentModulatedSiren,
) -> None:
    flow = gaussian()
    signals, _ = partly_seen(network, flow)
    assert signals.observed is not None
    twice = Signals(
        torch.cat([signals.points] * 2),
        torch.cat([signals.features] * 2, 1),
        torch.cat([signals.observed] * 2, 1),
    )
    config = CONFIG.model_copy(update={"independent": 10.0, "steps": 15})
    once, again = (complete(network, flow, each, config)[0] for each in (signals, twice))
    torch.testing.assert_close(once, again, atol=1e-3, rtol=0)
    more = config.model_copy(update={"independent": 1000.0})
    once, again = (complete(network, flow, each, more)[0] for each in (signals, twice))
    nearer = [(phi - flow.mean).div(flow.deviation).square().sum(1).mean() for phi in (once, again)]
    assert nearer[0] < nearer[1], "the prior counts for less beside more observations"


def test_the_class_is_that_which_explains_what_is_seen(network: LatentModulatedSiren) -> None:
    class Apart(FlowPrior):
        """Two classes on either side of the first latent's mean."""

        def log_prob(self, modulations: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            return super().log_prob(modulations - self.shift(labels), labels)

        def from_latent(self, latent: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            return super().from_latent(latent, labels) + self.shift(labels)

        def shift(self, labels: Tensor) -> Tensor:
            return (2.0 * labels[:, None] - 1) * 2 * torch.eye(LATENTS)[0]

    flow = untrained(classes=2)
    flow.__class__ = Apart
    truth = torch.arange(10) % 2
    signals, _ = partly_seen(network, flow, 10, truth)
    config = CONFIG.model_copy(update={"draws": 100})
    phi, labels = complete(network, flow, signals, config)
    assert labels is not None
    assert labels.tolist() == truth.tolist()
    value = objective(network, flow, signals, phi, config, labels)
    other = objective(network, flow, signals, phi, config, 1 - labels)
    assert (value < other).all()
