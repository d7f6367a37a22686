"""Codecs as files: the network, its solver, and what rounds and codes modulations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from functory.coding.codec import Codec, OperatingPoint
from functory.coding.header import Identity
from functory.coding.integer_model import IntegerModel
from functory.coding.quantisation import StepQuantiser
from functory.configuration import Config
from functory.errors import InputError, StoreError
from functory.metalearning.solvers import SolverConfig, build_solver
from storage.networks import read_network
from storage.references import Record, Reference
from storage.versions import Store

__all__ = ["CODEC", "codec_of", "find_codec", "identity_of", "read_codec", "write_codec"]

CODEC = "codec.safetensors"
KIND = "codecs"
DIGITS = 32  # of a version's digest that a coded file repeats


class _Description(Config):
    """What a codec is besides its arrays."""

    solver: SolverConfig
    steps: int | None
    sequence: bool
    measured: tuple[dict[str, float], ...]


def write_codec(folder: Path, codec: Codec, solver: Any) -> None:
    """Write a codec but its network, which is put beside it at `network/`."""
    description = _Description(
        solver=solver,
        steps=codec.steps,
        sequence=codec.sequence,
        measured=tuple(dict(point.measured) for point in codec.qualities),
    )
    arrays = {f"solver/{k}": v.numpy() for k, v in codec.solver.state_dict().items()}
    for number, point in enumerate(codec.qualities, start=1):
        parts: Mapping[str, Mapping[str, np.ndarray]] = {
            "quantiser": {n: getattr(point.quantiser, n) for n in ("step", "low", "high")},
            "rounding": {"costs": point.costs},
            "model": point.model.arrays(),
        }
        for part, content in parts.items():
            arrays |= {f"{number}/{part}/{name}": array for name, array in content.items()}
    contiguous = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
    save_file(contiguous, folder / CODEC, metadata={"codec": description.model_dump_json()})


def read_codec(folder: Path) -> Codec:
    """Read a codec.

    Raises
    ------
    StoreError
        If there is none, or it is damaged.
    """
    path = folder / CODEC
    if not path.exists():
        raise StoreError(f"There is no codec at {folder}; name a version of kind 'codecs'.")
    with safe_open(path, "np") as file:
        text = (file.metadata() or {}).get("codec", "")
    try:
        description = TypeAdapter(_Description).validate_json(text)
        groups = _grouped(load_file(path))
        fitted = read_network(str(folder / "network"))
        solver = build_solver(description.solver, fitted.network.config.latents)
        state = groups.get("solver", {})
        solver.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
        points = [
            OperatingPoint(
                StepQuantiser(**groups[f"{i}/quantiser"]),
                groups[f"{i}/rounding"]["costs"],
                IntegerModel.from_arrays(groups[f"{i}/model"]),
                measured,
            )
            for i, measured in enumerate(description.measured, start=1)
        ]
    except (ValidationError, KeyError, TypeError, InputError) as error:
        raise StoreError(f"The codec at {folder} is damaged ({error}); restore it.") from None
    return Codec(fitted, solver.eval(), description.steps, description.sequence, points)


def _grouped(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        group, _, key = name.rpartition("/")
        groups.setdefault(group, {})[key] = array
    return groups


def codec_of(store: Store, name: str) -> tuple[Codec, Identity]:
    """Return the newest codec of a name, or the version that NAME@vN names."""
    found = store.find(name if "/" in name else f"{KIND}/{name}")
    return _opened(store, found[-1])


def find_codec(store: Store, identity: Identity) -> Codec:
    """Return the codec that a file was coded with.

    Raises
    ------
    StoreError
        If the store does not have it.
    """
    for record in store.records(KIND, identity.name):
        if record.reference.digest.startswith(identity.digest):
            return _opened(store, record)[0]
    raise StoreError(
        f"The file was coded with {KIND}/{identity.name}@v{identity.version} (digest "
        f"{identity.digest}), which the store {store} does not have: copy that version here, "
        "or name the store that has it by FUNCTORY_STORE."
    )


def identity_of(reference: Reference) -> Identity:
    """Return how a coded file names a codec."""
    return Identity(
        codec="functions",
        name=reference.name,
        version=reference.version,
        digest=reference.digest[:DIGITS],
    )


def _opened(store: Store, record: Record) -> tuple[Codec, Identity]:
    if not store.intact(record):
        raise StoreError(
            f"{record.reference} is damaged; run its deployment again, or restore the files."
        )
    return read_codec(store.path(record.reference)), identity_of(record.reference)
