"""Writing functasets and other Datasets of modulations, so that they decode by themselves."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from functory.fields.fitted_network import FittedNetwork
from storage.files import link_tree, scan
from storage.networks import network_digest

__all__ = ["SCHEMA", "share_network", "write_modulations"]

SCHEMA = 1
CHUNK = 2**20  # values of a chunk: 4 MB


def write_modulations(
    folder: Path,
    modulation: np.ndarray,
    coordinates: Mapping[str, Any],
    variables: Mapping[str, Any],
    fitted: FittedNetwork,
    attributes: Mapping[str, str],
) -> None:
    """Write modulations, (samples, …) of the network's `latent_shape`, as a plain Zarr group.

    `coordinates` say what the samples are (time, split), `variables` what else is known of them.

    The network must be put beside them, at `network/`: by `write_network` or `share_network`.
    """
    dataset = xr.Dataset(
        {"modulation": (("sample", *fitted.latent_dimensions), modulation.astype(np.float32))},
        attrs={
            "functory_schema": SCHEMA,
            "modality": fitted.modality,
            "network": "network",
            "network_digest": network_digest(fitted.network),
            **attributes,
        },
    )
    dataset = dataset.assign(variables).assign_coords(coordinates)
    dataset["modulation"].attrs = {"long_name": "modulations of the base network", "units": "1"}
    chunk = max(1, CHUNK // math.prod(modulation.shape[1:]))
    # learned numbers hardly compress, and without it they are read at three times the speed
    encoding = {"modulation": {"chunks": (chunk, *modulation.shape[1:]), "compressors": None}}
    dataset.to_zarr(folder, zarr_format=3, consolidated=False, mode="w-", encoding=encoding)


def share_network(source: Path, folder: Path) -> None:
    """Give a Dataset of modulations the network of another, without taking its space again."""
    link_tree(source / "network", folder / "network", scan(source / "network"))
