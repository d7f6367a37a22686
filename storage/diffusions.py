"""Diffusions as files: all that is needed to sample one."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from functory.errors import StoreError
from functory.models.diffusion import Diffusion, DiffusionConfig

__all__ = ["DIFFUSION", "read_diffusion", "write_diffusion"]

DIFFUSION = "diffusion.safetensors"


def write_diffusion(folder: Path, diffusion: Diffusion, classes: tuple[str, ...] = ()) -> None:
    """Write the averaged network, which samples, with its statistics, architecture and classes."""
    weights = {"mean": diffusion.mean, "deviation": diffusion.deviation}
    weights |= {f"network.{k}": v for k, v in diffusion.average.state_dict().items()}
    description = {
        "architecture": diffusion.config.model_dump(mode="json"),
        "shape": diffusion.shape,
        "classes": classes,
    }
    # under one key: several are written in an order that is another in every process
    metadata = {"diffusion": json.dumps(description)}
    save_file({k: v.cpu() for k, v in weights.items()}, folder / DIFFUSION, metadata=metadata)


def read_diffusion(folder: Path) -> tuple[Diffusion, tuple[str, ...]]:
    """Read a diffusion, ready to sample, and the names of its classes.

    Its network and its average are the same.

    Raises
    ------
    StoreError
        If the folder holds no diffusion.
    """
    path = folder / DIFFUSION
    if not path.exists():
        raise StoreError(f"There is no diffusion at {folder}; name a version of kind 'diffusions'.")
    with safe_open(path, "pt") as file:
        described = (file.metadata() or {}).get("diffusion")
    if described is None:
        raise StoreError(
            f"The weights at {folder} do not say which diffusion they are of: run its deployment "
            "again."
        )
    description = json.loads(described)
    weights = load_file(path)
    mean, deviation = weights.pop("mean"), weights.pop("deviation")
    config = DiffusionConfig.model_validate(description["architecture"])
    classes = tuple(description["classes"])
    with torch.random.fork_rng([]):  # the initial parameters, which are not kept, are drawn
        diffusion = Diffusion(tuple(description["shape"]), mean, deviation, config, len(classes))
    trained = {name.removeprefix("network."): value for name, value in weights.items()}
    diffusion.network.load_state_dict(trained)
    diffusion.average.load_state_dict(trained)
    return diffusion.eval().requires_grad_(False), classes
