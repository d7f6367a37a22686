"""From the coordinates that people use (degrees, pixels) to the inputs of a base network."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from functory.configuration import Config
from functory.errors import InputError
from functory.fields.grids import places

__all__ = [
    "Axis",
    "Box",
    "Coordinates",
    "CoordinatesKind",
    "Patches",
    "Patchwork",
    "Sphere",
    "area_weights",
    "coordinates_for",
]

CoordinatesKind = Literal["sphere", "box", "pixel-centres"]


class Sphere(Config):
    """The unit sphere: (cos lat cos lon, cos lat sin lon, sin lat), as in chapter 5."""

    kind: Literal["sphere"] = "sphere"

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the coordinates that are read, slowest first."""
        return ("latitude", "longitude")

    @property
    def inputs(self) -> int:
        """The number of inputs of a network on these coordinates."""
        return 3

    def points(self, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the (points, 3) inputs for the grid of latitudes and longitudes, in degrees."""
        latitude, longitude = _grid(at, self.axes)
        latitude, longitude = np.deg2rad(latitude), np.deg2rad(longitude)
        x = np.cos(latitude) * np.cos(longitude)
        y = np.cos(latitude) * np.sin(longitude)
        return np.stack([x, y, np.sin(latitude)], axis=-1).reshape(-1, 3).astype(np.float32)


class Axis(Config):
    """An affine axis: the coordinate value `start` becomes `low`, and `stop` becomes `high`."""

    name: str
    start: float
    stop: float
    low: float = -1.0
    high: float = 1.0
    period: float | None = None
    """The period of a cyclic coordinate (360 for longitudes in degrees)."""

    @classmethod
    def over(cls, name: str, values: np.ndarray, kind: CoordinatesKind) -> Self:
        """Lay an axis over grid values: ends on -1 and 1, or pixel centres of [0, 1]."""
        if len(values) < 2:
            raise InputError(
                f"Coordinate {name} has {len(values)} value: a {kind} axis needs two or more."
            )
        period = 360.0 if name == "longitude" else None
        start, stop = float(values[0]), float(values[-1])
        if kind == "box":
            return cls(name=name, start=start, stop=stop, period=period)
        half = (stop - start) / (len(values) - 1) / 2
        return cls(
            name=name, start=start - half, stop=stop + half, low=0.0, high=1.0, period=period
        )

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Map coordinate values to network inputs."""
        share = (self.wrap(values) - self.start) / (self.stop - self.start)
        return self.low + share * (self.high - self.low)

    def wrap(self, values: np.ndarray) -> np.ndarray:
        """Bring values of a cyclic coordinate to within half a period of the axis's middle."""
        values = np.asarray(values, dtype=np.float64)
        if self.period is None:
            return values
        middle = (self.start + self.stop) / 2
        return middle + (values - middle + self.period / 2) % self.period - self.period / 2


class Box(Config):
    """A box of affine axes, for regular grids."""

    kind: Literal["box"] = "box"
    box: tuple[Axis, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the coordinates that are read, slowest first."""
        return tuple(axis.name for axis in self.box)

    @property
    def inputs(self) -> int:
        """The number of inputs of a network on these coordinates."""
        return len(self.box)

    def points(self, at: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the (points, axes) inputs for the grid of the given axis values."""
        scaled = {axis.name: axis.scale(at[axis.name]) for axis in self.box if axis.name in at}
        mesh = np.stack(_grid(scaled, self.axes), axis=-1)
        return mesh.reshape(-1, self.inputs).astype(np.float32)


class Patches(Config):
    """How signals are cut into patches, each a function of its own."""

    size: PositiveInt = 8
    """Grid points of a cell each way; the last cells of a grid may stick out of it."""
    overlap: NonNegativeInt = 0
    """Grid points that a cell's window reaches into its neighbours, over which they are blended."""

    @model_validator(mode="after")
    def _overlaps_neighbours_only(self) -> Self:
        if 2 * self.overlap > self.size:
            raise ValueError("overlap is at most half of size: only neighbours are blended")
        return self


class Patchwork(Config):
    """A regular grid of cells: each has a network's inputs of its own, from -1 to 1."""

    kind: Literal["patches"] = "patches"
    box: tuple[Axis, ...]
    """The axes in units of cells, from 0 at the first edge of the training grid."""
    patches: Patches

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the coordinates that are read, slowest first."""
        return tuple(axis.name for axis in self.box)

    @property
    def inputs(self) -> int:
        """The number of inputs of a network on these coordinates."""
        return len(self.box)

    def units(
        self, grid: Mapping[str, np.ndarray], at: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        """Return coordinate values along each axis in units of cells of a grid."""
        return tuple(
            (places(grid[axis.name], axis.wrap(at[axis.name])) + 0.5) / self.patches.size
            for axis in self.box
        )


Coordinates = Annotated[Sphere | Box | Patchwork, Field(discriminator="kind")]


def coordinates_for(
    kind: CoordinatesKind,
    axes: Sequence[str],
    at: Mapping[str, np.ndarray],
    patches: Patches | None = None,
) -> Sphere | Box | Patchwork:
    """Build the coordinate function of a data set from its grid."""
    if patches is not None:
        lines = (Axis.over(name, np.asarray(at[name]), "pixel-centres") for name in axes)
        cells = (
            line.model_copy(update={"high": len(at[line.name]) / patches.size}) for line in lines
        )
        return Patchwork(box=tuple(cells), patches=patches)
    if kind == "sphere":
        return Sphere()
    return Box(box=tuple(Axis.over(name, np.asarray(at[name]), kind) for name in axes))


def area_weights(grid: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the (points,) weights of a grid, cos latitude where there is one, of mean one."""
    factors = [
        np.cos(np.deg2rad(values)) if name == "latitude" else np.ones(len(values))
        for name, values in grid.items()
    ]
    weights = np.clip(factors[0], 0, None)
    for factor in factors[1:]:
        weights = np.multiply.outer(weights, factor)
    return (weights / weights.mean()).ravel().astype(np.float32)


def _grid(at: Mapping[str, np.ndarray], axes: Sequence[str]) -> tuple[np.ndarray, ...]:
    missing = [name for name in axes if name not in at]
    if missing:
        raise InputError(f"Coordinates {', '.join(missing)} are missing: give all of {axes}.")
    return np.meshgrid(*(np.asarray(at[name], dtype=np.float64) for name in axes), indexing="ij")
