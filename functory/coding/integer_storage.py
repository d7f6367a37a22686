"""Integer networks as small arrays: what is stored of them, and what is refused on reading."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functory.coding.context import offsets
from functory.coding.integer_network import MOST_LEVELS, IntegerNetwork, MixtureTables
from functory.errors import InputError

__all__ = ["first_seen", "pack", "second_seen", "unpack"]

MOST_LATENTS = 2**11
MOST = 2**18  # inputs of one sum: with weights of 16 bits, sums stay below 2^53
KINDS = {
    "axes": np.int32,
    "levels": np.int32,
    "gain": np.int32,
    "shift": np.int64,
    "first": np.int16,
    "first_bias": np.int32,
    "first_shift": np.int8,
    "second": np.int16,
    "second_bias": np.int32,
    "second_shift": np.int8,
    "logistic": np.uint32,
    "exponential": np.uint16,
    "reciprocal": np.uint32,
}
NETWORK = ("gain", "shift", "first_bias", "first_shift", "second_bias", "second_shift")
TABLES = ("logistic", "exponential", "reciprocal")
Arrays = Mapping[str, NDArray[Any]]


def first_seen(axes: int, latents: int) -> NDArray[np.bool_]:
    """Return which inputs (context + latents) the first layer of a latent sees: (…, latents)."""
    context = np.ones((len(offsets(axes)) * (latents + 1), latents), bool)
    return np.concatenate([context, np.triu(np.ones((latents, latents), bool), 1)])


def second_seen(latents: int) -> NDArray[np.bool_]:
    """Return which latents' hidden units (first axis) the outputs of a latent (second) see."""
    return np.triu(np.ones((latents, latents), bool))


def pack(network: IntegerNetwork, tables: MixtureTables) -> dict[str, NDArray[np.generic]]:
    """Return the arrays to store; of the weights, only those that may be other than 0."""
    axes, latents = network.axes, network.latents
    parts = {name: getattr(network, name) for name in ("levels", *NETWORK)}
    parts |= {name: getattr(tables, name) for name in TABLES}
    parts["axes"] = np.array([axes])
    parts["first"] = network.first[first_seen(axes, latents)]
    parts["second"] = np.moveaxis(network.second, 1, 2)[second_seen(latents)]
    return {name: parts[name].astype(kind) for name, kind in KINDS.items()}


def unpack(arrays: Arrays) -> tuple[IntegerNetwork, MixtureTables]:
    """Read what `pack` returned; InputError where it is anything else."""
    found: dict[str, NDArray[Any]] = {name: np.asarray(array) for name, array in arrays.items()}
    if {name: a.dtype for name, a in found.items()} != {n: np.dtype(k) for n, k in KINDS.items()}:
        _refuse("the arrays", f"{', '.join(KINDS)}, each of its own type")
    axes, latents, units, components = _sizes(found)
    first, second = first_seen(axes, latents), second_seen(latents)
    rows, outputs = (latents, units + 1), (latents, 3, components)
    shapes = {
        "gain": (latents,),
        "shift": (latents,),
        "first": (int(first.sum()), units + 1),
        "first_bias": rows,
        "first_shift": rows,
        "second": (int(second.sum()), units, 3, components),
        "second_bias": outputs,
        "second_shift": outputs,
    }
    for name, shape in shapes.items():
        if found[name].shape != shape:
            _refuse(name, f"of shape {shape}")
    for name, (low, high) in {
        "gain": (1, 2**31),
        "shift": (-(2**50), 2**50),
        "first_shift": (0, 64),
        "second_shift": (0, 64),
    }.items():
        if ((found[name] < low) | (found[name] >= high)).any():
            _refuse(name, f"from {low} to {high - 1}")
    dense = np.zeros((*first.shape, units + 1))
    dense[first] = found["first"]
    wide = np.zeros((*second.shape, units, 3, components))
    wide[second] = found["second"]
    network = IntegerNetwork(
        axes=axes,
        levels=found["levels"].astype(np.float64),
        first=dense,
        second=np.ascontiguousarray(np.moveaxis(wide, 2, 1)),
        **{name: found[name].astype(np.float64) for name in NETWORK},
    )
    return network, MixtureTables(**{name: found[name] for name in TABLES})


def _sizes(found: Arrays) -> tuple[int, int, int, int]:
    """Return axes, latents, units and components, each within its bounds."""
    for name, dimensions in {"axes": 1, "levels": 1, "first_bias": 2, "second_bias": 3}.items():
        if found[name].ndim != dimensions or found[name].size == 0:
            _refuse(name, f"not empty and of {dimensions} axes")
    axes, latents = int(found["axes"].ravel()[0]), found["levels"].size
    units, components = found["first_bias"].shape[1] - 1, found["second_bias"].shape[2]
    if found["axes"].size != 1 or not 0 <= axes <= 3:
        _refuse("axes", "one number from 0 to 3")
    if ((found["levels"] < 1) | (found["levels"] > MOST_LEVELS)).any():
        _refuse("levels", f"from 1 to {MOST_LEVELS}")
    if latents > MOST_LATENTS:
        _refuse("levels", f"of at most {MOST_LATENTS} latents")
    slots = len(offsets(axes))
    if units < 1 or components > 16 or (slots + 1) * (latents + 1) + latents * units > MOST:
        _refuse("first_bias or second_bias", "of a network that is small enough to be exact")
    return axes, latents, units, components


def _refuse(name: str, expected: str) -> None:
    raise InputError(
        f"the entropy model is damaged: {name} should be {expected}; copy the model again."
    )
