"""Flow priors as files: all that is needed to evaluate and sample one."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from functory.errors import StoreError
from functory.models.flow_prior import FlowConfig, FlowPrior

__all__ = ["FLOW", "read_prior", "write_prior"]

FLOW = "flow.safetensors"


def write_prior(folder: Path, flow: FlowPrior, classes: tuple[str, ...] = ()) -> None:
    """Write a prior's weights, with its architecture and the names of its classes."""
    description = {"architecture": flow.config.model_dump(mode="json"), "classes": classes}
    # under one key: several are written in an order that is another in every process
    metadata = {"prior": json.dumps(description)}
    save_file(flow.cpu().state_dict(), folder / FLOW, metadata=metadata)


def read_prior(folder: Path) -> tuple[FlowPrior, tuple[str, ...]]:
    """Read a prior and the names of its classes, none where it knows no classes.

    Raises
    ------
    StoreError
        If the folder holds no prior, or one of an older Functory.
    """
    path = folder / FLOW
    if not path.exists():
        raise StoreError(f"There is no prior at {folder}; name a version of kind 'priors'.")
    with safe_open(path, "pt") as file:
        described = (file.metadata() or {}).get("prior")
    if described is None:
        raise StoreError(
            f"The prior at {folder} was written by an older Functory, which did not say what it "
            "is: run its deployment again."
        )
    description = json.loads(described)
    weights = load_file(path)
    classes = tuple(description["classes"])
    config = FlowConfig.model_validate(description["architecture"])
    with torch.random.fork_rng([]):  # the initial parameters, which are not kept, are drawn
        flow = FlowPrior(weights["mean"], weights["deviation"], config, len(classes))
    flow.load_state_dict(weights)
    return flow.eval().requires_grad_(False), classes
