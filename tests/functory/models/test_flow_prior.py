"""The flow prior: a normalised, invertible density that finds structure."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from functory.errors import InputError
from functory.models.flow_prior import FlowConfig, FlowPrior, FlowTraining, _invert, train_flow
from functory.optimisation import Optimisation

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
        back = _invert(double.transform, double.transform(x)[0], None)
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


class Brittle:
    """A transform that fails where noise is one, and adds ten times what it depends on."""

    def inverse(self, noise: Tensor, context: Tensor | None) -> tuple[Tensor, None]:
        assert not (noise == 1).any(), "negative discriminant"
        return noise * 2 + (0 if context is None else 10 * context), None


@pytest.mark.parametrize("bad", [0, 1, 4])
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_one_bad_sample_does_not_cost_a_batch(count: int, bad: int) -> None:
    noise = (torch.arange(count, dtype=torch.float64) - bad + 1)[:, None]
    context = torch.arange(count, dtype=torch.float64)[:, None] ** 2
    found = _invert(Brittle(), noise, None)
    torch.testing.assert_close(found, noise * 2, atol=1e-8, rtol=1e-8)
    found = _invert(Brittle(), noise, context)
    torch.testing.assert_close(found, noise * 2 + 10 * context, atol=1e-8, rtol=1e-8)


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


# Flows of classes

CENTRES = torch.tensor([[-4.0, 0.0, 1.0], [4.0, 1.0, -1.0], [0.0, 6.0, 0.0]])


def clusters(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return samples of three separate classes, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(CENTRES), (count,), generator=generator)
    return CENTRES[labels] + torch.randn(count, 3, generator=generator), labels


@pytest.fixture(scope="module")
def conditional() -> FlowPrior:
    training, held_out = clusters(1500, 0), clusters(300, 1)
    labels = (training[1], held_out[1])
    return train_flow(training[0], held_out[0], TRAINING, labels=labels)[0]


def random_flow(latents: int, classes: int) -> FlowPrior:
    """Return a flow that is far from the identity, and from one class to the next."""
    torch.manual_seed(4)
    deviation = torch.linspace(0.5, 2, latents)
    flow = FlowPrior(torch.ones(latents), deviation, FlowConfig(layers=3, width=8), classes)
    with torch.no_grad():
        for parameter in flow.transform.parameters():
            parameter.mul_(1.5)
    return flow.eval()


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("latents", [2, 3, 8])
def test_there_and_back(latents: int, classes: int) -> None:
    flow = random_flow(latents, classes)
    x = 1 + 2 * torch.randn(200, latents)
    labels = torch.arange(200) % classes if classes else None
    with torch.no_grad():
        latent = flow.to_latent(x, labels)
        torch.testing.assert_close(flow.from_latent(latent, labels), x, atol=2e-3, rtol=1e-3)
        back = flow.to_latent(flow.from_latent(x, labels), labels)
    torch.testing.assert_close(back, x, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("latents", [2, 3])
def test_the_density_is_that_of_the_change_of_variables(latents: int, classes: int) -> None:
    flow = random_flow(latents, classes).double()
    x = 1 + torch.randn(20, latents, dtype=torch.float64)
    labels = torch.arange(20) % classes if classes else None
    for i in range(20):
        label = None if labels is None else labels[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda one, label=label: flow.to_latent(one[None], label)[0], x[i]
        )
        noise = flow.to_latent(x[i : i + 1], label)
        normal = -0.5 * (noise.square().sum() + latents * math.log(2 * math.pi))
        expected = normal + torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(flow.log_prob(x[i : i + 1], label)[0], expected)


def test_the_density_of_every_class_integrates_to_one() -> None:
    flow = random_flow(2, 3)
    x = torch.linspace(-9, 9, 361) * 1.5 + 1
    grid = torch.cartesian_prod(x, x)
    for label in range(3):
        with torch.no_grad():
            density = flow.log_prob(grid, torch.full((len(grid),), label)).exp()
        assert float(density.sum() * (x[1] - x[0]) ** 2) == pytest.approx(1, abs=0.02)


def test_samples_are_of_the_class_that_is_asked_for(conditional: FlowPrior) -> None:
    labels = torch.arange(600) % 3
    drawn = conditional.sample(600, seed=0, labels=labels)
    nearest = torch.cdist(drawn, CENTRES).argmin(1)
    assert (nearest == labels).float().mean() > 0.95
    for label in range(3):
        mean = drawn[labels == label].mean(0)
        torch.testing.assert_close(mean, CENTRES[label], atol=0.4, rtol=0)


def test_samples_are_denser_under_their_own_class(conditional: FlowPrior) -> None:
    values, labels = clusters(300, 2)
    with torch.no_grad():
        densities = [conditional.log_prob(values, (labels + shift) % 3) for shift in range(3)]
    assert (torch.stack(densities).argmax(0) == 0).float().mean() > 0.97


def test_samples_of_classes_depend_on_the_seed_and_their_own_label_alone(
    conditional: FlowPrior,
) -> None:
    labels = torch.arange(9) % 3
    drawn = conditional.sample(9, seed=5, labels=labels)
    assert torch.equal(conditional.sample(9, seed=5, labels=labels), drawn)
    assert not torch.equal(conditional.sample(9, seed=6, labels=labels), drawn)
    other = conditional.sample(9, seed=5, labels=torch.where(labels == 2, 0, labels))
    changed = (other != drawn).any(1)
    assert torch.equal(changed, labels == 2)


def test_labels_are_given_where_there_are_classes_and_only_there() -> None:
    plain, of_classes = random_flow(3, 0), random_flow(3, 2)
    x, labels = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
    for flow, given in ((plain, labels), (of_classes, None)):
        for wrong in (
            lambda flow=flow, given=given: flow.log_prob(x, given),
            lambda flow=flow, given=given: flow.to_latent(x, given),
            lambda flow=flow, given=given: flow.from_latent(x, given),
            lambda flow=flow, given=given: flow.bits_per_dimension(x, given),
            lambda flow=flow, given=given: flow.sample(4, labels=given),
        ):
            with pytest.raises(ValueError, match="labels are for class-conditional flows"):
                wrong()
