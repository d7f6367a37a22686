"""Nested states (of optimisers, of runs) as safetensors: tensors by path, the rest as JSON."""

import json
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["pack", "unpack"]

TREE = "tree"


def pack(state: Any) -> bytes:
    """Write a state of dicts, lists, tensors and JSON values; no pickle, so safe to read."""
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_split(state, "", tensors)).encode()
    return save(tensors | {TREE: torch.frombuffer(bytearray(tree), dtype=torch.uint8)})


def unpack(packed: bytes) -> Any:
    """Read a state that `pack` wrote; tuples come back as lists."""
    tensors = load(packed)
    return _join(json.loads(tensors.pop(TREE).numpy().tobytes()), tensors)


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Return what JSON can hold of a value, every container with its kind; collect the tensors."""
    if isinstance(value, Tensor):
        copy = value.detach().clone()  # safetensors refuses shared memory
        tensors[path] = copy.contiguous()
        # the order in memory too: sums in another order have other last bits
        return {"tensor": path, "stride": copy.stride()}
    if isinstance(value, dict):  # as pairs: keys may be integers
        return {"dict": [[k, _split(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return value


def _join(tree: Any, tensors: dict[str, Tensor]) -> Any:
    match tree:
        case {"tensor": path, "stride": stride}:
            tensor = tensors[path]
            return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
        case {"dict": pairs}:
            return {key: _join(part, tensors) for key, part in pairs}
        case {"list": parts}:
            return [_join(part, tensors) for part in parts]
    return tree
