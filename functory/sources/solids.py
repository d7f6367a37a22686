"""Solids as tests of points: what a generated shape is put together from.

A solid tells of coordinates x, y, z, which broadcast against each other, whether they are inside.
It has no resolution; its surface belongs to it.
"""

from collections.abc import Callable
from functools import reduce
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Solid", "box", "cut", "ellipsoid", "loft", "mirrored", "moved", "rod", "union"]

Array: TypeAlias = NDArray[np.float64]
Solid: TypeAlias = Callable[[Array, Array, Array], NDArray[np.bool_]]
Point: TypeAlias = tuple[float, float, float]
Span: TypeAlias = tuple[float, float] | float  # a number w stands for (-w, w)


def box(x: Span, y: Span, z: Span) -> Solid:
    """Return the box over three spans."""
    return loft("z", z, (x, y), (x, y))


def loft(
    along: Literal["x", "y", "z"], reach: Span, start: tuple[Span, Span], end: tuple[Span, Span]
) -> Solid:
    """Return what a rectangle sweeps that goes over `reach` and changes linearly on its way.

    `start` and `end` are its spans on the two other axes, in alphabetical order. So a table's leg
    tapers, a chair's back leans and a wing is swept.
    """
    axis = "xyz".index(along)
    first, last = _ends(reach)

    def inside(*point: Array) -> NDArray[np.bool_]:
        way = (point[axis] - first) / (last - first)
        within = (way >= 0) & (way <= 1)
        across = point[:axis] + point[axis + 1 :]
        for values, here, there in zip(across, map(_ends, start), map(_ends, end), strict=True):
            within = within & (values >= here[0] + way * (there[0] - here[0]))
            within = within & (values <= here[1] + way * (there[1] - here[1]))
        return within

    return inside


def rod(start: Point, end: Point, radius: float, last: float | None = None) -> Solid:
    """Return the cylinder between two points, or a cone: `last` is then the radius at its end."""
    axis = np.subtract(end, start)
    growth = 0.0 if last is None else last - radius

    def inside(*point: Array) -> NDArray[np.bool_]:
        offsets = [values - at for values, at in zip(point, start, strict=True)]
        way = sum(offset * step for offset, step in zip(offsets, axis, strict=True)) / (axis @ axis)
        away = sum((offset - way * step) ** 2 for offset, step in zip(offsets, axis, strict=True))
        return (way >= 0) & (way <= 1) & (away <= (radius + way * growth) ** 2)

    return inside


def ellipsoid(centre: Point, radii: Point, power: float = 2) -> Solid:
    """Return the ellipsoid; a power above 2 makes it a cushion, one below 2 an octahedron."""

    def inside(*point: Array) -> NDArray[np.bool_]:
        terms = (
            (abs(values - middle) / radius) ** power
            for values, middle, radius in zip(point, centre, radii, strict=True)
        )
        return reduce(np.add, terms) <= 1

    return inside


def union(*solids: Solid) -> Solid:
    """Return what is inside any of the solids."""
    return lambda x, y, z: reduce(np.logical_or, (solid(x, y, z) for solid in solids))


def cut(solid: Solid, *holes: Solid) -> Solid:
    """Return the solid without the holes, of which there may be none."""
    return lambda x, y, z: reduce(lambda rest, hole: rest & ~hole(x, y, z), holes, solid(x, y, z))


def mirrored(solid: Solid, axes: Literal["x", "xy"] = "x") -> Solid:
    """Return the part of the solid at positive x (and y) with its mirror images."""
    if axes == "x":
        return lambda x, y, z: solid(abs(x), y, z)
    return lambda x, y, z: solid(abs(x), abs(y), z)


def moved(solid: Solid, by: Point) -> Solid:
    """Return the solid in another place."""
    return lambda x, y, z: solid(x - by[0], y - by[1], z - by[2])


def _ends(span: Span) -> tuple[float, float]:
    return span if isinstance(span, tuple) else (-span, span)
