"""What a file takes of a Dataset: one variable, part after part, and as whole numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import DTypeLike, NDArray

from functory.errors import InputError

__all__ = ["PIECE", "gather", "only_variable", "pieces", "whole_numbers"]

PIECE = 2**22
"""Values that are read or written at once, about."""


def only_variable(
    dataset: xr.Dataset, name: str, dims: tuple[str, ...], path: Path, most: int | None = 1
) -> xr.DataArray:
    """Return a variable with its dimensions in order, or say why a file cannot hold a Dataset.

    Parameters
    ----------
    dims
        What follows the dimension `sample`, which is added where there is none.
    most
        How many samples the file can hold; None where it is any number.
    """
    if list(dataset.data_vars) != [name]:
        there = ", ".join(map(str, dataset.data_vars)) or "nothing"
        raise InputError(
            f"{path.name} can hold the variable {name!r} alone, but these signals are {there}: "
            "write them to .nc or .zarr."
        )
    array = dataset[name]
    if "sample" not in array.dims:
        array = array.expand_dims("sample")
    if set(array.dims) != {"sample", *dims}:
        raise InputError(
            f"{path.name} holds {name}({', '.join(dims)}), but here it has the dimensions "
            f"{', '.join(map(str, array.dims))}: write it to .nc or .zarr."
        )
    if most is not None and array.sizes["sample"] > most:
        raise InputError(
            f"{path.name} can hold one signal, but there are {array.sizes['sample']}: select one "
            "of them, or write them to .nc or .zarr."
        )
    if not array.size:
        raise InputError(f"{path.name} would hold no value: select a larger part.")
    return array.transpose("sample", *dims)


def pieces(array: xr.DataArray, dim: str) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield the values of an array part after part along a dimension, computed as they come."""
    size = array.sizes[dim]
    step = max(1, PIECE * size // array.size)
    start, ends = 0, np.cumsum(array.chunksizes.get(dim, (step,) * -(-size // step)))
    for end in ends.clip(max=size).tolist():
        yield slice(start, end), array.isel({dim: slice(start, end)}).values
        start = end


def gather(
    array: xr.DataArray,
    dim: str,
    convert: Callable[[NDArray[Any]], NDArray[Any]],
    dtype: DTypeLike,
) -> NDArray[Any]:
    """Return all values converted, for which no more than a part is held unconverted."""
    gathered = np.empty(array.shape, dtype)
    axis = array.get_axis_num(dim)
    for part, values in pieces(array, dim):
        gathered[(slice(None),) * axis + (part,)] = convert(values)
    return gathered


def whole_numbers(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Round values to the nearest integers, those out of range to the least or the greatest.

    Raises
    ------
    InputError
        If a value is not finite: no integer stands for that.
    """
    if not np.isfinite(values).all():
        raise InputError(
            "values that are not finite cannot be written as whole numbers: write to .nc or .zarr."
        )
    limits = np.iinfo(dtype)
    highest = float(limits.max)
    if int(highest) > limits.max:  # of 64 bits, the float beside it is the next power of two
        highest = float(np.nextafter(highest, 0))
    return np.rint(values).clip(limits.min, highest).astype(dtype)
