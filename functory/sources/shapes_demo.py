"""Furniture and vehicles of ten classes, so that the pipeline of shapes runs with no data at hand.

A shape is a union of simple solids of random proportions: z is up, the front faces -y. It has no
resolution; voxels only sample it.
"""

from functools import partial
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.sources.demo_furniture import FURNITURE
from functory.sources.demo_vehicles import VEHICLES
from functory.sources.shape_models import ShapeModel
from functory.sources.solids import Solid, moved, union

__all__ = ["CLASSES", "ShapesDemo", "demo_models", "solid"]

FLOOR = 0.08  # height in the unit cube that everything stands on
PLANES = 16  # evaluated at once: 8 MB an array at 256 voxels a side

BUILDERS = FURNITURE | VEHICLES
CLASSES: tuple[str, ...] = tuple(sorted(BUILDERS))


class ShapesDemo(Config):
    """The embedded generator of furniture and vehicles: ten classes of solid voxel shapes."""

    kind: Literal["demo"] = "demo"
    models: int = Field(default=100, ge=1, le=10_000)
    """Number of models of each class."""
    size: int = Field(default=32, ge=8, le=256)
    """Voxels a side."""
    seed: int = Field(default=0, ge=0)
    """Chooses the proportions."""


def demo_models(source: ShapesDemo) -> list[ShapeModel]:
    """Return the models, class by class; the voxels of a model are computed when it is read.

    A model is a matter of its class, its number and the seed, and `size` only samples it.
    """
    return [
        ShapeModel(
            label=label,
            name=f"{label}/{number:04d}",
            read=partial(_voxels, label, number, source.seed, source.size),
        )
        for label in CLASSES
        for number in range(source.models)
    ]


def solid(label: str, number: int, seed: int) -> Solid:
    """Return a model as a test of points x, y, z of the unit cube, arrays that broadcast."""
    rng = np.random.default_rng([seed, crc32(label.encode()), number])
    return moved(union(*BUILDERS[label](rng)), (0.5, 0.5, FLOOR))


def _voxels(label: str, number: int, seed: int, size: int) -> NDArray[np.bool_]:
    inside = solid(label, number, seed)
    centres = (np.arange(size) + 0.5) / size
    slabs = np.split(centres, range(PLANES, size, PLANES))
    return np.concatenate([inside(centres, centres[:, None], z[:, None, None]) for z in slabs])
