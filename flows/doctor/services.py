"""Checks of what a run talks to: Prefect's settings and server, credentials of sources."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from flows.catalogue import work_pools
from flows.doctor.findings import Finding, fine, warning, wrong
from flows.service import has_gpu
from functory.errors import InputError

__all__ = ["credentials", "prefect"]

PATIENCE = 3.0
"""Seconds that a server may take to answer."""
SLOWEST_START = 60
"""Seconds: starting a server has taken 28, and other work on the machine makes it longer."""
STARTUP = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


def prefect() -> Iterator[Finding]:
    """Check Prefect's settings, the server that they name, and the work pools on it."""
    from prefect.settings import get_current_settings  # takes seconds, and may be what is broken

    settings = get_current_settings()
    if settings.home.is_absolute():
        yield fine(f"the home of Prefect's commands is {settings.home}")
    else:
        yield wrong(
            f"PREFECT_HOME is {settings.home}, which a worker's subprocess looks for elsewhere",
            "set PREFECT_HOME to an absolute path, or unset it",
        )
    if settings.api.url:
        yield from _server(settings.api.url)
        return
    yield fine("no PREFECT_API_URL: `functory run` starts a server of its own while it runs")
    seconds = settings.server.ephemeral.startup_timeout_seconds
    if STARTUP in os.environ and seconds < SLOWEST_START:  # unset, `functory run` sets it
        yield warning(
            f"Prefect's own server has only {seconds} s to start",
            f"unset {STARTUP}, or set it to 120",
        )


def _server(url: str) -> Iterator[Finding]:
    from prefect import get_client
    from prefect.settings import temporary_settings

    where = urlsplit(url).netloc
    if "@" in where:
        yield warning(
            "PREFECT_API_URL holds a password, which Prefect's client would write into logs",
            "give it as PREFECT_API_AUTH_STRING (user:password) instead",
        )
        return
    with (
        temporary_settings({"client.max_retries": 0}),
        get_client(sync_client=True, httpx_settings={"timeout": PATIENCE}) as client,
    ):
        try:
            client.hello().json()
        except Exception as error:  # anything may answer at a wrong address, or nothing
            response = getattr(error, "response", None)
            reason = type(error).__name__ if response is None else response.status_code
            yield wrong(
                f"no Prefect server for us at {where} ({reason})",
                "start it (`make up`), or set PREFECT_API_URL to the address of one, with its /api "
                "(and PREFECT_API_AUTH_STRING, if it asks for it), or unset it to run without",
            )
            return
        yield fine(f"the Prefect server at {where} answers")
        for name in _work_pools():
            yield _work_pool(client, name)


def _work_pool(client: Any, name: str) -> Finding:
    from prefect.client.schemas.objects import WorkPoolStatus
    from prefect.exceptions import ObjectNotFound

    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        return warning(
            f"the server has no work pool {name}, which deployments of prefect.yaml name",
            f"`make up`, or `prefect work-pool create {name} --type process`",
        )
    if pool.is_paused:
        return warning(f"the work pool {name} is paused", f"`prefect work-pool resume {name}`")
    if pool.status == WorkPoolStatus.NOT_READY:
        if name == "gpu" and not has_gpu():
            return fine(f"no worker is at the work pool {name}, and there is no GPU here")
        return warning(
            f"no worker is at the work pool {name}",
            f"`make up`, or in the clone of Functory: `prefect worker start --pool {name}`",
        )
    return fine(f"the work pool {name} is there")


def _work_pools() -> list[str]:
    return [pool.name for pool in work_pools()]


def credentials() -> Iterator[Finding]:
    """Check that there are credentials, without a look at what they are."""
    from huggingface_hub import get_token

    from functory.sources.cds_client import check_credentials

    try:
        check_credentials()
    except InputError as error:
        what, _, cure = str(error).partition(": ")
        yield warning(what, f"for sources of kind `cds` only: {cure}")
    else:
        yield fine("there is a key for the CDS")
    if get_token():
        yield fine("there is a token for the hub")
    else:
        yield fine("no token for the hub: only sources of kind `hub` want one (`hf auth login`)")
