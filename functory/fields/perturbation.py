"""Perturbation analysis: what each modulation does to the functions (thesis, section 5.B.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from functory.fields.siren import LatentModulatedSiren

__all__ = ["Effects", "difference_maps", "perturb"]


@dataclass(frozen=True)
class Effects:
    """How far functions move when one of their modulations does: RMSE over points and signals."""

    shifts: Tensor
    """Of every shift, (shifts,), layer by layer."""
    layers: Tensor
    """The sine layer of every shift, (shifts,), counted from 0."""
    latents: Tensor
    """Of every latent, (latents,)."""


@torch.no_grad()
def perturb(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor, amount: float
) -> Effects:
    """Add an amount to every shift, and then to every latent, one at a time.

    The functions are evaluated anew each time: nothing is linearised.

    Parameters
    ----------
    points
        (points, inputs).
    latents
        (signals, latents): of the functions that are looked at.
    amount
        What is added; the thesis takes -0.01.

    Returns
    -------
    Effects
        In the units of the outputs. The thesis's figure 5.15 shows `shifts` against their index.
    """
    width, depth = network.config.width, network.config.depth
    before = network(points, latents)
    of_shifts = [
        _size(_with_shift(network, points, latents, unit, amount) - before)
        for unit in range(width * (depth - 1))
    ]
    of_latents = [
        _size(network(points, latents + step) - before)
        for step in amount * torch.eye(latents.shape[1], dtype=latents.dtype, device=latents.device)
    ]
    layers = torch.arange(depth - 1).repeat_interleave(width)
    return Effects(torch.stack(of_shifts).cpu(), layers, torch.stack(of_latents).cpu())


@torch.no_grad()
def difference_maps(
    network: LatentModulatedSiren,
    points: Tensor,
    latents: Tensor,
    units: Sequence[int],
    amount: float,
) -> Tensor:
    """Return what adding an amount to single shifts changes, and where.

    Parameters are those of `perturb`; `units` are indices of shifts, layer by layer.

    Returns
    -------
    Tensor
        Perturbed minus unperturbed functions, (units, signals, points, outputs).
    """
    before = network(points, latents)
    return torch.stack(
        [_with_shift(network, points, latents, unit, amount) - before for unit in units]
    )


def _with_shift(
    network: LatentModulatedSiren, points: Tensor, latents: Tensor, unit: int, amount: float
) -> Tensor:
    # all shifts are s = M phi + m: what is added to one of m is added to this shift of all signals
    bias = network.modulation.bias.clone()
    bias[unit] += amount
    perturbed: Tensor = functional_call(network, {"modulation.bias": bias}, (points, latents))
    return perturbed


def _size(differences: Tensor) -> Tensor:
    return differences.square().mean().sqrt()
