"""The base network: initialisation, modulation, and its Jacobian at the origin."""

import pytest
import torch

from functory.fields.siren import LatentModulatedSiren, SirenConfig

CONFIG = SirenConfig(latents=6, width=16, depth=4, omega_0=20)


@pytest.fixture
def network() -> LatentModulatedSiren:
    torch.manual_seed(0)
    return LatentModulatedSiren(2, 3, CONFIG).double()


def test_forward_is_the_formula(network: LatentModulatedSiren) -> None:
    points, phi = torch.rand(5, 2).double(), torch.randn(2, 6).double()
    for signal in range(2):
        shifts = (network.modulation.weight @ phi[signal] + network.modulation.bias).split(16)
        hidden = points
        for layer, shift in zip(network.hidden, shifts, strict=True):
            hidden = torch.sin(20 * (hidden @ layer.weight.T + layer.bias + shift))
        expected = hidden @ network.last.weight.T + network.last.bias + 0.5
        torch.testing.assert_close(network(points, phi)[signal], expected)


def test_shared_and_own_points_give_the_same(network: LatentModulatedSiren) -> None:
    points, phi = torch.rand(5, 2).double(), torch.randn(4, 6).double()
    torch.testing.assert_close(network(points, phi), network(points.expand(4, -1, -1), phi))


def test_signals_and_points_may_be_permuted(network: LatentModulatedSiren) -> None:
    points, phi = torch.rand(7, 2).double(), torch.randn(4, 6).double()
    i, j = torch.randperm(4), torch.randperm(7)
    torch.testing.assert_close(network(points[j], phi[i]), network(points, phi)[i][:, j])


def test_initial_weights_have_the_papers_bounds() -> None:
    torch.manual_seed(0)
    network = LatentModulatedSiren(3, 1, SirenConfig(latents=4, width=256, depth=3, omega_0=30))
    first, second = network.hidden
    bound = (6 / 256) ** 0.5 / 30
    assert 0.95 / 3 < first.weight.abs().max() <= 1 / 3
    assert 0.99 * bound < second.weight.abs().max() <= bound
    assert not first.bias.any()
    assert not second.bias.any()


def test_jacobian_at_the_origin(network: LatentModulatedSiren) -> None:
    points = torch.rand(5, 2).double()
    f, jacobian = network.at_origin(points)
    zero = torch.zeros(6).double()
    torch.testing.assert_close(f, network(points, zero[None])[0])
    expected = torch.func.jacfwd(lambda phi: network(points, phi[None])[0])(zero)
    torch.testing.assert_close(jacobian, expected)


def test_jacobian_at_the_origin_is_differentiable(network: LatentModulatedSiren) -> None:
    points = torch.rand(3, 2).double()

    def total(weight: torch.Tensor) -> torch.Tensor:
        f, jacobian = torch.func.functional_call(
            _AtOrigin(network), {"network.hidden.1.weight": weight}, (points,)
        )
        return f.square().sum() + jacobian.square().sum()

    weight = network.hidden[1].weight.detach()[:2].clone()
    rest = network.hidden[1].weight.detach()[2:]
    assert torch.autograd.gradcheck(
        lambda some: total(torch.cat([some, rest])), weight.requires_grad_(), atol=1e-3
    )


class _AtOrigin(torch.nn.Module):
    def __init__(self, network: LatentModulatedSiren) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.at_origin(points)


def test_jacobian_works_without_gradients(network: LatentModulatedSiren) -> None:
    points = torch.rand(5, 2).double()
    expected = network.at_origin(points)[1].detach()
    for grad in (True, False):
        network.requires_grad_(grad)
        with torch.no_grad():
            f, jacobian = network.at_origin(points)
        assert not f.requires_grad
        assert not jacobian.requires_grad
        torch.testing.assert_close(jacobian, expected)
