"""Shapes of other proportions: every axis rescaled at random, when a shape is read."""

from typing import Annotated, Any, Self

import numpy as np
import xarray as xr
from pydantic import Field, PositiveFloat, model_validator
from scipy.ndimage import affine_transform
from xarray.backends import BackendArray
from xarray.core import indexing

from functory.configuration import Config

__all__ = ["Augmentation", "Rescaled", "draw_scales", "rescale", "with_rescaled"]

# A shell of one voxel that shrinks to three quarters stays closed: of voxels 4/3 apart, one is at
# most 2/3 from the shell's centre, where linear interpolation still gives 1/3, just above this.
OCCUPIED = 0.33
AXES = ("z", "y", "x")


class Augmentation(Config):
    """Copies of every shape, rescaled along each axis (thesis, section 5.A.1)."""

    copies: Annotated[int, Field(ge=1)] = 50
    """Signals made of each model; the first is the model itself."""
    low: PositiveFloat = 0.75
    """Factors are uniform between this…"""
    high: PositiveFloat = 1.25
    """… and this, and never so large that a shape would leave its grid."""
    seed: int = 0
    """With a model's name, the seed of its factors."""
    materialise: bool = False
    """Whether all copies are written, or made whenever they are read."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above high, {self.high}")
        return self


def draw_scales(name: str, occupied: np.ndarray, config: Augmentation) -> np.ndarray:
    """Return the factors of a model's copies, (copies, 3), for z, y and x; ones for the model.

    They depend on the seed, the name and the copy's number alone, and keep the shape in its grid.
    """
    seed = np.random.SeedSequence([config.seed, *name.encode()])
    drawn = np.random.default_rng(seed).uniform(config.low, config.high, (config.copies, 3))
    drawn[0] = 1
    return np.minimum(drawn, _room(occupied)).astype(np.float32)


def _room(occupied: np.ndarray) -> np.ndarray:
    """Return how many times larger a shape may become about the grid's centre, along each axis."""
    reach = []
    for axis in range(3):
        others = tuple(i for i in range(3) if i != axis)
        first, last = np.flatnonzero(occupied.any(others))[[0, -1]]
        half = occupied.shape[axis] / 2
        reach.append(max(half - first, last + 1 - half) / half)
    return 1 / np.array(reach)


def rescale(occupied: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Rescale a (z, y, x) shape about the centre of its grid, by a factor for each axis."""
    if (scale == 1).all():
        return occupied
    middle = (np.array(occupied.shape) - 1) / 2
    back = 1 / scale.astype(np.float64)
    values = affine_transform(
        occupied.astype(np.float32),
        back,
        middle - middle * back,
        order=1,
        mode="grid-constant",  # beyond the grid is empty space, not an end of what is defined
    )
    return values > OCCUPIED


class Rescaled(BackendArray):
    """Shapes that are rescaled when they are read, as xarray reads arrays of files.

    `originals` is (model, z, y, x); sample i is model `rows[i]` rescaled by `scales[i]`.
    """

    def __init__(self, originals: xr.Variable, rows: np.ndarray, scales: np.ndarray) -> None:
        self.originals, self.rows, self.scales = originals, rows, scales
        self.shape, self.dtype = (len(rows), *originals.shape[1:]), np.dtype(bool)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        samples = np.arange(len(self.rows))[key[0]]
        needed, places = np.unique(self.rows[samples], return_inverse=True)
        originals = self.originals[needed].values
        shapes = [
            rescale(originals[place], scale)
            for place, scale in zip(
                places.ravel(), self.scales[samples].reshape(-1, 3), strict=True
            )
        ]
        found = np.array(shapes, bool).reshape(np.shape(samples) + self.shape[1:])
        for axis, chosen in reversed(list(enumerate(key[1:], start=np.ndim(samples)))):
            found = found[(slice(None),) * axis + (chosen,)]
        return found


def with_rescaled(dataset: xr.Dataset) -> xr.Dataset:
    """Give a Dataset of models (`original`, `row` and `scale`) its samples, `occupancy`."""
    original = dataset["original"]
    lazy = indexing.LazilyIndexedArray(
        Rescaled(original.variable, dataset["row"].values, dataset["scale"].values)
    )
    occupancy = xr.Variable(("sample", *AXES), lazy, original.attrs)
    return dataset.drop_vars("original").assign(occupancy=occupancy)
