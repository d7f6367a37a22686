"""Base networks as Zarr groups: all that is needed to evaluate the functions of a functaset."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import zarr
from pydantic import ValidationError

from functory.configuration import Config
from functory.errors import StoreError
from functory.fields.coordinates import Coordinates
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.fields.siren import LatentModulatedSiren, SirenConfig

__all__ = ["network_digest", "read_network", "write_network"]

SCHEMA = 1


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
