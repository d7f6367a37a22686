"""Attributes of Datasets as JSON that keeps the types that NetCDF knows."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, JsonValue
from pydantic_core import from_json

__all__ = ["NUMBERS", "Attributes", "from_attributes", "to_attributes"]

NUMBERS = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)
LARGEST = 4096  # numbers in one attribute: what has more is no description


def from_attributes(
    attributes: Mapping[Any, Any], where: str
) -> tuple[dict[str, JsonValue], list[str]]:
    """Return attributes as JSON, and a sentence for each that has no place there.

    Text, lists and plain numbers are themselves; numbers of NumPy carry their type.
    """
    kept, lost = {}, []
    for key, value in attributes.items():
        try:
            kept[str(key)] = _coded(value)
        except (TypeError, ValueError, RecursionError):
            lost.append(
                f"The attribute {key!r} of {where} is left out, since a {type(value).__name__} of "
                "this kind has no place in a coded file."
            )
    return kept, lost


def to_attributes(coded: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Return the attributes that `from_attributes` was given.

    Raises
    ------
    ValueError
        If it never made these.
    """
    return {key: _decoded(value) for key, value in coded.items()}


def _decodable(coded: dict[str, JsonValue]) -> dict[str, JsonValue]:
    to_attributes(coded)
    return coded


Attributes = Annotated[dict[str, JsonValue], AfterValidator(_decodable)]
"""Attributes as they are in a coded file."""


def _coded(value: Any) -> JsonValue:
    if isinstance(value, np.ndarray | np.generic):
        return _coded_array(np.asarray(value))
    if isinstance(value, float) and not math.isfinite(value):
        return {"dtype": "float64", "values": str(value)}
    text = json.dumps(value, allow_nan=False, ensure_ascii=False)
    plain = from_json(text.encode())  # refuses what a reader would: half characters, great depth
    return {"json": plain} if isinstance(plain, dict) else plain


def _coded_array(array: NDArray[Any]) -> JsonValue:
    if array.dtype.kind in "UO":
        if not all(isinstance(item, str) for item in array.flat):
            raise TypeError
        return _coded(array.tolist())
    name = array.dtype.name
    if array.ndim > 1 or array.size > LARGEST or name not in NUMBERS:
        raise ValueError
    # the shortest decimals that give a float of this width back: 0.1 where float64 has 17 digits
    items = [float(str(x)) if array.dtype.kind == "f" else x.item() for x in array.ravel()]
    values = [x if math.isfinite(x) else str(x) for x in items]
    if array.ndim:
        return {"dtype": name, "values": values}
    plain = name in ("bool", "int64", "float64") and not isinstance(values[0], str)
    return values[0] if plain else {"dtype": name, "values": values[0]}


def _decoded(coded: JsonValue) -> Any:
    if not isinstance(coded, dict):
        return coded
    if coded.keys() == {"json"}:
        return coded["json"]
    name = coded.get("dtype")
    if coded.keys() != {"dtype", "values"} or not isinstance(name, str) or name not in NUMBERS:
        raise ValueError("an attribute is neither plain nor numbers of a known type")
    try:
        array = np.array(coded["values"], dtype=name)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"an attribute is no {name}") from error
    if array.ndim > 1:
        raise ValueError("an attribute has more than one dimension")
    return array if array.ndim else array[()]
