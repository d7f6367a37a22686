"""Functions of a data set: a base network with its coordinates, its grid and its variables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from functory.configuration import Config
from functory.fields.coordinates import Coordinates, Patchwork, coordinates_for
from functory.fields.patches import cells_of, decode_patches, window_points
from functory.fields.siren import LatentModulatedSiren

__all__ = ["FittedNetwork", "Variable"]

SIGNALS = 32  # functions, and…
VALUES = 2**22  # … activations of a layer that are held at once when decoding
POINTS = 4096  # that are enough for a mean over all
CELLS = {"y": "row", "x": "column", "latitude": "row", "longitude": "column"}


class Variable(Config):
    """One feature of the functions: its name, its attributes, and how it was normalised."""

    name: str
    attributes: dict[str, Any]
    offset: float
    scale: float
    channels: tuple[str, ...] = ()
    """Names along its dimension `channel`; none where it has no such dimension."""

    @property
    def outputs(self) -> int:
        """The number of the network's outputs that are this variable."""
        return max(1, len(self.channels))


@dataclass(frozen=True)
class FittedNetwork:
    """A base network with its coordinates, its grid in training and the variables it gives."""

    network: LatentModulatedSiren
    coordinates: Coordinates
    grid: Mapping[str, np.ndarray]
    variables: tuple[Variable, ...]
    modality: str

    @property
    def latent_dimensions(self) -> tuple[str, ...]:
        """The dimensions of one signal's modulations; of spatial functions, cells and latents."""
        if not isinstance(self.coordinates, Patchwork):
            return ("latent",)
        return (*(CELLS.get(axis, f"{axis}_cell") for axis in self.coordinates.axes), "latent")

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The sizes of one signal's modulations."""
        latents = self.network.config.latents
        if not isinstance(self.coordinates, Patchwork):
            return (latents,)
        shape = [len(self.grid[axis]) for axis in self.coordinates.axes]
        return (*cells_of(shape, self.coordinates.patches), latents)

    def of_wholes(self) -> Self:
        """Return the same with the coordinates of whole signals, where it has those of patches."""
        if not isinstance(self.coordinates, Patchwork):
            return self
        return replace(self, coordinates=coordinates_for("box", tuple(self.grid), self.grid))

    def outputs_of(self, variable: Variable) -> slice:
        """Return which outputs of the network are a variable's."""
        start = sum(v.outputs for v in self.variables[: self.variables.index(variable)])
        return slice(start, start + variable.outputs)

    def decode(self, phi: Tensor, at: Mapping[str, np.ndarray] | None = None) -> Tensor:
        """Evaluate functions on a grid, that of the training where none is given.

        Parameters
        ----------
        phi
            (signals, …): modulations of `latent_shape`.

        Returns
        -------
        Tensor
            (signals, points, outputs), normalised as in training.
        """
        grid = self.grid if at is None else at
        if isinstance(self.coordinates, Patchwork):
            units = self.coordinates.units(self.grid, grid)
            return decode_patches(self.network, phi, units, self.coordinates.patches)
        points = torch.from_numpy(self.coordinates.points(grid)).to(phi.device)
        result = phi.new_empty(len(phi), len(points), self.network.outputs)
        step = max(1, VALUES // (self.network.config.width * SIGNALS))
        for i in range(0, len(phi), SIGNALS):
            for j in range(0, len(points), step):
                values = self.network(points[j : j + step], phi[i : i + SIGNALS])
                result[i : i + SIGNALS, j : j + step] = values
        return result

    @torch.no_grad()
    def sensitivity(self) -> Tensor:
        """Return how much functions change with each latent: RMS of J at phi = 0, (latents,)."""
        if isinstance(self.coordinates, Patchwork):
            points = window_points(len(self.grid), self.coordinates.patches)
        else:
            points = torch.from_numpy(self.coordinates.points(self.grid))
        few = points[:: max(1, len(points) // POINTS)]
        _, jacobian = self.network.at_origin(few)
        return jacobian.square().mean((0, 1)).sqrt()

    @property
    def surface(self) -> float:
        """The value of functions of occupancy above which a place counts as occupied."""
        return float(self.variables[0].attributes["surface"])
