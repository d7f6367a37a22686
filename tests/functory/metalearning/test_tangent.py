"""The tangent start: a closed form for the modulation matrix, and what it makes of training."""

import torch
from problem import small_network

from functory.fields.siren import SirenConfig
from functory.metalearning.gauss_newton import GaussNewton
from functory.metalearning.outer import MetaLearning, meta_learn
from functory.metalearning.tangent import TangentLoss, TangentStart
from functory.optimisation import Optimisation
from functory.signals import Signals


def waves(count: int = 40) -> Signals:
    """Return sums of three standing waves: what three principal components describe exactly."""
    generator = torch.Generator().manual_seed(0)
    points = torch.linspace(-1, 1, 30).double()[:, None]
    basis = torch.cat([torch.sin(2 * points), torch.cos(3 * points), points**2], dim=1)
    amplitudes = torch.rand(count, 3, generator=generator).double()
    return Signals(points.expand(-1, 2), (amplitudes @ basis.mT)[..., None].expand(-1, -1, 2))


def test_the_loss_is_that_of_the_best_shifts_of_every_signal() -> None:
    network, data, penalty = small_network(), waves(), 1e-3
    objective = TangentLoss(data, 5, penalty)
    objective.solve(network)
    f, jacobian = network.at_origin(data.points)
    matrix, rows = network.modulation.weight, jacobian.flatten(0, 1)
    residual = (data.features - f).flatten(1)
    normal = rows.mT @ rows / len(rows) + penalty * matrix.mT @ matrix
    phi = torch.linalg.solve(normal, rows.mT @ residual.mT / len(rows)).mT
    error = (residual - phi @ rows.mT).square().mean(1)
    cost = penalty * (phi @ matrix.mT).square().sum(1)
    loss = objective(network, slice(None))
    torch.testing.assert_close((error + cost).mean(), loss, rtol=1e-5, atol=0)


def test_no_other_matrix_is_better() -> None:
    network, data, penalty = small_network(), waves(), 1e-3
    objective = TangentLoss(data, 2, penalty)
    best = float(objective(network, slice(None)).detach())
    f, sensitivities = network.sensitivities(data.points)
    rows, residual = sensitivities.flatten(0, 1), (data.features - f).flatten(1)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(rows.shape[1], 2, generator=generator).double()
        basis = rows @ matrix
        normal = basis.mT @ basis / len(rows) + penalty * matrix.mT @ matrix
        phi = torch.linalg.solve(normal, basis.mT @ residual.mT / len(rows)).mT
        error = (residual - phi @ basis.mT).square().mean(1)
        cost = penalty * (phi @ matrix.mT).square().sum(1)
        assert float((error + cost).mean().detach()) > best


def test_its_gradient_is_exact_although_directions_are_held() -> None:
    network, objective = small_network(), TangentLoss(waves(), 2, 1e-3)
    weight = network.hidden[1].weight
    assert isinstance(weight, torch.nn.Parameter)
    (gradient,) = torch.autograd.grad(objective(network, slice(None)), weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        weight += 1e-6 * direction
        above = objective(network, slice(None))
        weight -= 2e-6 * direction
        below = objective(network, slice(None))
    torch.testing.assert_close(
        (gradient * direction).sum(), (above - below) / 2e-6, rtol=1e-4, atol=0
    )


def test_training_from_it_starts_where_training_without_it_has_not_come() -> None:
    data = waves()
    data = Signals(data.points.float(), data.features.float())

    def trained(tangent: TangentStart | None) -> float:
        config = MetaLearning(
            network=SirenConfig(latents=3, width=16, depth=3, omega_0=10),
            solver=GaussNewton(),
            tangent=tangent,
            optimisation=Optimisation(steps=5, batch=8, rate=1e-4, evaluate_every=5),
            device="cpu",
        )
        return meta_learn(data, data, config)[1].rows[-1]["psnr"]

    assert trained(TangentStart(steps=60, penalty=1)) > trained(None) + 6
