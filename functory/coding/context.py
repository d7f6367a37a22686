"""The causal context of a cell: the neighbours on the lattice that are decoded before it."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["lattice", "neighbours", "offsets", "waves"]


def offsets(axes: int) -> list[tuple[int, ...]]:
    """Return the relative positions of a cell's neighbours: its slots, in their order.

    Along one axis the two cells before; with more axes the other corners of the unit cube that
    ends in the cell.
    """
    if axes == 1:
        return [(-1,), (-2,)]
    return [corner for corner in product((0, -1), repeat=axes) if any(corner)]


def lattice(cells: tuple[int, ...]) -> NDArray[np.intp]:
    """Return every position of the lattice, (positions, axes), the last axis fastest."""
    every = list(np.ndindex(*cells))
    return np.array(every, dtype=np.intp).reshape(len(every), len(cells))


def waves(cells: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Return the lattice's positions (positions, axes) in groups that can be decoded at once.

    The neighbours of a group's cells are all in earlier groups: their coordinates have a smaller
    sum.
    """
    positions = lattice(cells)
    distance = positions.sum(axis=1)
    return [positions[distance == d] for d in range(1 + sum(side - 1 for side in cells))]


def neighbours(
    values: NDArray[np.float64], positions: NDArray[np.intp], one: float = 1.0
) -> NDArray[np.float64]:
    """Return what the cells at `positions` know of their neighbours.

    Parameters
    ----------
    values
        Of shape (signals, *cells, latents); only cells before those asked for are read.
    positions
        Of shape (positions, axes).
    one
        What stands for "this neighbour exists".

    Returns
    -------
    (signals, positions, slots · latents + slots): the latents of each slot, 0 where there is no
    such cell, then a flag for each slot.
    """
    axes = positions.shape[1]
    parts, flags = [], []
    for offset in offsets(axes):
        where = positions + offset
        exists = np.all(where >= 0, axis=1, keepdims=True)
        parts.append(values[(slice(None), *where.clip(min=0).T)] * exists)
        flags.append(np.broadcast_to(exists * one, (*parts[-1].shape[:2], 1)))
    empty = np.zeros((len(values), len(positions), 0))
    return np.concatenate([empty, *parts, *flags], axis=-1)
