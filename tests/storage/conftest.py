"""A small functaset, made directly: no training is needed to decode."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from remote import machine, server, url  # noqa: F401 — fixtures

from functory.fields.coordinates import Sphere
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.fields.siren import LatentModulatedSiren, SirenConfig
from storage.functaset import write_modulations
from storage.networks import write_network


@pytest.fixture
def fitted() -> FittedNetwork:
    """Return a network of two variables on a coarse globe."""
    torch.manual_seed(0)
    network = LatentModulatedSiren(3, 2, SirenConfig(latents=4, width=8, depth=3, omega_0=5))
    grid = {"latitude": np.linspace(90, -90, 7), "longitude": np.arange(12) * 30.0}
    variables = (
        Variable(name="t2m", attributes={"units": "K"}, offset=200.0, scale=100.0),
        Variable(name="sp", attributes={"units": "Pa"}, offset=5e4, scale=5e4),
    )
    return FittedNetwork(network.requires_grad_(False), Sphere(), grid, variables, "climate")


@pytest.fixture
def phi() -> np.ndarray:
    """Return modulations of five signals."""
    return np.random.default_rng(0).normal(0, 0.3, (5, 4)).astype(np.float32)


@pytest.fixture
def functaset(tmp_path: Path, fitted: FittedNetwork, phi: np.ndarray) -> Path:
    """Write a functaset and return its folder."""
    folder = tmp_path / "functaset"
    split = np.array(["train", "train", "train", "test", "test"], dtype=object)
    write_modulations(folder, phi, {"split": ("sample", split)}, {}, fitted, {"title": "test"})
    write_network(folder / "network", fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)
    return folder
