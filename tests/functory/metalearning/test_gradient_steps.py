"""Gradient descent: the published steps, exactly, in value and in gradient."""

import pytest
import torch
from problem import small_network, small_signals
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.gradient_steps import GradientDescent, GradientSteps, MetaSGD
from functory.metalearning.solvers import build_solver
from functory.signals import Signals


def transcribed(
    network: LatentModulatedSiren, signals: Signals, steps: int, step_size: Tensor | float
) -> Tensor:
    """Equation 4.9, signal by signal, with nothing shared."""
    found = []
    for i in range(len(signals)):
        phi = torch.zeros(1, 5, dtype=torch.double, requires_grad=True)
        for _ in range(steps):
            one = signals.take(slice(i, i + 1))
            error = one.squared_error(network(one.points, phi)).sum()
            phi = phi - step_size * torch.autograd.grad(error, phi, create_graph=True)[0]
        found.append(phi)
    return torch.cat(found)


def outer(network: LatentModulatedSiren, signals: Signals, phi: Tensor) -> list[Tensor]:
    loss = signals.squared_error(network(signals.points, phi)).mean()
    return list(torch.autograd.grad(loss, list(network.parameters())))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("kind", [{}, {"gaps": True}, {"area": True}, {"own": True, "gaps": True}])
def test_gradient_descent_is_cavia(kind: dict[str, bool], recompute: bool, steps: int) -> None:
    network, data = small_network(), small_signals(**kind)
    solver = build_solver(GradientDescent(steps=steps, recompute=recompute), 5).double()
    phi, expected = solver(network, data), transcribed(network, data, steps, 1e-2)
    torch.testing.assert_close(phi, expected)
    gradients = outer(network, data, phi)
    torch.testing.assert_close(gradients, outer(network, data, expected))


def test_meta_sgd_learns_its_step_sizes() -> None:
    network, data = small_network(), small_signals()
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
