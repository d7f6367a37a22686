"""Spatial functions: a signal in patches, each with modulations of its own, on one network.

The grid is cut into cells of equal size. Each cell's function is fitted on a window that may reach
into its neighbours; where windows overlap, functions are blended, so that no seam is left.
After chapter 6 of the thesis and Bauer et al. 2023, Spatial Functa.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from functory.fields.coordinates import Patches
from functory.fields.siren import LatentModulatedSiren

__all__ = [
    "cells_of",
    "cut",
    "decode_patches",
    "window_points",
]

VALUES = 2**22  # activations of a layer that are held at once when decoding


def cells_of(shape: Sequence[int], patches: Patches) -> tuple[int, ...]:
    """Return how many cells a grid has along each axis."""
    return tuple(math.ceil(points / patches.size) for points in shape)


def cut(values: Tensor, shape: Sequence[int], patches: Patches) -> Tensor:
    """Cut what lies on a grid, (signals, points, features), into its patches' windows.

    What of a window lies outside of the grid repeats what lies inside, mirrored.

    Returns
    -------
    Tensor
        (signals times cells, window points, features), cell by cell in the order of the axes.
    """
    windows = _outer([_windows(points, patches) for points in shape])
    chosen = torch.from_numpy(np.ravel_multi_index(tuple(windows), tuple(shape)))
    return values[:, chosen].flatten(0, 1)


def window_points(axes: int, patches: Patches) -> Tensor:
    """Return the inputs of the network at a window's points, (window points, axes).

    A cell reaches from -1 to 1, and its window beyond.
    """
    steps = np.arange(-patches.overlap, patches.size + patches.overlap)
    local = 2 * (steps + 0.5) / patches.size - 1
    mesh = np.stack(_outer([local[None]] * axes), -1)[0]
    return torch.from_numpy(mesh.astype(np.float32))


def decode_patches(
    network: LatentModulatedSiren,
    modulations: Tensor,
    units: Sequence[np.ndarray],
    patches: Patches,
    blend: bool = True,
) -> Tensor:
    """Evaluate spatial functions on the grid of some coordinates.

    Parameters
    ----------
    modulations
        (signals, cells along each axis, latents).
    units
        The coordinates along each axis, in units of cells.
    blend
        Whether neighbours are cross-faded where their windows overlap; else each point is that of
        the cell that it lies in.

    Returns
    -------
    Tensor
        (signals, points, outputs).
    """
    cells = modulations.shape[1:-1]
    reach = patches.overlap / patches.size if blend else 0.0
    places = [_place(u, n, reach) for u, n in zip(units, cells, strict=True)]
    shape = tuple(len(u) for u in units)
    positions = np.ravel_multi_index(tuple(_outer([p.positions for p in places])), shape)
    local = np.stack(_outer([p.local for p in places]), -1)
    weights = np.prod(_outer([p.weights for p in places]), axis=0)[..., None]
    device = modulations.device
    where = torch.from_numpy(positions).to(device)
    at, share = (torch.from_numpy(a.astype(np.float32)).to(device) for a in (local, weights))
    phi = modulations.flatten(1, -2)
    block = max(1, VALUES // (network.config.width * at.shape[1]))  # cells at once
    found = []
    for some in phi.split(max(1, block // len(at))):
        result = phi.new_zeros(len(some), math.prod(shape), network.outputs)
        for part in torch.arange(len(at), device=device).split(block):
            points = at[part].repeat(len(some), 1, 1)
            values = network(points, some[:, part].flatten(0, 1))
            weighted = values.unflatten(0, (len(some), -1)) * share[part]
            result = result.index_add(1, where[part].flatten(), weighted.flatten(1, 2))
        found.append(result)
    return torch.cat(found)


@dataclass(frozen=True)
class _Places:
    """What each cell of an axis evaluates, (cells, places); spare places weigh nothing."""

    positions: np.ndarray
    local: np.ndarray
    weights: np.ndarray


def _place(units: np.ndarray, cells: int, reach: float) -> _Places:
    """Give coordinates to the cells in whose windows they lie, with weights that sum to one."""
    cell = np.arange(cells)[:, None]
    left, right = units - cell, cell + 1 - units  # how far inside of either edge
    if reach:
        shares = [np.clip((side + reach) / (2 * reach), 0, 1) for side in (left, right)]
    else:
        shares = [np.where(left >= 0, 1.0, 0.0), np.where(right > 0, 1.0, 0.0)]
    shares[0][0] = shares[1][-1] = 1.0  # nothing to blend with beyond the grid
    weights = shares[0] * shares[1]
    most = max(1, int((weights > 0).sum(1).max()))
    order = np.argsort(weights == 0, axis=1, kind="stable")[:, :most]
    taken = np.take_along_axis
    return _Places(order, 2 * taken(left, order, 1) - 1, taken(weights, order, 1))


def _windows(points: int, patches: Patches) -> np.ndarray:
    """Return the grid positions of every cell's window along an axis, (cells, window points)."""
    starts = patches.size * np.arange(math.ceil(points / patches.size))[:, None]
    inside = starts + np.arange(-patches.overlap, patches.size + patches.overlap)
    folded = np.mod(inside, 2 * points)  # mirrored at both ends, edges repeated
    return np.where(folded < points, folded, 2 * points - 1 - folded)


def _outer(lines: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Combine (cells, points) of every axis: for each axis (all cells, all points)."""
    axes = len(lines)
    found = []
    for i, line in enumerate(lines):
        shape = [1] * (2 * axes)
        shape[i], shape[axes + i] = line.shape
        found.append(line.reshape(shape))
    whole = np.broadcast_arrays(*found)
    cells = math.prod(line.shape[0] for line in lines)
    return [np.ascontiguousarray(each).reshape(cells, -1) for each in whole]
