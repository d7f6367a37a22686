"""Base networks as Zarr groups: all that is needed to evaluate the functions of a functaset."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import zarr
from pydantic import ValidationError
from torch import Tensor

from functory.configuration import Config
from functory.errors import StoreError
from functory.fields.coordinates import Coordinates, Patchwork, coordinates_for
from functory.fields.patches import cells_of, decode_patches, window_points
from functory.fields.siren import LatentModulatedSiren, SirenConfig

__all__ = ["FittedNetwork", "Variable", "network_digest", "read_network", "write_network"]

SCHEMA = 1
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


class _Description(Config):
    """The attributes of a network group."""

    functory_schema: int
    modality: str
    network: SirenConfig
    inputs: int
    coordinates: Coordinates
    grid: tuple[str, ...]
    variables: tuple[Variable, ...]
    digest: str


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
            units = self.coordinates.units(grid)
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


def network_digest(network: LatentModulatedSiren) -> str:
    """Return a digest of the weights: what modulations and network recognise each other by."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()


def write_network(folder: Path, fitted: FittedNetwork) -> None:
    """Write a network as a Zarr group."""
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    description = _Description(
        functory_schema=SCHEMA,
        modality=fitted.modality,
        network=fitted.network.config,
        inputs=fitted.network.inputs,
        coordinates=fitted.coordinates,
        grid=tuple(fitted.grid),
        variables=fitted.variables,
        digest=network_digest(fitted.network),
    )
    group.attrs.update(description.model_dump(mode="json"))
    weights = group.create_group("weights")
    for name, tensor in fitted.network.state_dict().items():
        weights.create_array(name, data=tensor.cpu().numpy())
    axes = group.create_group("grid")
    for name, values in fitted.grid.items():
        axes.create_array(name, data=np.asarray(values), dimension_names=(name,))


def read_network(location: str, digest: str | None = None) -> FittedNetwork:
    """Read a network, and check that it is the one with the digest, if one is expected.

    Raises
    ------
    StoreError
        If there is no network there, or another one, or one of a newer schema.
    """
    fitted, found = _read(location)
    if digest not in (None, found):
        raise StoreError(
            f"The network at {location} is not the one that these modulations were fitted on; "
            "point the attribute 'network' at the right one."
        )
    return fitted


@lru_cache(maxsize=8)
def _read(location: str) -> tuple[FittedNetwork, str]:
    description = _describe(location)
    network = LatentModulatedSiren(
        description.inputs, sum(v.outputs for v in description.variables), description.network
    )
    weights = _arrays(f"{location}/weights")
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.eval().requires_grad_(False)
    found = network_digest(network)
    if found != description.digest:
        raise StoreError(f"The weights of the network at {location} are damaged; restore them.")
    grid = _arrays(f"{location}/grid")
    fitted = FittedNetwork(
        network=network,
        coordinates=description.coordinates,
        grid={name: grid[name] for name in description.grid},
        variables=description.variables,
        modality=description.modality,
    )
    return fitted, found


def _describe(location: str) -> _Description:
    try:
        attributes = zarr.open_group(location, mode="r").attrs.asdict()
    except FileNotFoundError:
        raise StoreError(
            f"There is no network at {location}; set the attribute 'network' to the path of the "
            "'network' group of a functaset."
        ) from None
    if attributes.get("functory_schema") != SCHEMA:
        raise StoreError(
            f"The network at {location} has schema {attributes.get('functory_schema')}, but this "
            f"Functory reads schema {SCHEMA}: upgrade Functory."
        )
    try:
        return _Description.model_validate(attributes)
    except ValidationError as error:
        raise StoreError(
            f"The attributes of the network at {location} are damaged "
            f"({error.error_count()} values); restore them."
        ) from None


def _arrays(location: str) -> dict[str, np.ndarray]:
    group = zarr.open_group(location, mode="r")
    return {name: np.asarray(array[:]) for name, array in group.arrays()}
