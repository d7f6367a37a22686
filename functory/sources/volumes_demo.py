"""Synthetic heads, so that the pipeline of volumes runs with no data at hand.

A head is ellipsoids in ellipsoids, each of one brightness, with smooth edges and on a dark ground.
"""

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.sources.scans import Scan

__all__ = ["VolumesDemo", "demo_scans"]

EDGE = 0.05  # of an ellipsoid's radius, over which its brightness fades
HEAD = 200  # mm that the cube measures
INNER = 8  # ellipsoids in each brain


class VolumesDemo(Config):
    """The embedded generator of volumes: heads of nested ellipsoids, of 8 bits."""

    kind: Literal["demo"] = "demo"
    volumes: int = Field(default=12, ge=1, le=10_000)
    """Number of volumes."""
    size: int = Field(default=64, ge=8, le=256)
    """Voxels a side."""
    seed: int = Field(default=0, ge=0)
    """Chooses places, sizes and brightnesses."""


def demo_scans(source: VolumesDemo) -> list[Scan]:
    """Return the volumes; the voxels of one are computed when it is read.

    A volume is a matter of its number and the seed; `size` only samples it.
    """
    side = HEAD / source.size
    return [
        Scan(
            name=f"head-{number:04d}",
            dtype=np.dtype(np.uint8),
            spacing=(side, side, side),
            read=partial(_voxels, source, number),
        )
        for number in range(source.volumes)
    ]


def _voxels(source: VolumesDemo, number: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng([source.seed, number])
    line = (np.arange(source.size, dtype=np.float32) + 0.5) / source.size * 2 - 1
    z, y, x = line[:, None, None], line[:, None], line
    values = np.zeros((source.size,) * 3, np.float32)
    radii = rng.uniform(0.7, 0.85, 3)
    # skull, liquid, brain and what is in it: each covers what was there
    levels = ((1, 90), (0.92, 30), (0.85, rng.uniform(140, 180)))
    nested = [(np.zeros(3), share * radii, level) for share, level in levels]
    for _ in range(INNER):
        place = rng.uniform(-0.45, 0.45, 3) * radii
        nested.append((place, rng.uniform(0.08, 0.3, 3), rng.uniform(40, 230)))
    for centre, sizes, level in nested:
        parts = ((a - c) / r for a, c, r in zip((z, y, x), centre, sizes, strict=True))
        distance = np.sqrt(sum(part**2 for part in parts))
        share = np.clip((1 + EDGE - distance) / (2 * EDGE), 0, 1).astype(np.float32)
        values += share * (np.float32(level) - values)
    return np.rint(values).astype(np.uint8)
