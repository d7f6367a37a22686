"""The flow prior: a normalised, invertible density that finds structure."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from functory.errors import InputError
from functory.models.flow_prior import FlowConfig, FlowPrior, FlowTraining, _invert, train_flow
from functory.training import Optimisation

TRAINING = FlowTraining(
    flow=FlowConfig(layers=3, width=32, dropout=0.0),
    optimisation=Optimisation(steps=150, batch=128, rate=5e-3, evaluate_every=50),
)


def bananas(count: int, seed: int) -> Tensor:
    """Return samples of a curved density of four dimensions with different scales."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, 4, generator=generator)
    bent = torch.stack([z[:, 0], z[:, 1] * 0.3 + z[:, 0] ** 2, z[:, 2], z[:, 3] + z[:, 2]], -1)
    return bent * torch.tensor([0.1, 1.0, 10.0, 100.0]) + torch.tensor([5.0, 0.0, -3.0, 1.0])


@pytest.fixture(scope="module")
def flow() -> FlowPrior:
    return train_flow(bananas(2000, 0), bananas(500, 1), TRAINING)[0]


def gaussian_bits(train: Tensor, test: Tensor) -> float:
    """Return bits per latent of standardised samples under independent normals."""
    standardised = (test - train.mean(0)) / train.std(0)
    nats = 0.5 * (standardised.square() + math.log(2 * math.pi))
    return float(nats.mean() / math.log(2))


def test_it_finds_structure(flow: FlowPrior) -> None:
    train, test = bananas(2000, 0), bananas(1000, 2)
    with torch.no_grad():
        bits = float(flow.bits_per_dimension(test).mean())
    assert bits < gaussian_bits(train, test) - 0.3


def test_density_is_that_of_an_untrained_normal() -> None:
    """With identity-free random layers the density must still integrate to one."""
    torch.manual_seed(0)
    flow = FlowPrior(torch.zeros(2), torch.tensor([0.5, 2.0]), FlowConfig(layers=2, width=8)).eval()
    x = torch.linspace(-6, 6, 241)
    grid = torch.stack(torch.meshgrid(x * 0.5, x * 2, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        mass = flow.log_prob(grid).exp().sum() * (0.05 * 0.5) * (0.05 * 2)
    assert float(mass) == pytest.approx(1, abs=0.02)


def test_transform_inverts(flow: FlowPrior) -> None:
    double = flow.double()
    x = (bananas(300, 3).double() - flow.mean) / (flow.deviation * 4)
    with torch.no_grad():
        back = _invert(double.transform, double.transform(x)[0])
    torch.testing.assert_close(back, x, atol=1e-8, rtol=0)
    flow.float()


def test_samples_look_like_the_data(flow: FlowPrior) -> None:
    drawn, data = flow.sample(4000, seed=0), bananas(4000, 4)
    torch.testing.assert_close(
        (drawn.mean(0) - data.mean(0)) / data.std(0), torch.zeros(4), atol=0.15, rtol=0
    )
    torch.testing.assert_close(drawn.std(0) / data.std(0), torch.ones(4), atol=0.15, rtol=0)
    with torch.no_grad():
        own, theirs = (float(flow.bits_per_dimension(v).mean()) for v in (drawn, data))
    assert own == pytest.approx(theirs, abs=0.15)


def test_samples_depend_on_the_seed_and_the_temperature(flow: FlowPrior) -> None:
    assert torch.equal(flow.sample(5, seed=1), flow.sample(5, seed=1))
    assert not torch.equal(flow.sample(5, seed=1), flow.sample(5, seed=2))
    spread = [float(flow.sample(500, t)[:, 2].std()) for t in (0.3, 0.6, 1.0)]
    assert spread == sorted(spread)


def test_one_bad_sample_does_not_cost_a_batch() -> None:
    class Brittle:
        def inverse(self, noise: Tensor) -> tuple[Tensor, None]:
            assert not (noise == 1).any(), "negative discriminant"
            return noise * 2, None

    noise = torch.arange(4.0, dtype=torch.float64)[:, None]
    torch.testing.assert_close(_invert(Brittle(), noise), noise * 2, atol=1e-8, rtol=1e-8)


def test_likelihood_does_not_depend_on_scale() -> None:
    train, test = bananas(500, 0), bananas(100, 1)
    short = TRAINING.model_copy(
        update={"optimisation": Optimisation(steps=5, batch=64, rate=1e-3, evaluate_every=5)}
    )
    one, other = (
        train_flow(train * s, test * s, short)[1].rows[-1]["log2_likelihood"] for s in (1.0, 64.0)
    )
    assert one == pytest.approx(other, abs=1e-4)


def test_a_constant_latent_is_no_trouble() -> None:
    data = torch.cat([bananas(300, 0), torch.full((300, 1), 7.0)], 1)
    flow, history = train_flow(
        data[:200],
        data[200:],
        TRAINING.model_copy(update={"optimisation": Optimisation(steps=5, batch=64, rate=1e-3)}),
    )
    assert math.isfinite(history.rows[-1]["log2_likelihood"])
    assert torch.isfinite(flow.sample(10)).all()


def test_one_latent_is_refused() -> None:
    with pytest.raises(InputError, match="two latents"):
        FlowPrior(torch.zeros(1), torch.ones(1), FlowConfig())


def test_resume_gives_the_same_flow(tmp_path: Path) -> None:
    config = FlowTraining(
        flow=FlowConfig(layers=2, width=16, dropout=0.3),
        optimisation=Optimisation(steps=12, batch=64, rate=1e-3, checkpoint_every=4),
    )
    train, test = bananas(200, 0), bananas(50, 1)
    whole, _ = train_flow(train, test, config)
    checkpoint = tmp_path / "checkpoint"

    def stop(values: Tensor, generator: torch.Generator | None) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return values

    calls = 0
    with pytest.raises(KeyboardInterrupt):
        train_flow(train, test, config, checkpoint, perturb=stop)
    resumed, _ = train_flow(train, test, config, checkpoint)
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)
