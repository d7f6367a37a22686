"""A service on one machine: started as far as it is not there, and stopped with all it started."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.catalogue import work_pools
from flows.service.arrangement import (
    arrange,
    connected,
    is_at_work,
    watch_anew,
    worker_name,
)
from flows.service.processes import alive, start, stop, stop_all
from flows.service.settings import Service, home, read, surroundings, write
from functory.errors import InputError, SourceUnavailable, StoreError
from storage.files import locked

__all__ = ["down", "has_gpu", "up"]

LONGEST = 180.0
"""Seconds that a server or a worker may take to be ready: it has taken 30 on a busy machine."""
PATIENCE = 3.0
"""Seconds that a server may take to answer."""


def has_gpu() -> bool:
    """Tell whether there is a GPU here that torch can use."""
    import torch  # takes seconds

    return torch.cuda.is_available()


def up() -> Iterator[str]:
    """Start what does not run yet; say of each part how it is there.

    Raises
    ------
    InputError
        If another service runs from the same folder.
    SourceUnavailable
        If the server or a worker does not become ready.
    StoreError
        If Prefect's home cannot be written.
    """
    with _held():
        service = _agreed()
        there = _answers(service.address) or alive(service.processes.get("server"), home())
        if not there:
            service = _started(service, "server", ["python", "-m", "flows.service.server"])
        _wait("server", lambda: _answers(service.address))
        yield f"the server {'is up' if there else 'has been started'} at {service.page}"
        with connected(service) as client:
            arrange(client)
            if not there:
                watch_anew(client)
            yield "the server knows the work pools and all deployments of prefect.yaml"
            for pool in work_pools():
                if pool.name == "gpu" and not has_gpu():
                    yield "no GPU here: runs in the pool gpu wait for a worker on another machine"
                    continue
                service, how = _with_worker(client, service, pool.name)
                yield f"the worker of the pool {pool.name} {how}"


def _with_worker(client: Any, service: Service, pool: str) -> tuple[Service, str]:
    """Start the worker of a pool, if it is not there."""
    name = f"worker-{pool}"
    if alive(service.processes.get(name), home()):
        return service, "is up"
    since = datetime.now(UTC)
    command = ["prefect", "worker", "start", "--pool", pool, "--name", worker_name(pool)]
    service = _started(service, name, command)
    _wait(name, lambda: is_at_work(client, pool, since))
    return service, "has been started"


def down() -> Iterator[str]:
    """Stop what was started here, and what that has started; say of each part that it is gone."""
    with _held():
        service = read()
        parts = service.processes if service else {}
        for name in sorted(
            parts, reverse=True
        ):  # workers first: they tell the server of their runs
            if stop(parts[name], home()):
                yield f"stopped: {name}"
        if count := stop_all(home()):
            yield f"stopped: {count} processes that workers left"
        if service:
            write(service.model_copy(update={"processes": {}}))


@contextmanager
def _held() -> Iterator[None]:
    """Let nobody else start or stop the service meanwhile."""
    try:
        home().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {home()} cannot be made ({error.strerror}); mend its permissions, or name "
            "another one by PREFECT_HOME."
        ) from None
    with locked(home()):
        yield


def _agreed() -> Service:
    """Return the service to start: the one that runs already, if any."""
    meant, started = surroundings(), read()
    running = started and [n for n, pid in started.processes.items() if alive(pid, home())]
    if started and running:
        for what in ("address", "store"):
            if getattr(meant, what) != getattr(started, what):
                raise InputError(
                    f"A service with the {what} {getattr(started, what)} is up, not with "
                    f"{getattr(meant, what)}: run `make down` first."
                )
    return meant


def _started(service: Service, name: str, command: list[str]) -> Service:
    """Start a part of a service, and remember it before anything else can happen."""
    variables = service.environment()
    if name == "server":
        if service.port is None:
            raise SourceUnavailable(
                f"No Prefect server answers at PREFECT_API_URL, {service.address}: start it there, "
                "or unset PREFECT_API_URL to have one here."
            )
        variables["PREFECT_SERVER_API_PORT"] = str(service.port)
    number = start(command, variables, home(), _log(name))
    service = service.model_copy(update={"processes": {**service.processes, name: number}})
    write(service)
    return service


def _wait(name: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST
    while not ready():
        service = read()
        there = service is not None and alive(service.processes.get(name), home())
        if not there or time.monotonic() > deadline:
            how = "is not ready" if there else "has ended"
            raise SourceUnavailable(
                f"The {name} {how}: see {_log(name)}, and run `make down` before `make up`."
            )
        time.sleep(0.2)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=PATIENCE) as answer:
            return bool(answer.read().strip() == b"true")
    except (OSError, ValueError):
        return False


def _log(name: str) -> Path:
    return home() / f"{name}.log"
