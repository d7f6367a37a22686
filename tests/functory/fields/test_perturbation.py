"""Perturbation analysis: each effect is that of changing one shift, or one latent, for real."""

import pytest
import torch
from torch import Tensor

from functory.fields.perturbation import difference_maps, perturb
from functory.fields.siren import LatentModulatedSiren, SirenConfig

WIDTH, LAYERS, LATENTS = 7, 3, 5
AMOUNT = -0.01


@pytest.fixture
def network() -> LatentModulatedSiren:
    torch.manual_seed(0)
    config = SirenConfig(latents=LATENTS, width=WIDTH, depth=LAYERS + 1, omega_0=15)
    return LatentModulatedSiren(2, 3, config).double()


@pytest.fixture
def points() -> Tensor:
    return torch.rand(40, 2).double()


@pytest.fixture
def latents() -> Tensor:
    return torch.randn(4, LATENTS).double()


def with_hook(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor, unit: int, amount: float
) -> Tensor:
    """Evaluate the functions with one shift changed by a hook on the map that gives the shifts."""

    def change(_: object, __: object, shifts: Tensor) -> Tensor:
        changed = shifts.clone()
        changed[:, unit] += amount
        return changed

    handle = network.modulation.register_forward_hook(change)
    with torch.no_grad():
        found = network(points, latents)
    handle.remove()
    return found


def test_effects_of_shifts_are_those_of_changing_them(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor
) -> None:
    effects = perturb(network, points, latents, AMOUNT)
    before = network(points, latents).detach()
    for unit in range(WIDTH * LAYERS):
        change = with_hook(network, points, latents, unit, AMOUNT) - before
        expected = change.square().mean().sqrt()
        torch.testing.assert_close(effects.shifts[unit], expected)
        (found,) = difference_maps(network, points, latents, [unit], AMOUNT)
        torch.testing.assert_close(found, change)
    assert not effects.shifts.requires_grad


def test_effects_of_latents_are_those_of_changing_them(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor
) -> None:
    effects = perturb(network, points, latents, AMOUNT)
    assert effects.latents.shape == (LATENTS,)
    for latent in range(LATENTS):
        changed = latents.clone()
        changed[:, latent] += AMOUNT
        change = network(points, changed) - network(points, latents)
        torch.testing.assert_close(effects.latents[latent], change.square().mean().sqrt())


def test_layers_are_those_whose_sines_move(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor
) -> None:
    effects = perturb(network, points, latents, AMOUNT)
    assert effects.layers.tolist() == [0] * WIDTH + [1] * WIDTH + [2] * WIDTH
    # a unit that no later one takes up has no effect
    with torch.no_grad():
        network.hidden[2].weight[:, 3] = 0
    (silent,) = (perturb(network, points, latents, AMOUNT).shifts == 0).nonzero().tolist()
    assert silent == [WIDTH + 3]
    assert effects.layers[silent] == 1


def test_a_small_perturbation_has_an_effect_in_proportion(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor
) -> None:
    small, twice = (perturb(network, points, latents, amount) for amount in (1e-6, -2e-6))
    torch.testing.assert_close(twice.shifts, 2 * small.shifts, rtol=1e-3, atol=0)
    torch.testing.assert_close(twice.latents, 2 * small.latents, rtol=1e-3, atol=0)
    maps = difference_maps(network, points, latents, [0, WIDTH], 1e-6)
    opposite = difference_maps(network, points, latents, [0, WIDTH], -1e-6)
    torch.testing.assert_close(opposite, -maps, rtol=1e-3, atol=1e-9)
    # at phi = 0 the derivative in all shifts is known
    at_zero = difference_maps(network, points, torch.zeros(1, LATENTS).double(), [4], 1e-6)
    _, sensitivities = network.sensitivities(points)
    torch.testing.assert_close(at_zero[0, 0] / 1e-6, sensitivities[..., 4], rtol=1e-3, atol=1e-4)


def test_the_network_stays_as_it_is(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    maps = difference_maps(network, points, latents, [2, 9], AMOUNT)
    assert maps.shape == (2, 4, 40, 3)
    assert perturb(network, points, latents, 0.0).shifts.count_nonzero() == 0
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
