"""The networks that predict noise: grids of all sizes, and samples that do not mix."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from functory.errors import InputError
from functory.models.denoisers import (
    ResidualPerceptronConfig,
    UNet,
    UNetConfig,
    build_denoiser,
)
from functory.models.diffusion import DiffusionConfig


def stirred(network: nn.Module) -> nn.Module:
    """Fill a network with noise: with its zeros, what comes before them has no effect."""
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.1)
    return network


@pytest.mark.parametrize("grid", [(4, 4), (8, 8), (5, 7), (6, 6), (1, 1), (8, 7), (16, 8)])
def test_a_unet_takes_any_grid(grid: tuple[int, int]) -> None:
    shape = (*grid, 3)
    network = build_denoiser(shape, UNetConfig(channels=8))
    noisy = torch.randn(2, *shape)
    assert torch.equal(network(noisy, torch.tensor([0, 999])), torch.zeros(2, *shape))


@pytest.mark.parametrize(
    ("grid", "levels"), [((4, 4), 1), ((5, 7), 1), ((8, 7), 1), ((8, 8), 2), ((16, 16), 3)]
)
def test_grids_are_halved_while_they_can_be(grid: tuple[int, int], levels: int) -> None:
    network = build_denoiser((*grid, 2), UNetConfig(channels=8, levels=5))
    assert isinstance(network, UNet)
    assert len(network.down) == levels


@pytest.mark.parametrize("network", [ResidualPerceptronConfig(width=16), UNetConfig(channels=8)])
def test_samples_do_not_mix_and_all_parameters_learn(
    network: ResidualPerceptronConfig | UNetConfig,
) -> None:
    torch.manual_seed(0)
    denoiser = stirred(build_denoiser((8, 8, 2), network))
    noisy, timesteps = torch.randn(3, 8, 8, 2), torch.tensor([3, 500, 999])
    together = denoiser(noisy, timesteps)
    alone = torch.cat([denoiser(noisy[i : i + 1], timesteps[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(denoiser(noisy, timesteps.flip(0)), together, atol=1e-3)
    together.square().sum().backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_every_cell_of_a_grid_sees_every_other() -> None:
    torch.manual_seed(0)
    denoiser = stirred(build_denoiser((8, 8, 1), UNetConfig(channels=8)))
    noisy = torch.randn(1, 8, 8, 1, requires_grad=True)
    denoiser(noisy, torch.tensor([10]))[0, 0, 0, 0].backward()
    assert noisy.grad is not None
    assert (noisy.grad != 0).all()


def test_a_unet_needs_a_grid() -> None:
    with pytest.raises(InputError, match=r"needs a spatial functaset.*'mlp'"):
        build_denoiser((3,), UNetConfig())


def test_the_network_is_chosen_by_its_kind() -> None:
    config = DiffusionConfig.model_validate({"network": {"kind": "unet", "channels": 16}})
    assert config.network == UNetConfig(channels=16)
    for wrong in ({"kind": "unet", "width": 512}, {"kind": "unet", "channels": 12}):
        with pytest.raises(ValidationError):
            DiffusionConfig.model_validate({"network": wrong})
