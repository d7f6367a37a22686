"""Training in several processes: each takes a share of every batch, and all keep one state.

The processes draw the same random numbers and make the same updates, because the gradients that
they see are means over all of them, to the bit. So one state, that of the first process, is
everyone's. What cannot be split is computed by all of them alike.
"""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException, spawn

from functory import errors
from functory.errors import FunctoryError, InputError

__all__ = ["average", "by_first", "is_first", "launch", "processes", "share", "weight"]

T = TypeVar("T")

PATIENCE = 60  # seconds that a process waits to be ended once another has gone
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def processes(device: torch.device, batch: int) -> int:
    """Return in how many processes to train: FUNCTORY_PROCESSES, else one on each GPU.

    Results depend on it by rounding alone, so it is no part of a configuration.

    Raises
    ------
    InputError
        If it is no number of processes, or more than signals in a batch or GPUs can occupy.
    """
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    asked = os.environ.get("FUNCTORY_PROCESSES")
    if not asked:
        return max(1, min(gpus, batch))
    count = int(asked) if asked.isdecimal() else 0
    if not count:
        raise InputError(
            f"FUNCTORY_PROCESSES is '{asked}', but has to be a number of processes, such as 2."
        )
    if count > batch:
        raise InputError(
            f"FUNCTORY_PROCESSES is {count}, but a batch has only {batch} signals to share; ask "
            "for fewer processes, or make the batch larger."
        )
    if gpus and count > gpus:
        raise InputError(
            f"FUNCTORY_PROCESSES is {count}, but this machine has {gpus} GPUs; ask for at most "
            "as many processes."
        )
    return count


def launch(count: int, function: Callable[..., None], *arguments: Any) -> None:
    """Run a function in several processes of this machine that train together; wait for them.

    The function is one that a new process can import, and its arguments can be pickled.

    Raises
    ------
    FunctoryError
        What the function raises, or that a process was lost.
    """
    with tempfile.TemporaryDirectory(prefix="functory-") as folder:
        # they meet by a file: torch's servers for meeting would listen on every network
        meeting = f"file://{folder}/meeting"
        try:
            spawn(_take_part, (count, meeting, function, arguments), nprocs=count)
        except ProcessExitedException as error:
            how = error.signal_name or f"exit code {error.exit_code}"
            raise FunctoryError(
                f"Process {error.error_index + 1} of {count} that train together was lost "
                f"({how}); run the same command again: it goes on from the last checkpoint."
            ) from None
        except ProcessRaisedException as error:
            raise _explained(str(error).strip()) from None


def _explained(traceback: str) -> Exception:
    """Return the error that ended a process: one for the user, or one with its traceback."""
    name, _, sentence = traceback.splitlines()[-1].partition(": ")
    module, _, kind = name.rpartition(".")
    if module == errors.__name__:
        return getattr(errors, kind)(sentence)
    return RuntimeError(traceback)


def _take_part(
    here: int, count: int, meeting: str, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    """Be one of the processes."""
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    if sys.platform == "linux":  # never go on without the process that holds the work folder
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    gpu = torch.cuda.is_available() and here < torch.cuda.device_count()
    if gpu:
        torch.cuda.set_device(here)
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    dist.init_process_group(backend, init_method=meeting, world_size=count, rank=here)
    function(*arguments)
    dist.destroy_process_group()


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share(batch: Tensor) -> Tensor:
    """Return this process's share of a batch."""
    if not dist.is_initialized():
        return batch
    return batch.tensor_split(dist.get_world_size())[dist.get_rank()]


def weight(part: int, whole: int) -> float:
    """Return what the mean over a share counts in a mean over processes."""
    return part * dist.get_world_size() / whole if dist.is_initialized() else 1.0


def average(value: Tensor, parameters: Iterable[Tensor]) -> Tensor:
    """Make gradients their means over all processes, and return the mean of a value."""
    if not dist.is_initialized():
        return value
    gradients = [p.grad for p in parameters if p.grad is not None]
    sums = torch.cat([value.detach().reshape(1), *(g.reshape(-1) for g in gradients)])
    with _among_others():
        dist.all_reduce(sums)
    mean, *parts = (sums / dist.get_world_size()).split([1, *(g.numel() for g in gradients)])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return mean[0]


def by_first(compute: Callable[[], T]) -> T:
    """Let the first process compute something, and return it in all."""
    if not dist.is_initialized():
        return compute()
    found: list[Any] = [compute() if is_first() else None]
    with _among_others():
        dist.broadcast_object_list(found, device=torch.device("cpu"))
    return found[0]


@contextlib.contextmanager
def _among_others() -> Iterator[None]:
    """Where another process has gone, wait to be ended: what it died of is the error to report."""
    try:
        yield
    except RuntimeError:
        time.sleep(PATIENCE)
        raise
