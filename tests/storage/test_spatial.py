"""Functasets of patches: written, read, decoded anywhere, and handed to torch."""

import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

import storage.accessor  # noqa: F401 — registers the accessor
from functory.errors import InputError
from functory.fields.coordinates import Patches, Patchwork, coordinates_for
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.fields.siren import LatentModulatedSiren, SirenConfig
from storage.functaset import write_modulations
from storage.networks import network_digest, read_network, write_network

COLOURS = ("red", "green", "blue")


@pytest.fixture
def fitted() -> FittedNetwork:
    """Return a network of colours and a depth on 8×12 pixels, in 2×3 patches."""
    torch.manual_seed(0)
    network = LatentModulatedSiren(2, 4, SirenConfig(latents=5, width=8, depth=3, omega_0=5))
    grid = {"y": (np.arange(8) + 0.5) / 8, "x": (np.arange(12) + 0.5) / 12}
    coordinates = coordinates_for("box", ("y", "x"), grid, Patches(size=4, overlap=1))
    variables = (
        Variable(name="image", attributes={"units": "1"}, offset=0.1, scale=0.5, channels=COLOURS),
        Variable(name="depth", attributes={"units": "m"}, offset=2.0, scale=30.0),
    )
    return FittedNetwork(network.requires_grad_(False), coordinates, grid, variables, "image")


@pytest.fixture
def phi() -> np.ndarray:
    """Return modulations of seven signals."""
    return np.random.default_rng(0).normal(0, 0.5, (7, 2, 3, 5)).astype(np.float32)


@pytest.fixture
def functaset(tmp_path: Path, fitted: FittedNetwork, phi: np.ndarray) -> xr.Dataset:
    """Write a functaset and open it."""
    folder = tmp_path / "functaset"
    write_modulations(folder, phi, {}, {}, fitted, {"title": "test"})
    write_network(folder / "network", fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(folder)
    return xr.open_zarr(folder, chunks=None)


def test_a_network_of_patches_is_the_same_after_writing(
    tmp_path: Path, fitted: FittedNetwork, phi: np.ndarray
) -> None:
    write_network(tmp_path / "network", fitted)
    read = read_network(str(tmp_path / "network"), network_digest(fitted.network))
    assert isinstance(read.coordinates, Patchwork)
    assert read.coordinates == fitted.coordinates
    assert read.variables == fitted.variables
    assert [v.channels for v in read.variables] == [COLOURS, ()]
    assert read.modality == "image"
    assert read.latent_dimensions == ("row", "column", "latent")
    assert read.latent_shape == (2, 3, 5)
    assert list(read.grid) == ["y", "x"]  # in this order: that of the points
    for axis, values in fitted.grid.items():
        np.testing.assert_array_equal(read.grid[axis], values)
    decoded = (each.decode(torch.from_numpy(phi)) for each in (read, fitted))
    assert torch.equal(*decoded)
    whole = read.of_wholes()
    assert whole.latent_shape == (5,)
    assert whole.coordinates.axes == ("y", "x")


def test_each_variable_has_its_outputs_in_its_own_units(
    functaset: xr.Dataset, fitted: FittedNetwork, phi: np.ndarray
) -> None:
    values = fitted.decode(torch.from_numpy(phi)).numpy().reshape(7, 8, 12, 4)
    image = functaset.functa.decode(variable="image")
    assert image.dims == ("sample", "y", "x", "channel")
    assert image["channel"].values.tolist() == list(COLOURS)
    np.testing.assert_allclose(image, values[..., :3] * 0.5 + 0.1, rtol=1e-5, atol=1e-6)
    depth = functaset.functa.decode(variable="depth")
    assert depth.dims == ("sample", "y", "x")
    assert depth.attrs["units"] == "m"
    np.testing.assert_allclose(depth, values[..., 3] * 30 + 2, rtol=1e-5, atol=1e-5)


def test_in_the_middle_of_a_cell_a_function_is_that_of_its_modulations(
    functaset: xr.Dataset, fitted: FittedNetwork, phi: np.ndarray
) -> None:
    middles = {"y": np.array([0.25, 0.75]), "x": np.array([1, 3, 5]) / 6}
    decoded = functaset.functa.decode(variable="depth", **middles)
    own = fitted.network(torch.zeros(1, 2), torch.from_numpy(phi).flatten(0, 2))[:, 0, 3]
    np.testing.assert_allclose(decoded, own.view(7, 2, 3) * 30 + 2, rtol=1e-5)


@pytest.mark.parametrize("chunks", [{"sample": 3}, {"row": 1, "latent": 2}], ids=str)
def test_decoding_is_lazy_where_asked(functaset: xr.Dataset, chunks: dict[str, int]) -> None:
    lazy = functaset.chunk(chunks).functa.decode(variable="image", refine=2)
    assert dask.is_dask_collection(lazy)
    eager = functaset.functa.decode(variable="image", refine=2)
    assert lazy.dims == eager.dims
    assert lazy.shape == eager.shape == (7, 16, 24, 3)
    np.testing.assert_allclose(lazy.compute(scheduler="synchronous"), eager, rtol=1e-5, atol=1e-6)


def test_selections_decode_and_parts_of_functions_do_not(functaset: xr.Dataset) -> None:
    whole = functaset.functa.decode(variable="depth")
    one = functaset.isel(sample=4).functa.decode(variable="depth")
    assert one.dims == ("y", "x")
    np.testing.assert_allclose(one, whole[4], rtol=1e-5)
    for part in ({"row": [0]}, {"column": 1}, {"latent": slice(3)}):
        with pytest.raises(InputError, match="row 2, column 3, latent 5") as refused:
            functaset.isel(part).functa.decode(variable="depth")
        assert "\n" not in str(refused.value)


def test_batches_keep_the_grid_of_vectors(functaset: xr.Dataset, phi: np.ndarray) -> None:
    batches = list(functaset.functa.to_torch(4, shuffle=False))
    assert [tuple(batch.shape) for batch in batches] == [(4, 2, 3, 5), (3, 2, 3, 5)]
    assert torch.equal(torch.cat(batches), torch.from_numpy(phi))
    shuffled = torch.cat(list(functaset.functa.to_torch(4, seed=1)))
    assert not torch.equal(shuffled, torch.from_numpy(phi))
    firsts = [rows[:, 0, 0, 0].sort().values for rows in (shuffled, torch.from_numpy(phi))]
    assert torch.equal(*firsts)
