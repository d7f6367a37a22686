"""The README's Prefect way, with its own commands: server, pool, deployments, worker, run."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pipeline import TINY, options

from flows.catalogue import ROOT, deployments
from storage.versions import Store


@dataclass(frozen=True)
class Site:
    """A server with a worker, the store that runs fill, and the command that starts a run."""

    api: httpx.Client
    environment: dict[str, str]
    store: Path
    run_command: list[str]

    def deployment(self, name: str) -> dict[str, Any]:
        return self.api.get(f"/deployments/name/{name}").raise_for_status().json()

    def runs(self, name: str) -> list[dict[str, Any]]:
        these = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}}
        return self.api.post("/flow_runs/filter", json=these).raise_for_status().json()

    def call(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=200
        )


def commands() -> list[list[str]]:
    """Return the commands of the README's section, in order."""
    section = (ROOT / "README.md").read_text().split("\n## The Prefect way\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("prefect ")]


@contextmanager
def background(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a command beside the test; end it and all that it started."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
            assert process.poll() is None, log.read_text()
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(ProcessLookupError):  # if it has not ended what it started
                os.killpg(process.pid, signal.SIGKILL)


def until(condition: Any, seconds: float = 120) -> Any:
    """Wait for a condition, and return what it returns."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Follow the README in a home and at a port of the tests' own."""
    folder = tmp_path_factory.mktemp("site")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    address = f"http://127.0.0.1:{port}/api"
    given = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment = given | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": address,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "FUNCTORY_STORE": str(folder / "store"),
    }
    start_server, make_pool, deploy, start_worker, run = commands()
    start_server = [word.replace("4200", port) for word in start_server]
    with ExitStack() as stack:
        stack.enter_context(background(start_server, environment, folder / "server.log"))
        api = stack.enter_context(httpx.Client(base_url=address, timeout=30))

        def healthy() -> bool:
            try:
                return api.get("/health").is_success
            except httpx.TransportError:
                return False

        until(healthy)
        site = Site(api, environment, folder / "store", run)
        for command in (make_pool, deploy):
            done = site.call(command)
            assert done.returncode == 0, done.stdout + done.stderr
        stack.enter_context(background(start_worker, environment, folder / "worker.log"))
        yield site


def test_all_deployments_are_there_with_their_parameters(site: Site) -> None:
    for expected in deployments():
        deployment = site.deployment(expected.name)
        assert deployment["parameters"] == expected.parameters
        assert deployment["enforce_parameter_schema"]
        schema = deployment["parameter_openapi_schema"]
        assert {"name", "metalearn", "report"} <= set(schema["properties"])
        assert {"source", "data"} & set(schema["properties"])
        latents = schema["definitions"]["SirenConfig"]["properties"]["latents"]
        assert latents["exclusiveMinimum"] == 0
        assert latents["description"] == "Modulations (latents) per signal."


def test_a_run_through_the_worker(site: Site) -> None:
    done = site.call([*site.run_command, *options(TINY)])
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = site.runs("era5/demo")
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"]["name"] == "tiny"
    (record,) = Store(site.store).find("functasets/tiny")
    assert record.summary["signals"] == 24
    assert Store(site.store).find("reports/tiny")


def test_bad_input_fails_the_run_with_one_sentence(site: Site, tmp_path: Path) -> None:
    source = {"kind": "files", "paths": str(tmp_path / "missing.nc")}
    arguments = options({"name": "missing", "source": source})
    done = site.call(["prefect", "deployment", "run", "era5/files", "--watch", *arguments])
    assert done.returncode != 0
    assert site.runs("era5/files"), done.stdout + done.stderr
    (run,) = site.runs("era5/files")
    assert run["state"]["type"] == "FAILED"
    message = run["state"]["message"]
    assert "no such file" in message
    assert "missing.nc" in message
    assert "\n" not in message
    assert Store(site.store).records(name="missing") == []


def test_wrong_parameters_are_refused_before_there_is_a_run(site: Site) -> None:
    arguments = options({"metalearn": {"network": {"latents": 0}}})
    done = site.call(["prefect", "deployment", "run", "era5/coinpp-46x90", *arguments])
    assert done.returncode != 0
    assert "latents" in done.stdout + done.stderr
    assert site.runs("era5/coinpp-46x90") == []


def test_the_monthly_schedule_is_paused_and_can_be_resumed(site: Site) -> None:
    (schedule,) = site.deployment("era5/monthly")["schedules"]
    assert schedule["schedule"] == {"cron": "0 3 8 * *", "timezone": "UTC", "day_or": True}
    assert not schedule["active"]
    assert site.runs("era5/monthly") == []
    which = ["era5/monthly", schedule["id"]]
    done = site.call(["prefect", "deployment", "schedule", "resume", *which])
    assert done.returncode == 0, done.stdout + done.stderr
    scheduled = until(lambda: site.runs("era5/monthly"))
    for run in scheduled:
        assert run["state"]["type"] == "SCHEDULED"
        assert run["auto_scheduled"]
        start = datetime.fromisoformat(run["expected_start_time"])
        assert (start.day, start.hour, start.minute) == (8, 3, 0)
    done = site.call(["prefect", "deployment", "schedule", "pause", *which])
    assert done.returncode == 0, done.stdout + done.stderr
    assert until(lambda: not site.runs("era5/monthly"))
