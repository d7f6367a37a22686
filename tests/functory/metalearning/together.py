"""What tests of training in several processes run in them; the processes import it by this name."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
import xarray as xr
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from functory.metalearning.launching import _learn_and_keep
from functory.optimisation import Optimisation
from functory.training import Step, train

__all__ = ["diverge_in_one", "doomed", "fail_in_one", "note_listeners", "write_signals"]


def write_signals(folder: Path) -> Path:
    """Write a signal set of 18 waves on a box."""
    generator = np.random.default_rng(0)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 6)] * 3, indexing="ij")
    phase, slope = generator.uniform(0, 3, (2, 18, 1, 1, 1))
    values = (0.5 + 0.4 * np.sin(phase + slope * z + y * x)).astype(np.float32)
    attributes = {"normalisation_offset": 0.0, "normalisation_scale": 1.0}
    axes = ("z", "y", "x")
    splits = np.array(["train"] * 12 + ["test"] * 6, dtype=object)
    xr.Dataset(
        {"wave": (("sample", *axes), values, attributes)},
        {axis: (np.arange(6) + 0.5) / 6 for axis in axes} | {"split": ("sample", splits)},
        {"sample_dimension": "sample", "mask": "none", "modality": "volume"},
    ).to_zarr(folder, zarr_format=3)
    return folder


def doomed(signals: Path, config: Any, checkpoint: Path, target: Path, steps: int) -> None:
    """Learn, but kill the second process after so many steps of its optimisers."""
    taken = 0

    def count(*arguments: object) -> None:
        nonlocal taken
        taken += 1
        if taken == steps and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(count)
    _learn_and_keep(signals, config, checkpoint, target)


def diverge_in_one(folder: Path) -> None:
    """Train on losses that are NaN in the second process: once, and then at every rate."""
    for times in (1, 9):
        restarts, value = _train_on_bad_losses(times)
        found = {"restarts": restarts, "weight": value}
        (folder / f"rank{dist.get_rank()}.json").write_text(json.dumps(found))


def _train_on_bad_losses(bad: int) -> tuple[int, float]:
    """Return the restarts and the weight of a regression with so many bad losses at step 7."""
    torch.manual_seed(0)
    model, rank = nn.Linear(1, 1), dist.get_rank()
    optimisation = Optimisation(steps=12, batch=2, rate=1e-2, checkpoint_every=5)

    def loss(step: Step) -> Tensor:
        nonlocal bad
        value = (model(torch.ones(1, 1)) - 3 - rank).square().sum()
        if step.number != 7 or not bad:
            return value
        bad -= 1
        return value * float("nan") if rank == 1 else value

    history = train(model, loss, optimisation, label="test")
    return history.restarts, float(model.weight)


def fail_in_one() -> None:
    """Fail in the second process while the first waits for it."""
    if dist.get_rank() == 1:
        raise KeyError("planted")
    dist.barrier()


def note_listeners(file: Path) -> None:
    """Write at which addresses processes that have met, and the one that started them, listen."""
    dist.barrier()
    if dist.get_rank() == 0:
        parent = psutil.Process().parent()
        assert parent is not None
        sockets = [s for p in (parent, *parent.children()) for s in p.net_connections()]
        file.write_text(json.dumps([s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN]))
    dist.barrier()
