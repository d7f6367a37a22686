"""A canvas of smooth shapes, each given by the distance of every pixel from its edge.

Shapes have no resolution: pixels only sample them. Lengths are of any unit; x points right and y
down.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Canvas", "Colour", "box", "ellipse", "line", "mixed"]

Array = NDArray[np.floating]
Colour = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""


@dataclass(frozen=True)
class Canvas:
    """Colours (3, row, column) of pixels, and where these are in a frame, maybe a turned one."""

    colours: Array
    x: Array
    y: Array
    shade: Array
    """What light makes of a colour at each pixel, a factor."""
    pixel: float
    """The width of a pixel in the unit of x and y."""

    def paint(
        self, distance: Array, colour: Colour, opacity: float = 1.0, soft: float = 0.0
    ) -> None:
        """Paint all that is within a distance of 0; the edge is a pixel wide, or softer."""
        cover = np.clip(0.5 - distance / (self.pixel + soft), 0, 1) * opacity
        change = np.array(colour, np.float32)[:, None, None] * self.shade
        change -= self.colours
        change *= cover
        self.colours[:] += change

    def near(self, x: float, y: float, reach: float) -> "Canvas":
        """Return the part of the canvas around a place, as a view; the place is its origin."""
        x, y = float(x), float(y)
        right = float(self.x[0, 1] - self.x[0, 0]), float(self.y[0, 1] - self.y[0, 0])
        away = x - float(self.x[0, 0]), y - float(self.y[0, 0])
        squared = right[0] ** 2 + right[1] ** 2
        column = (away[0] * right[0] + away[1] * right[1]) / squared
        row = (away[1] * right[0] - away[0] * right[1]) / squared
        half = reach * (abs(right[0]) + abs(right[1])) / squared
        part = tuple(slice(max(int(p - half), 0), max(int(p + half) + 2, 0)) for p in (row, column))
        colours, shade = self.colours[:, *part], self.shade[part]
        return Canvas(colours, self.x[part] - x, self.y[part] - y, shade, self.pixel)


def ellipse(x: Array, y: Array, width: float, height: float) -> Array:
    """Return the distance from an ellipse around the origin, nearly exact close to its edge."""
    x, y = x / width, y / height
    squares = x * x + y * y
    slope = np.sqrt((x / width) ** 2 + (y / height) ** 2) + 1e-6
    return (squares - np.sqrt(squares)) / slope


def line(x: Array, y: Array, end: tuple[float, float]) -> Array:
    """Return the distance from a line between the origin and its end."""
    squared = max(end[0] ** 2 + end[1] ** 2, 1e-6)
    along = np.clip((x * end[0] + y * end[1]) / squared, 0, 1)
    return np.sqrt((x - along * end[0]) ** 2 + (y - along * end[1]) ** 2)


def box(x: Array, y: Array, width: float, height: float, corner: float) -> Array:
    """Return the distance from a box around the origin with round corners."""
    x, y = abs(x) - (width - corner), abs(y) - (height - corner)
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2)
    return outside + np.minimum(np.maximum(x, y), 0) - corner


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Return a colour between two."""
    red, green, blue = (a + share * (b - a) for a, b in zip(one, other, strict=True))
    return red, green, blue
