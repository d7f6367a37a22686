"""Inner solvers: the published steps, exactly, in value and in gradient."""

import pytest
import torch
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.solvers import (
    GaussNewton,
    GradientDescent,
    GradientSteps,
    MetaSGD,
    build_solver,
)
from functory.signals import Signals

ROBUST = [GradientDescent(), GaussNewton(steps=2)]
CONFIG = SirenConfig(latents=5, width=12, depth=4, omega_0=15)


@pytest.fixture
def network() -> LatentModulatedSiren:
    torch.manual_seed(0)
    return LatentModulatedSiren(2, 2, CONFIG).double()


def signals(gaps: bool = False) -> Signals:
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(3, 20, 2, generator=generator).double()
    points = torch.rand(20, 2, generator=generator).double() * 2 - 1
    if not gaps:
        return Signals(points, features)
    observed = (torch.rand(3, 20, 1, generator=generator) > 0.3).double()
    return Signals(points, features * observed, observed)


def transcribed(
    network: LatentModulatedSiren, signals: Signals, steps: int, step_size: Tensor | float
) -> Tensor:
    """Equation 4.9, signal by signal, with nothing shared."""
    found = []
    for i in range(len(signals)):
        phi = torch.zeros(1, 5, dtype=torch.double, requires_grad=True)
        for _ in range(steps):
            error = signals.take(slice(i, i + 1)).squared_error(network(signals.points, phi)).sum()
            phi = phi - step_size * torch.autograd.grad(error, phi, create_graph=True)[0]
        found.append(phi)
    return torch.cat(found)


def outer(network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> list[Tensor]:
    loss = signals.squared_error(network(signals.points, phi)).mean()
    return list(torch.autograd.grad(loss, list(network.parameters())))


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_descent_is_cavia(
    network: LatentModulatedSiren, gaps: bool, recompute: bool, steps: int
) -> None:
    data = signals(gaps)
    solver = build_solver(GradientDescent(steps=steps, recompute=recompute), 5).double()
    phi, expected = solver(network, data), transcribed(network, data, steps, 1e-2)
    torch.testing.assert_close(phi, expected)
    gradients = outer(network, data, phi)
    torch.testing.assert_close(gradients, outer(network, data, expected))


def test_meta_sgd_learns_its_step_sizes(network: LatentModulatedSiren) -> None:
    data = signals()
    solver = build_solver(MetaSGD(), 5).double()
    assert isinstance(solver, GradientSteps)
    assert isinstance(solver.step_size, torch.nn.Parameter)
    assert ((solver.step_size >= 0.005) & (solver.step_size <= 0.1)).all()
    phi = solver(network, data)
    torch.testing.assert_close(phi, transcribed(network, data, 3, solver.step_size.detach()))
    loss = data.squared_error(network(data.points, phi)).mean()
    (gradient,) = torch.autograd.grad(loss, solver.step_size)
    assert gradient.abs().min() > 0
    with torch.no_grad():
        solver.step_size.copy_(torch.tensor([-1, 0.5, 2, 0, 1]))
    solver.project()
    assert solver.step_size.tolist() == [0, 0.5, 1, 0, 1]


@pytest.mark.parametrize("config", ROBUST)
def test_signals_do_not_see_each_other(
    network: LatentModulatedSiren, config: GradientDescent | GaussNewton
) -> None:
    data, solver = signals(gaps=True), build_solver(config, 5).double()
    together = solver(network, data)
    alone = torch.cat([solver(network, data.take(slice(i, i + 1))) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("config", ROBUST)
def test_points_may_be_permuted(
    network: LatentModulatedSiren, config: GradientDescent | GaussNewton
) -> None:
    data, solver = signals(gaps=True), build_solver(config, 5).double()
    order = torch.randperm(20)
    torch.testing.assert_close(solver(network, data.at(order)), solver(network, data))


@pytest.mark.parametrize("config", ROBUST)
def test_unobserved_values_do_not_matter(
    network: LatentModulatedSiren, config: GradientDescent | GaussNewton
) -> None:
    data, solver = signals(gaps=True), build_solver(config, 5).double()
    assert data.observed is not None
    other = Signals(data.points, data.features + 7 * (1 - data.observed), data.observed)
    torch.testing.assert_close(solver(network, other), solver(network, data))


@pytest.mark.parametrize("config", [GradientDescent(), MetaSGD()])
def test_fitting_needs_no_graph_and_improves(
    network: LatentModulatedSiren, config: GradientDescent | MetaSGD
) -> None:
    data, solver = signals(), build_solver(config, 5).double()
    network.requires_grad_(False)
    phi, statistics = fit(network, solver, data, weights=torch.ones(20).double())
    assert not phi.requires_grad
    at_zero = data.squared_error(network(data.points, torch.zeros(3, 5).double()))
    assert (statistics["mse"] < at_zero).all()
    longer = fit(network, solver, data, steps=20, weights=torch.ones(20).double())[1]
    assert (longer["mse"] < statistics["mse"]).all()


@pytest.mark.parametrize("gaps", [False, True])
def test_gauss_newton_is_ridge_regression_on_the_jacobian(
    network: LatentModulatedSiren, gaps: bool
) -> None:
    data, damping = signals(gaps), 1e-3
    found = build_solver(GaussNewton(damping=damping), 5)(network, data)
    f, jacobian = network.at_origin(data.points)
    for i in range(len(data)):
        seen = (
            torch.ones(20, dtype=torch.bool)
            if data.observed is None
            else data.observed[i, :, 0] > 0
        )
        rows = jacobian[seen].flatten(0, 1)
        residual = (data.features[i] - f)[seen].flatten()
        # the same problem as one of plain least squares, with rows that pull to zero
        pull = (damping * len(rows)) ** 0.5 * torch.eye(5).double()
        system = torch.cat([rows, pull]), torch.cat([residual, torch.zeros(5).double()])
        expected = torch.linalg.lstsq(system[0], system[1][:, None]).solution[:, 0]
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("gaps", [False, True])
def test_more_gauss_newton_steps_find_a_stationary_point(
    network: LatentModulatedSiren, gaps: bool
) -> None:
    data, config = signals(gaps), GaussNewton(steps=200, damping=3)
    phi = build_solver(config, 5)(network.requires_grad_(False), data).detach().requires_grad_()
    objective = data.squared_error(network(data.points, phi)).sum() + 3 * phi.square().sum()
    (gradient,) = torch.autograd.grad(objective, phi)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-8, rtol=0)


def test_the_outer_gradient_of_gauss_newton_is_exact(network: LatentModulatedSiren) -> None:
    data, solver = signals(gaps=True), build_solver(GaussNewton(steps=2), 5)
    weight = network.hidden[1].weight
    assert isinstance(weight, torch.nn.Parameter)

    def loss() -> Tensor:
        return data.squared_error(network(data.points, solver(network, data))).mean()

    (gradient,) = torch.autograd.grad(loss(), weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        weight += 1e-6 * direction
        above = loss()
        weight -= 2e-6 * direction
        below = loss()
    slope = (above - below) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-10)
