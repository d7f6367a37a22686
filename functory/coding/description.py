"""What a Dataset is besides its signals: enough to give the user's own Dataset back."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, JsonValue, ValidationError, model_validator

from functory.coding.attributes import NUMBERS, Attributes, from_attributes, to_attributes
from functory.coding.coordinate_values import (
    Values,
    check_values,
    compress,
    decompress,
    footprint,
    pack,
    stored_bytes,
    unpack,
)
from functory.configuration import Config
from functory.errors import InputError

__all__ = ["Description", "Variable", "coordinates", "describe", "restore"]

LARGEST = 2**27  # bytes of all coordinates in memory
PACKING = {"scale_factor", "add_offset"}
PACKED = {"dtype", "_FillValue", "missing_value", *PACKING}
KEPT = {*PACKED, "units", "calendar", "coordinates", "grid_mapping", "bounds"}
REFERENCES = ("bounds", "climatology", "grid_mapping")  # of CF: each names another variable


def _known(encoding: dict[str, JsonValue]) -> dict[str, JsonValue]:
    dtype = encoding.get("dtype", "int8")
    if not encoding.keys() <= KEPT or not isinstance(dtype, str) or dtype not in NUMBERS:
        raise ValueError("an encoding is not one of those that are kept")
    return encoding


class Variable(Config):
    """A signal, whose values are in the chunks, or another variable, which keeps its own."""

    dims: tuple[str, ...] = Field(max_length=32)
    """Dimensions in their order."""
    dtype: str = Field(max_length=40)
    """Type of the values in memory."""
    values: Values | None = None
    """How the values are kept; null for a signal."""
    coordinate: bool = False
    """Whether it is a coordinate, rather than a data variable such as bounds."""
    attributes: Attributes = Field(default={})
    """Units, names and whatever else the user gave."""
    encoding: Annotated[Attributes, AfterValidator(_known)] = Field(default={})
    """How the variable was on disk: type, units and calendar of times, fill values."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.dims)) != len(self.dims):
            raise ValueError("a dimension is there twice")
        if self.values is not None:
            check_values(self.dtype, self.values)
        elif self.coordinate or self.dtype not in NUMBERS:
            raise ValueError(f"signals are not of type {self.dtype}")
        return self


class Description(Config):
    """The variables of a Dataset, signals and others, and what is said about them."""

    sizes: dict[str, Annotated[int, Field(ge=0, le=2**40)]] = Field(default={}, max_length=1000)
    """Length of each dimension."""
    variables: dict[str, Variable] = Field(default={}, max_length=1000)
    """Variables by their names, in the order of the Dataset."""
    attributes: Attributes = Field(default={})
    """Attributes of the whole Dataset."""
    unlimited: tuple[str, ...] = ()
    """Dimensions that may grow on disk."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = {dim for variable in self.variables.values() for dim in variable.dims}
        if not named.union(self.unlimited) <= self.sizes.keys():
            raise ValueError("a dimension has no size")
        for name, variable in self.variables.items():
            if name in self.sizes and variable.dims != (name,):
                raise ValueError("a variable has the name of a dimension that it is not along")
        needed = sum(
            footprint(variable.dtype, values, math.prod(self.shape(variable)))
            for variable, values in self._others().values()
        )
        if needed > LARGEST:
            raise ValueError(f"its coordinates take more than {LARGEST >> 20} MiB")
        return self

    def shape(self, variable: Variable) -> tuple[int, ...]:
        """Return the lengths of a variable's dimensions."""
        return tuple(self.sizes[dim] for dim in variable.dims)

    def restored(self, arrays: bytes) -> dict[str, xr.Variable]:
        """Return the variables that are no signals, by their names."""
        others = self._others()
        shapes = [self.shape(variable) for variable, _ in others.values()]
        try:
            lengths = [
                stored_bytes(values, math.prod(shape))
                for (_, values), shape in zip(others.values(), shapes, strict=True)
            ]
            parts = zip(others.items(), shapes, decompress(arrays, lengths), strict=True)
            return {
                name: _labelled(variable, unpack(variable.dtype, values, shape, raw))
                for (name, (variable, values)), shape, raw in parts
            }
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(
                "The coordinates of the coded file are damaged: encode it again."
            ) from error

    def _others(self) -> dict[str, tuple[Variable, Values]]:
        """Return the variables that are no signals, and how their values are kept."""
        pairs = {name: (v, v.values) for name, v in self.variables.items()}
        return {name: (v, values) for name, (v, values) in pairs.items() if values is not None}


def describe(dataset: xr.Dataset, variables: Sequence[str]) -> tuple[Description, bytes, list[str]]:
    """Describe a Dataset whose `variables` are coded as signals.

    Coordinates keep their values bit for bit, and so do the data variables that another one names
    as its bounds or its grid mapping.

    Returns
    -------
    tuple
        The description; the compressed values of coordinates that are not equally spaced; a
        sentence for each thing that is left out.

    Raises
    ------
    InputError
        If a variable is missing or is no array of numbers, or a name is no text.
    """
    _check(dataset, variables)
    described, arrays = {}, []
    attributes, lost = from_attributes(dataset.attrs, "the Dataset")
    related = _related(dataset, variables)
    try:
        for name, variable in dataset.variables.items():
            if name not in {*variables, *dataset.coords, *related}:
                lost.append(f"The variable {name!r} is left out, since the model does not know it.")
                continue
            coordinate, signal = name in dataset.coords, name in variables
            found, stored, without = _describe(str(name), variable, coordinate, signal)
            lost += without
            if found is not None:
                described[str(name)] = found
                arrays.append(stored)
        used = {dim for found in described.values() for dim in found.dims}
        unlimited = used.intersection(dataset.encoding.get("unlimited_dims", ()))
        description = Description(
            sizes={str(dim): size for dim, size in dataset.sizes.items() if dim in used},
            variables=described,
            attributes=attributes,
            unlimited=tuple(sorted(unlimited)),
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"The Dataset cannot be coded: {reason}.") from error
    return description, compress(arrays), lost


def restore(
    description: Description, arrays: bytes, values: Mapping[str, NDArray[Any] | da.Array]
) -> xr.Dataset:
    """Return the Dataset that was described, with the values of its signals.

    Parameters
    ----------
    values
        An array of NumPy or Dask for each signal, of its own shape.

    Raises
    ------
    InputError
        If the description is damaged.
    """
    found = description.restored(arrays)
    for name, variable in description.variables.items():
        if variable.values is None:
            shape = description.shape(variable)
            if values[name].shape != shape:
                raise ValueError(
                    f"{name} has shape {values[name].shape}, but is described as {shape}"
                )
            found[name] = _labelled(
                variable, values[name].astype(variable.dtype, casting="same_kind")
            )
    order = {name: found[name] for name in description.variables}
    coords = {name: order.pop(name) for name, v in description.variables.items() if v.coordinate}
    try:
        dataset = xr.Dataset(order, coords, to_attributes(description.attributes))
    except (ValueError, TypeError) as error:  # such as dates that no index can hold
        raise InputError(
            "The description of the coded Dataset is damaged: encode it again."
        ) from error
    dataset.encoding["unlimited_dims"] = set(description.unlimited)
    return dataset


def coordinates(description: Description, arrays: bytes) -> dict[str, xr.Variable]:
    """Return the coordinates of the Dataset that was described, by their names.

    Raises
    ------
    InputError
        If the description is damaged.
    """
    found = description.restored(arrays)
    return {name: v for name, v in found.items() if description.variables[name].coordinate}


def _check(dataset: xr.Dataset, variables: Sequence[str]) -> None:
    """Refuse names that are no text, and signals that are missing or are no numbers."""
    for name in [*dataset.variables, *dataset.sizes]:
        if not isinstance(name, str):
            raise InputError(f"The Dataset has the name {name!r}, which is no text: rename it.")
    for name in variables:
        if name not in dataset.data_vars:
            raise InputError(
                f"The Dataset has no variable {name!r}: it has {[*dataset.data_vars]}."
            )
        if dataset[name].dtype.name not in NUMBERS:
            raise InputError(
                f"The variable {name!r} is of type {dataset[name].dtype}: convert it to float32."
            )


def _describe(
    name: str, variable: xr.Variable, coordinate: bool, signal: bool
) -> tuple[Variable | None, bytes, list[str]]:
    """Return a variable (none where it has no place), what is stored of it, and what is lost."""
    dtype, values, stored = variable.dtype.name, None, b""
    if not signal:
        try:
            dtype, values, stored = pack(variable.values)
        except (TypeError, ValueError):
            return (
                None,
                b"",
                [f"The variable {name!r} is left out, since {dtype} has no place here."],
            )
    attributes, lost = from_attributes(variable.attrs, f"the variable {name!r}")
    encoding, without = _encoding(name, variable, signal)
    described = Variable(
        dims=tuple(map(str, variable.dims)),
        dtype=dtype,
        values=values,
        coordinate=coordinate,
        attributes=attributes,
        encoding=encoding,
    )
    return described, stored, lost + without


def _related(dataset: xr.Dataset, variables: Sequence[str]) -> set[Any]:
    """Return what signals and coordinates name as their bounds or their grid mapping."""
    related: set[Any] = set()
    for name in [*variables, *dataset.coords]:
        said = {**dataset[name].encoding, **dataset[name].attrs}
        related.update(said[key] for key in REFERENCES if isinstance(said.get(key), str))
    return related


def _encoding(
    name: str, variable: xr.Variable, signal: bool
) -> tuple[dict[str, JsonValue], list[str]]:
    """Return what of a variable's encoding is kept, and a sentence if it cannot all be."""
    kept = {key: value for key, value in variable.encoding.items() if key in KEPT}
    lost = []
    if signal and PACKING & kept.keys():
        kept = {key: value for key, value in kept.items() if key not in PACKED}
        lost.append(
            f"The packing of {name!r} into integers is left out, since decoded values may lie "
            "outside of their range."
        )
    dtype = kept.pop("dtype", None)
    if dtype is not None and np.dtype(dtype).name in NUMBERS - {variable.dtype.name}:
        kept["dtype"] = np.dtype(dtype).name
    encoding, without = from_attributes(kept, f"the encoding of {name!r}")
    return encoding, lost + without


def _labelled(variable: Variable, values: NDArray[Any] | da.Array) -> xr.Variable:
    attributes, encoding = to_attributes(variable.attributes), to_attributes(variable.encoding)
    if "dtype" in encoding:
        encoding["dtype"] = np.dtype(encoding["dtype"])
    return xr.Variable(variable.dims, values, attributes, encoding)
