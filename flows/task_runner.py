"""Where flows run what they submit: threads, processes of this machine, or a Dask cluster."""

import os
from typing import TYPE_CHECKING, Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from functory.errors import InputError, SourceUnavailable

if TYPE_CHECKING:
    from flows.dask_runner import DaskRunner

__all__ = ["WORKERS"]

PATIENCE = 10  # seconds for a scheduler to answer


class _Workers(ThreadPoolTaskRunner):
    """A thread for every core, or the workers that FUNCTORY_WORKERS asks for as a run starts.

    It is a number of processes for this machine, each with its share of the memory, or the address
    of a Dask scheduler whose workers see the store's folder under the same path. Results do not
    depend on it.

    Raises
    ------
    InputError
        If it is neither.
    SourceUnavailable
        If no scheduler answers at the address.
    """

    def duplicate(self) -> TaskRunner[Any]:  # type: ignore[override]
        """Return the runner of one run; this is what Prefect calls when a flow starts."""
        asked = os.environ.get("FUNCTORY_WORKERS", "")
        if not asked:
            return super().duplicate()
        if asked.isdecimal() and int(asked):
            return _processes(int(asked))
        if asked.startswith(("tcp://", "tls://")):
            return _scheduler(asked)
        raise InputError(
            f"FUNCTORY_WORKERS is '{asked}', but has to be a number of processes, such as 2, or "
            "the address of a Dask scheduler, such as tcp://host:8786."
        )


def _processes(count: int) -> "DaskRunner":
    """Return a runner on processes of one thread each, which start with the first task."""
    from flows.dask_runner import DaskRunner  # takes seconds

    # a worker that reaches its share of the memory spills, pauses, and is started anew in the end
    return DaskRunner(
        cluster_kwargs={
            "n_workers": count,
            "threads_per_worker": 1,
            "memory_limit": 1 / count,
            "dashboard_address": "127.0.0.1:0",
        }
    )


def _scheduler(address: str) -> "DaskRunner":
    from distributed import Client

    from flows.dask_runner import DaskRunner

    try:
        Client(address, timeout=PATIENCE, set_as_default=False).close()
    except (OSError, ValueError) as error:
        raise SourceUnavailable(
            f"FUNCTORY_WORKERS is {address}, but no Dask scheduler answers there; start one with "
            "`dask scheduler`, and workers with `dask worker`, or correct the address."
        ) from error
    return DaskRunner(address=address)


WORKERS = cast(TaskRunner[PrefectFuture[Any]], _Workers(max_workers=os.cpu_count()))
