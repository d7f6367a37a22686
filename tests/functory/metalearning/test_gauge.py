"""The gauge: the same functions, with modulations that are white, uncorrelated and in order."""

import torch
from problem import small_network, small_signals
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.gauge import fix_gauge
from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.signals import Signals

SOLVER = GaussNewtonSteps(GaussNewton(damping=1e-9))


def fixed(area: bool = False) -> tuple[LatentModulatedSiren, Signals, Tensor]:
    network, data = small_network(), small_signals(area=area)
    many = torch.rand(40, 20, 2, generator=torch.Generator().manual_seed(3)).double()
    data = Signals(data.points, many, area=data.area)
    return network, data, fix_gauge(network, SOLVER, data)


def test_the_functions_stay_as_they_are() -> None:
    network, data = small_network(), small_signals()
    before = network(data.points, SOLVER(network, data))
    fix_gauge(network, SOLVER, data)
    after = network(data.points, SOLVER(network, data))
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)


def test_signals_with_gaps_have_the_gauge_of_their_grid() -> None:
    network, data = small_network(), small_signals(gaps=True)
    before = network(data.points, SOLVER(network, data))
    fix_gauge(network, SOLVER, data)
    rows = network.at_origin(data.points)[1].flatten(0, 1)
    torch.testing.assert_close(rows.mT @ rows / 40, torch.eye(5).double(), atol=1e-6, rtol=0)
    after = network(data.points, SOLVER(network, data))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_equal_steps_of_all_latents_change_the_functions_equally() -> None:
    for area in (False, True):
        network, data, _ = fixed(area)
        rows = network.at_origin(data.points)[1].flatten(0, 1)
        weights = torch.ones(20).double() if data.area is None else data.area
        weights = (weights / weights.sum() / 2).repeat_interleave(2)
        gram = rows.mT @ (weights[:, None] * rows)
        torch.testing.assert_close(gram, torch.eye(5).double(), atol=1e-6, rtol=0)


def test_the_modulations_are_uncorrelated_and_sorted() -> None:
    network, data, variances = fixed()
    found = SOLVER(network, data).detach().mT.cov()
    torch.testing.assert_close(found, variances.diag(), atol=1e-6 * float(variances[0]), rtol=0)
    assert (variances.diff() <= 0).all()


def test_fixing_it_again_changes_nothing() -> None:
    network, data, variances = fixed()
    weight = network.modulation.weight.detach().clone()
    torch.testing.assert_close(fix_gauge(network, SOLVER, data), variances)
    torch.testing.assert_close(network.modulation.weight.detach(), weight, atol=1e-6, rtol=1e-6)
