"""Gauss-Newton: the linear problem solved exactly, its gradient, and the limit of many steps."""

import pytest
import torch
from problem import small_network, small_signals
from torch import Tensor

from functory.metalearning import gauss_newton
from functory.metalearning.gauss_newton import GaussNewton
from functory.metalearning.solvers import build_solver


@pytest.mark.parametrize("kind", [{}, {"gaps": True}, {"area": True}, {"own": True, "gaps": True}])
def test_a_step_is_ridge_regression_on_the_jacobian(kind: dict[str, bool]) -> None:
    network, data, damping = small_network(), small_signals(**kind), 1e-3
    found = build_solver(GaussNewton(damping=damping), 5)(network, data)
    for i in range(len(data)):
        one = data.take(slice(i, i + 1))
        origin = torch.zeros(1, 5).double()
        f, jacobian = (t[0] for t in network.linearised(one.points, origin))
        weights = one.weights()
        root = torch.ones(20) if weights is None else weights[0, :, 0].sqrt()
        rows = (root[:, None, None] * jacobian).flatten(0, 1)
        residual = (root[:, None] * (one.features[0] - f)).flatten()
        # the same problem as one of plain least squares, with rows that pull to zero
        pull = (damping * rows.square().sum() / 5).sqrt() * torch.eye(5).double()
        system = torch.cat([rows, pull]), torch.cat([residual, torch.zeros(5).double()])
        expected = torch.linalg.lstsq(system[0], system[1][:, None]).solution[:, 0]
        torch.testing.assert_close(found[i], expected)


@pytest.mark.parametrize("gaps", [False, True])
def test_more_steps_find_a_stationary_point(gaps: bool) -> None:
    network, data = small_network().requires_grad_(False), small_signals(gaps)
    solver = build_solver(GaussNewton(steps=200, damping=3), 5)
    phi = solver(network, data).detach().requires_grad_()
    (slope,) = torch.autograd.grad(data.squared_error(network(data.points, phi)).sum(), phi)
    _, jacobian = network.linearised(data.points, phi)
    weights = 1 if data.observed is None else data.observed[..., None]
    pull = 3 * (jacobian.square() * weights).sum((1, 2, 3)) / 5 / data.count()
    torch.testing.assert_close(slope / 2, -pull[:, None] * phi, atol=1e-8, rtol=0)


def test_the_outer_gradient_is_exact() -> None:
    network, data = small_network(), small_signals(gaps=True)
    solver = build_solver(GaussNewton(steps=2), 5)
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


def test_blocks_of_points_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = small_network(), small_signals(gaps=True, area=True)
    solver = build_solver(GaussNewton(steps=2), 5)
    with torch.no_grad():
        whole = solver(network, data)
        monkeypatch.setattr(gauss_newton, "BLOCK", 3 * 2 * 36 * 7)  # seven points at once
        torch.testing.assert_close(solver(network, data), whole)


def test_a_signal_without_observations_stays_at_zero() -> None:
    network, data = small_network(), small_signals(gaps=True)
    assert data.observed is not None
    data.observed[1] = 0
    phi = build_solver(GaussNewton(steps=2), 5)(network, data)
    assert phi[1].abs().max() == 0
    assert phi[[0, 2]].isfinite().all()
