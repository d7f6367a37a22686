"""The base network: a sine network whose layers are shifted by a latent vector."""

import math
from itertools import pairwise
from typing import Annotated, cast

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from functory.configuration import Config

__all__ = ["LatentModulatedSiren", "SirenConfig"]


class SirenConfig(Config):
    """Size of a base network, in the thesis's terms (sections 4.B and 5.A.2)."""

    latents: PositiveInt = 64
    """Modulations (latents) per signal."""
    width: PositiveInt = 64
    """Units of every hidden layer."""
    depth: Annotated[int, Field(ge=2)] = 5
    """Layers, the linear last one included: depth - 1 sine layers are modulated."""
    omega_0: PositiveFloat = 30.0
    """Frequency factor of the sines."""


class LatentModulatedSiren(nn.Module):
    """A SIREN shared by a data set; a latent vector per signal shifts every sine layer.

    Layer i computes sin(omega_0 (W_i h + b_i + s_i)), where all shifts s = M phi + m are linear in
    the latents phi; the last layer is linear, plus 0.5, without modulation (thesis, section 5.A.2).
    """

    def __init__(self, inputs: int, outputs: int, config: SirenConfig) -> None:
        super().__init__()
        self.inputs, self.outputs, self.config = inputs, outputs, config
        sizes = [inputs] + [config.width] * (config.depth - 1)
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.last = nn.Linear(config.width, outputs)
        self.modulation = nn.Linear(config.latents, config.width * (config.depth - 1))
        self._initialise()

    def _initialise(self) -> None:
        for i, layer in enumerate([*self.hidden, self.last]):
            n = layer.in_features
            bound = 1 / n if i == 0 else math.sqrt(6 / n) / self.config.omega_0
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def forward(self, coordinates: Tensor, latents: Tensor) -> Tensor:
        """Evaluate the functions of a batch of signals.

        Parameters
        ----------
        coordinates
            (points, inputs), shared by all signals, or (signals, points, inputs).
        latents
            (signals, latents).

        Returns
        -------
        Tensor
            (signals, points, outputs).
        """
        return self._shifted(coordinates, self.modulation(latents)[:, None])

    def at_origin(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate f and its Jacobian J = df/dphi at phi = 0, the same for every signal.

        The latents enter only through the shifts, so J = (df/ds) M takes one reverse sweep per
        output over all points, whatever the number of latents and of signals.

        Parameters
        ----------
        coordinates
            (points, inputs).

        Returns
        -------
        tuple
            f, (points, outputs), and J, (points, outputs, latents), both differentiable in the
            parameters where gradients are enabled.
        """
        f, sensitivities = self.sensitivities(coordinates)
        return f, sensitivities @ self.modulation.weight

    def sensitivities(self, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate f and df/ds, its derivative in all shifts, at phi = 0.

        Parameters and returns are those of `at_origin`, with shifts in the place of latents.
        """
        return self._swept(coordinates, self.modulation.bias.expand(len(coordinates), -1))

    def linearised(self, coordinates: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the functions of a batch of signals, and each one's Jacobian J = df/dphi.

        Parameters
        ----------
        coordinates
            (points, inputs), shared by all signals, or (signals, points, inputs).
        latents
            (signals, latents).

        Returns
        -------
        tuple
            f, (signals, points, outputs), and J, (signals, points, outputs, latents), both
            differentiable where gradients are enabled.
        """
        shifts = self.modulation(latents)[:, None].expand(-1, coordinates.shape[-2], -1)
        f, sensitivities = self._swept(coordinates, shifts)
        return f, sensitivities @ self.modulation.weight

    def _swept(self, coordinates: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate f and df/ds, with shifts of every point's own: (..., points, shifts)."""
        keep = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (keep and shifts.requires_grad):
                shifts = shifts.detach().requires_grad_()
            f = self._shifted(coordinates, shifts)
            sweeps = [
                torch.autograd.grad(c.sum(), shifts, create_graph=keep, retain_graph=True)[0]
                for c in f.unbind(-1)
            ]
        sensitivities = torch.stack(sweeps, dim=-2)
        return (f, sensitivities) if keep else (f.detach(), sensitivities.detach())

    def _shifted(self, hidden: Tensor, shifts: Tensor) -> Tensor:
        """Apply all layers, with all their shifts side by side in the last dimension."""
        omega = self.config.omega_0
        layers = cast(list[nn.Linear], list(self.hidden))
        for layer, shift in zip(layers, shifts.split(self.config.width, -1), strict=True):
            # omega_0 is applied to weights and shifts, which are small, not to every activation,
            # and a batched product adds the shifts in the same pass: 0.7 times the time.
            weight, offset = omega * layer.weight.T, omega * (layer.bias + shift)
            if hidden.ndim == 3:
                phase = torch.baddbmm(offset, hidden, weight.expand(len(hidden), -1, -1))
            else:
                phase = hidden @ weight + offset
            hidden = torch.sin(phase)
        return self.last(hidden) + 0.5
