"""On which grid a signal is evaluated: its own, a finer one, a part, or any other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functory.errors import InputError

__all__ = ["between", "finer", "places", "within"]

Grid = Mapping[str, NDArray[np.float64]]


def finer(values: NDArray[np.float64], scale: float, ends: bool) -> NDArray[np.float64]:
    """Return coordinates with `scale` times as many points.

    Where coordinates are `ends` of a box (degrees), the first and the last stay where they are;
    else they are the middles of cells (pixels), whose outer edges stay.
    """
    count = len(values)
    if ends:
        return between(values, np.linspace(0, count - 1, round((count - 1) * scale) + 1))
    return between(values, (np.arange(round(count * scale)) + 0.5) / scale - 0.5)


def between(values: NDArray[np.float64], index: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the coordinates at fractions of an index, on beyond the ends as at the ends."""
    if len(values) == 1:
        return np.full(len(index), values[0])
    left = np.clip(np.floor(index).astype(int), 0, len(values) - 2)
    return values[left] + (index - left) * (values[left + 1] - values[left])


def places(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which fraction of an index each coordinate is: the inverse of `between`."""
    if len(values) == 1:
        return np.zeros(len(at))
    order = slice(None) if values[-1] > values[0] else slice(None, None, -1)
    ascending = values[order]
    left = np.clip(np.searchsorted(ascending, at, side="right") - 1, 0, len(values) - 2)
    index = left + (at - ascending[left]) / (ascending[left + 1] - ascending[left])
    return index if values[-1] > values[0] else len(values) - 1 - index


def within(grid: Grid, box: Mapping[str, tuple[float, float]]) -> dict[str, NDArray[np.float64]]:
    """Return the part of a grid that lies in a box of coordinates, both ends included.

    Raises
    ------
    InputError
        If the box has an axis that the grid does not, or no point is inside.
    """
    found = dict(grid)
    for axis, (start, stop) in box.items():
        if axis not in grid:
            raise InputError(f"There is no axis {axis}: the axes are {', '.join(grid)}.")
        low, high = min(start, stop), max(start, stop)
        found[axis] = grid[axis][(grid[axis] >= low) & (grid[axis] <= high)]
        if not len(found[axis]):
            raise InputError(
                f"No point of the grid has {axis} from {low:g} to {high:g}: it reaches from "
                f"{grid[axis].min():g} to {grid[axis].max():g}."
            )
    return found
