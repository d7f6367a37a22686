"""The five real data sets that inner solvers are compared on, as training and test signals."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from PIL import Image

from functory.fields.coordinates import coordinates_for
from functory.signals import Signals

DATA = Path(os.environ.get("FUNCTORY_TEST_DATA", "../shared/data"))


def uk() -> tuple[np.ndarray, np.ndarray]:
    """Read 744 hourly ERA5 2 m temperature fields of 33×49 (March 2019), between 0 and 1."""
    path = DATA / "climate" / "era5-2mt-2019-03-uk.grib"
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as dataset:
        fields = dataset["t2m"].load()
    return _unit(fields.values)[..., None], _box(fields, ("latitude", "longitude"))


def canesm5() -> tuple[np.ndarray, np.ndarray]:
    """Read 60 monthly CanESM5 near-surface temperature fields of 64×128, on the unit sphere."""
    (path,) = (DATA / "climate").glob("tas_Amon_CanESM5_*.nc")
    with xr.open_dataset(path, decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as dataset:
        fields = dataset["tas"].load()
    at = {"latitude": fields["lat"].values, "longitude": fields["lon"].values}
    points = coordinates_for("sphere", ("latitude", "longitude"), at).points(at)
    return _unit(fields.values)[..., None], points


def cifar10() -> tuple[np.ndarray, np.ndarray]:
    """Read 4,000 CIFAR-10 images of 32×32 pixels and three colours."""
    files = sorted((DATA / "images" / "cifar10").glob("*.png"))
    rows = np.concatenate([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return rows.reshape(-1, 32, 32, 3).astype(np.float32) / 255, _pixels(32, 32)


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Read the 10,000 MNIST test digits of 28×28 pixels."""
    (path,) = (DATA / "images" / "mnist").glob("*images*.gz")
    with gzip.open(path) as file:
        values = np.frombuffer(file.read(), np.uint8, offset=16)
    return values.reshape(-1, 28, 28, 1).astype(np.float32) / 255, _pixels(28, 28)


def mnist_labels() -> np.ndarray:
    """Read the labels of `mnist`."""
    (path,) = (DATA / "images" / "mnist").glob("*labels*.gz")
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=8)


def voxels() -> tuple[np.ndarray, np.ndarray]:
    """Read ModelNet10 chairs and monitors, 32³ surface voxels, without empty or repeated ones."""
    parts = []
    for name in ("chair", "monitor"):
        with gzip.open(DATA / "shapes" / f"{name}.npy.gz") as file:
            parts.append(np.load(file)[:, 0].astype(np.uint8))
    shapes = np.concatenate(parts)
    _, first = np.unique(shapes.reshape(len(shapes), -1), axis=0, return_index=True)
    shapes = shapes[np.sort(first)]
    shapes = shapes[shapes.any((1, 2, 3))]
    return shapes[..., None].astype(np.float32), _pixels(32, 32, 32)


DATASETS: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], int]] = {
    "uk": (uk, 144),
    "canesm5": (canesm5, 12),
    "cifar10": (cifar10, 500),
    "mnist": (mnist, 1000),
    "voxels": (voxels, 32),
}


def read(name: str, seed: int = 0) -> tuple[Signals, Signals]:
    """Read a data set, split at random into training and test signals."""
    load, held_out = DATASETS[name]
    values, points = load()
    values = shuffled(values.reshape(len(values), -1, values.shape[-1]), seed)
    features = torch.from_numpy(values)
    grid = torch.from_numpy(points)
    return Signals(grid, features[:-held_out]), Signals(grid, features[-held_out:])


def shuffled(values: np.ndarray, seed: int) -> np.ndarray:
    """Return values in the order in which `read` takes signals: training, then test."""
    return values[np.random.default_rng(seed).permutation(len(values))]


def _unit(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min())


def _box(fields: xr.DataArray, axes: tuple[str, ...]) -> np.ndarray:
    at = {name: fields[name].values for name in axes}
    return coordinates_for("box", axes, at).points(at)


def _pixels(*sizes: int) -> np.ndarray:
    at = {str(i): np.arange(size) for i, size in enumerate(sizes)}
    return coordinates_for("box", list(at), at).points(at)
