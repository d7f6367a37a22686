"""Prefect's Dask task runner, whose workers report to the server of their flow."""

from typing import Any

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_dask import DaskTaskRunner
from prefect_dask.task_runners import PrefectDaskFuture

__all__ = ["DaskRunner"]


class DaskRunner(DaskTaskRunner):
    """Submits tasks to Dask; each chunk of work should be worth a tenth of a second of overhead."""

    def submit(  # type: ignore[override]
        self, *arguments: Any, **keywords: Any
    ) -> PrefectDaskFuture[Any]:
        """Submit a task, with the address of the server that the flow talks to.

        Where that is a temporary one, no setting has it, and every worker would start its own.
        """
        context = FlowRunContext.get()
        if context is None:
            return super().submit(*arguments, **keywords)
        with temporary_settings({PREFECT_API_URL: str(context.client.api_url).rstrip("/")}):
            return super().submit(*arguments, **keywords)
