"""What holds for every inner solver."""

import pytest
import torch
from problem import small_network, small_signals

from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewton
from functory.metalearning.gradient_steps import GradientDescent, MetaSGD
from functory.metalearning.solvers import SolverConfig, build_solver
from functory.signals import Signals

ROBUST = [GradientDescent(), GaussNewton(steps=2)]


@pytest.mark.parametrize("config", ROBUST)
def test_signals_do_not_see_each_other(config: SolverConfig) -> None:
    network, data = small_network(), small_signals(gaps=True)
    solver = build_solver(config, 5).double()
    together = solver(network, data)
    alone = torch.cat([solver(network, data.take(slice(i, i + 1))) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("config", ROBUST)
def test_points_may_be_permuted(config: SolverConfig) -> None:
    network, data = small_network(), small_signals(gaps=True)
    solver = build_solver(config, 5).double()
    order = torch.randperm(20)
    torch.testing.assert_close(solver(network, data.at(order)), solver(network, data))


@pytest.mark.parametrize("config", ROBUST)
def test_unobserved_values_do_not_matter(config: SolverConfig) -> None:
    network, data = small_network(), small_signals(gaps=True)
    solver = build_solver(config, 5).double()
    assert data.observed is not None
    other = Signals(data.points, data.features + 7 * (1 - data.observed), data.observed)
    torch.testing.assert_close(solver(network, other), solver(network, data))


@pytest.mark.parametrize("config", [GradientDescent(), MetaSGD()])
def test_fitting_needs_no_graph_and_improves(config: SolverConfig) -> None:
    network, data = small_network(), small_signals()
    solver = build_solver(config, 5).double()
    network.requires_grad_(False)
    phi, statistics = fit(network, solver, data)
    assert not phi.requires_grad
    at_zero = data.squared_error(network(data.points, torch.zeros(3, 5).double()))
    assert (statistics["mse"] < at_zero).all()
    longer = fit(network, solver, data, steps=20)[1]
    assert (longer["mse"] < statistics["mse"]).all()


@pytest.mark.parametrize("config", ROBUST)
def test_points_of_their_own_make_no_difference_where_they_are_the_same(
    config: SolverConfig,
) -> None:
    network, data = small_network(), small_signals()
    own = Signals(data.points.expand(3, -1, -1), data.features)
    solver = build_solver(config, 5).double()
    torch.testing.assert_close(solver(network, own), solver(network, data))


@pytest.mark.parametrize("config", ROBUST)
def test_a_shorter_signal_is_one_that_was_padded(config: SolverConfig) -> None:
    network, data = small_network(), small_signals(own=True)
    solver = build_solver(config, 5).double()
    short = solver(network, data.at(slice(0, 12)))
    observed = torch.ones(3, 20, 1).double()
    observed[:, 12:] = 0
    padded = Signals(data.points, data.features * observed, observed)
    torch.testing.assert_close(solver(network, padded), short)


@pytest.mark.parametrize("config", ROBUST)
def test_a_weight_of_two_is_a_point_given_twice(config: SolverConfig) -> None:
    network, data = small_network(), small_signals()
    solver = build_solver(config, 5).double()
    twice = solver(network, data.at(torch.tensor([*range(20), 3, 7])))
    area = torch.ones(20).double()
    area[[3, 7]] = 2
    weighted = Signals(data.points, data.features, area=area)
    torch.testing.assert_close(solver(network, weighted), twice)
