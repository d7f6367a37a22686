"""Rate and distortion: the bits of the density, the derived weight, and training on both."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from functory.coding.quantisation import StepQuantiser
from functory.coding.rounding import marginal_bits, matched_weight
from functory.fields.siren import SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewtonSteps
from functory.metalearning.outer import MetaLearning, MetaModel, build_model, meta_learn, tune_rate
from functory.metalearning.rate_distortion import (
    LatentDensity,
    RateDistortion,
    RateDistortionLoss,
    sort_latents,
)
from functory.metalearning.tangent import TangentStart
from functory.optimisation import Optimisation
from functory.signals import Signals

STEP = 0.1
RATE = RateDistortion(
    step=STEP,
    optimisation=Optimisation(steps=24, batch=16, rate=2e-3, evaluate_every=12, checkpoint_every=8),
)
CONFIG = MetaLearning(
    network=SirenConfig(latents=4, width=12, depth=3, omega_0=10),
    tangent=TangentStart(steps=20),
    optimisation=Optimisation(steps=20, batch=8, rate=2e-3, evaluate_every=20, checkpoint_every=8),
    device="cpu",
)


def waves(seed: int = 0) -> Signals:
    """Return sums of waves whose amplitudes fall from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, 40)[:, None]
    basis = torch.sin(x * torch.arange(1, 7) + torch.arange(6)) * 0.6 ** torch.arange(6)
    features = 0.5 + 0.2 * torch.randn(48, 6, generator=generator) @ basis.mT
    return Signals(x, features[..., None])


@pytest.fixture(scope="module")
def learned() -> MetaModel:
    return meta_learn(waves(), waves(1), CONFIG)[0]


def copy_of(model: MetaModel) -> MetaModel:
    again = build_model(1, 1, CONFIG)
    again.load_state_dict(model.state_dict())
    return again.eval()


def samples() -> Tensor:
    """Return latents of one mode, two modes, a constant, and a long tail."""
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(2, 200, generator=generator)
    return torch.stack([a, a.sign() + 0.1 * b, torch.full_like(a, 3.0), b**3], 1)


def test_the_masses_of_all_steps_sum_to_one() -> None:
    density = LatentDensity(samples())
    for step in (0.05, 0.7, 30.0):
        grid = (torch.arange(-20_000, 20_001) * step).double()[:, None].expand(-1, 4)
        mass = torch.exp2(-density.double().bits(grid, step)).sum(0)
        torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-6, rtol=0)


def test_bits_far_from_everything_are_finite_and_have_a_gradient() -> None:
    density, far = LatentDensity(samples()), torch.tensor([[1e4, -1e4, 1e4, -1e4]])
    bits = density.bits(far.requires_grad_(), 0.1).sum()
    (slope,) = torch.autograd.grad(bits, far)
    assert torch.isfinite(bits)
    assert (slope.sign() == far.sign()).all()  # what is nearer to the others is cheaper


def test_half_the_step_costs_a_bit_more_at_high_rates() -> None:
    density, data = LatentDensity(samples()), samples()
    dear, cheap = (density.bits(data, step) for step in (0.001, 0.002))
    varying = [0, 1, 3]
    torch.testing.assert_close((dear - cheap)[:, varying], torch.ones(200, 3), atol=1e-2, rtol=0)


def test_the_derived_weight_makes_its_step_the_best() -> None:
    # a wide normal latent: D = q²/12, R = h - log2 q, by the mass of steps of a density
    values = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0)).double() * 10
    density, step = LatentDensity(values).double(), 0.5

    def cost(q: float) -> float:
        error = (torch.round(values / q) * q - values).square().mean()
        return float(error + matched_weight(step) * density.bits(values, q).mean().detach())

    assert cost(step) < min(cost(0.8 * step), cost(1.25 * step))


def test_the_network_costs_less_after_training_for_it(learned: MetaModel) -> None:
    data = waves()

    def cost(model: MetaModel) -> float:
        """Return D + lambda R of the training signals' rounded modulations, as they are counted."""
        phi, _ = fit(model.network, model.solver, data)
        quantiser = StepQuantiser.fit(phi.numpy(), STEP)
        symbols = quantiser.quantise(phi.numpy())
        bits = marginal_bits(symbols, quantiser)[np.arange(4), symbols].sum(1).mean()
        with torch.no_grad():
            found = model.network(data.points, torch.from_numpy(quantiser.dequantise(symbols)))
        error = data.squared_error(found).mean()
        return float(error) + matched_weight(STEP) * float(bits)

    model = copy_of(learned)
    history = tune_rate(model, data, waves(1), CONFIG, RATE)
    assert cost(model) < 0.97 * cost(learned)
    assert history.rows[-1]["step"] == RATE.optimisation.steps
    assert all(math.isfinite(value) for row in history.rows for value in row.values())


def test_a_dearer_bit_leaves_fewer_of_them(learned: MetaModel) -> None:
    bits = []
    for factor in (1, 30):
        rate = RATE.model_copy(update={"weight": 40 * factor * matched_weight(STEP)})
        history = tune_rate(copy_of(learned), waves(), waves(1), CONFIG, rate)
        bits.append(history.rows[-1]["bits_per_value"])
    assert bits[1] < 0.9 * bits[0]


def test_what_is_measured_is_of_rounded_modulations(learned: MetaModel) -> None:
    assert isinstance(learned.solver, GaussNewtonSteps)
    errors = {}
    for step in (1e-6, 0.5):
        loss = RateDistortionLoss(learned.network, learned.solver, waves(), step)
        errors[step] = loss.measure(waves(1))
    assert errors[1e-6]["psnr_rounded"] == pytest.approx(errors[1e-6]["psnr"], abs=1e-3)
    assert errors[0.5]["psnr_rounded"] < errors[0.5]["psnr"]
    assert errors[0.5]["bits_per_value"] < errors[1e-6]["bits_per_value"]


def test_latents_are_sorted_and_the_functions_stay(learned: MetaModel) -> None:
    model, data = copy_of(learned), waves()
    assert isinstance(model.solver, GaussNewtonSteps)
    with torch.no_grad():
        weight = model.network.modulation.weight
        weight.copy_(weight.flip(1))
    before, _ = fit(model.network, model.solver, data)
    sort_latents(model.network, model.solver, data)
    after, _ = fit(model.network, model.solver, data)
    torch.testing.assert_close(after, before.flip(1), atol=1e-4, rtol=1e-4)
    assert (after.var(0).diff() <= 0).all()


def test_a_null_rate_leaves_meta_learning_as_it_is_and_a_rate_follows_it(
    learned: MetaModel, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"rate": RATE})
    model, history = meta_learn(waves(), waves(1), config, tmp_path / "state")
    expected = copy_of(learned)
    tuned = tune_rate(expected, waves(), waves(1), config, RATE)
    for name, value in model.state_dict().items():
        assert torch.equal(expected.state_dict()[name], value)
    assert [row["step"] for row in history.rows] == [20, 32, 44]
    assert history.rows[1:] == [row | {"step": 20 + row["step"]} for row in tuned.rows]
    assert math.isnan(history.rows[0]["bits_per_value"])
    # a run killed after its last step has nothing left to train
    again, _ = meta_learn(waves(), waves(1), config, tmp_path / "state")
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_run_killed_in_the_last_phase_resumes_to_the_same_network(
    learned: MetaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, killed = copy_of(learned), copy_of(learned)
    tune_rate(expected, waves(), waves(1), CONFIG, RATE)
    real, calls = RateDistortionLoss.__call__, 0

    def deadly(*arguments: object) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 11:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RateDistortionLoss, "__call__", deadly)
        with pytest.raises(KeyboardInterrupt):
            tune_rate(killed, waves(), waves(1), CONFIG, RATE, tmp_path / "state")
    resumed = copy_of(learned)
    tune_rate(resumed, waves(), waves(1), CONFIG, RATE, tmp_path / "state")
    for name, value in expected.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_a_rate_without_a_gauge_is_refused() -> None:
    with pytest.raises(ValidationError, match="rate needs the solver 'gauss-newton'"):
        MetaLearning.model_validate({"solver": {"kind": "meta-sgd"}, "rate": {"step": 0.01}})
