"""The workers of a flow's task runner, for what the library computes on dask arrays."""

import contextlib
from collections.abc import Iterator

from prefect.context import FlowRunContext

__all__ = ["dask_workers"]


@contextlib.contextmanager
def dask_workers() -> Iterator[None]:
    """Let dask compute on the Dask cluster of the flow's task runner, where it has one."""
    context = FlowRunContext.get()
    client = getattr(context.task_runner, "client", None) if context else None
    if client is None:
        yield
        return
    with client.as_current():
        yield
