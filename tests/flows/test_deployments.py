"""The service as `make up` starts it: deployments, schedules and runs, really served."""

import base64
import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import psutil
import pytest
from pipeline import TINY, options

from flows.catalogue import ROOT, deployments, work_pools
from flows.service.processes import MARK
from flows.service.settings import Service
from storage.versions import Store


@dataclass(frozen=True)
class Site:
    """A service of the tests' own: its API, how to reach it, and the store that its runs fill."""

    api: httpx.Client
    environment: dict[str, str]
    store: Path

    @property
    def folder(self) -> Path:
        return Path(self.environment["PREFECT_HOME"]) / "service"

    @property
    def processes(self) -> dict[str, int]:
        service = Service.model_validate_json((self.folder / "service.json").read_text())
        return service.processes

    def marked(self) -> set[int]:
        """Return all processes that the service has started, and all that these have."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder):
                    found.add(process.pid)
        return found

    def deployment(self, name: str) -> dict[str, Any]:
        return self.api.get(f"/deployments/name/{name}").raise_for_status().json()

    def runs(self, name: str) -> list[dict[str, Any]]:
        these = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}}
        return self.api.post("/flow_runs/filter", json=these).raise_for_status().json()

    def call(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=280
        )

    def service(self, what: str) -> str:
        done = self.call(["functory", "service", what])
        logs = [log.read_text()[-2000:] for log in self.folder.glob("*.log")]
        assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
        return done.stdout


def readme(program: str) -> list[list[str]]:
    """Return the commands of a program in the README's section, in order."""
    section = (ROOT / "README.md").read_text().split("\n## Run it as a service\n")[1]
    blocks = re.findall(r"```bash\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line[:1] == [program]]


def until(condition: Any, seconds: float = 240) -> Any:
    """Wait for a condition, and return what it returns."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start everything as `make up` does, with a home, a store and a port of the tests' own."""
    folder = tmp_path_factory.mktemp("site")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment = given | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "3",  # ahead of time: less to delete
        "FUNCTORY_STORE": str(folder / "store"),
    }
    with httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=60) as api:
        site = Site(api, environment, folder / "store")
        try:
            said = site.service("up")
            assert f"http://127.0.0.1:{port}\n" in said
            yield site
        finally:
            site.service("down")


def test_all_deployments_are_there_with_their_parameters(site: Site) -> None:
    for expected in deployments():
        deployment = site.deployment(expected.name)
        assert deployment["parameters"] == expected.parameters
        assert deployment["enforce_parameter_schema"]
        assert deployment["description"] == expected.description
        assert {"functory", expected.name.split("/")[0]} <= set(deployment["tags"])
        assert ("gpu" in deployment["tags"]) == (deployment["work_pool_name"] == "gpu")
        assert bool(expected.schedules) == (deployment["work_queue_name"] == "scheduled")
        schema = deployment["parameter_openapi_schema"]
        assert {"name", "metalearn"} <= set(schema["properties"])
        assert {"source", "data"} & set(schema["properties"])
        latents = schema["definitions"]["SirenConfig"]["properties"]["latents"]
        assert latents["exclusiveMinimum"] == 0
        assert latents["description"] == "Modulations (latents) per signal."


def test_forms_offer_a_choice_of_sources(site: Site) -> None:
    schema = site.deployment("era5/demo")["parameter_openapi_schema"]
    source = schema["properties"]["source"]
    choices = {choice["$ref"] for choice in source["anyOf"]}
    assert choices == set(source["discriminator"]["mapping"].values())
    hours = schema["definitions"]["DemoSource"]["properties"]["hours"]
    assert (hours["items"]["minimum"], hours["items"]["maximum"]) == (0, 23)
    assert "UTC" in hours["description"]


def test_one_run_at_a_time_has_the_gpu(site: Site) -> None:
    for pool in work_pools():
        there = site.api.get(f"/work_pools/{pool.name}").raise_for_status().json()
        assert there["concurrency_limit"] == pool.concurrency_limit
        queues = site.api.post(f"/work_pools/{pool.name}/queues/filter", json={}).json()
        limits = {queue["name"]: queue["concurrency_limit"] for queue in queues}
        assert limits == {"default": None, "scheduled": 1}
    assert {pool.name: pool.concurrency_limit for pool in work_pools()}["gpu"] == 1
    for expected in deployments():
        variables = site.deployment(expected.name)["job_variables"]["env"]
        hidden = variables.get("CUDA_VISIBLE_DEVICES") == ""
        assert hidden == (expected.work_pool["name"] == "cpu")


def test_a_scheduled_run_and_its_artifacts(site: Site) -> None:
    demo = site.deployment("era5/demo")
    keys = ("flow_id", "entrypoint", "pull_steps", "work_pool_name", "job_variables", "tags")
    often = {key: demo[key] for key in keys} | {
        "name": "often",
        "parameters": TINY,
        "parameter_openapi_schema": demo["parameter_openapi_schema"],
        "work_queue_name": "scheduled",
        "schedules": [{"schedule": {"interval": 5}, "active": True}],
    }
    site.api.post("/deployments/", json=often).raise_for_status()
    (begun, *_) = until(lambda: [r for r in site.runs("era5/often") if r["start_time"]])
    # one is enough: with the schedule go the runs that wait in the queue, which has one at a time
    often_id = site.deployment("era5/often")["id"]
    site.api.patch(f"/deployments/{often_id}", json={"paused": True}).raise_for_status()
    (run,) = until(lambda: [r for r in site.runs("era5/often") if r["end_time"]])
    assert run["id"] == begun["id"]
    assert run["state"]["type"] == "COMPLETED", run["state"]
    assert run["auto_scheduled"]
    these = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    artifacts = site.api.post("/artifacts/filter", json=these).raise_for_status().json()
    kinds = {a["key"]: (a["type"], a["data"]) for a in artifacts}
    kind, table = kinds["tiny-summary"]
    assert kind == "table"
    assert '"signals"' in table
    kind, picture = kinds["tiny-reconstructions"]
    assert kind == "image"
    assert base64.b64decode(picture.partition("base64,")[2]).startswith(b"\x89PNG")
    kind, link = kinds["tiny-report"]
    (address,) = re.findall(r"\((file:.*)\)", link)
    page = Path(unquote(urlsplit(address).path))
    assert page == site.store / "reports/tiny/v1/index.html"
    assert "<html" in page.read_text()


def test_a_run_through_the_worker(site: Site) -> None:
    (command,) = [words for words in readme("prefect") if words[1:3] == ["deployment", "run"]]
    done = site.call([*command, *options(TINY)])
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


def test_up_again_starts_what_has_died_and_keeps_what_people_chose(site: Site) -> None:
    before = site.processes
    os.kill(before["worker-cpu"], signal.SIGKILL)
    said = site.service("up")
    assert "the server is up" in said
    assert "the worker of the pool cpu has been started" in said
    assert site.processes["server"] == before["server"]
    assert site.processes["worker-cpu"] != before["worker-cpu"]
    (schedule,) = site.deployment("era5/monthly")["schedules"]
    assert schedule["active"], "the test before has resumed it"
    exports = shlex.split(site.service("env"))
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "FUNCTORY_STORE"):
        assert f"{name}={site.environment[name]}" in exports


@pytest.mark.slow
def test_a_run_that_dies_with_its_worker_is_crashed(site: Site) -> None:
    endless = {**TINY, "name": "endless"}
    endless["metalearn"] = TINY["metalearn"] | {
        "optimisation": TINY["metalearn"]["optimisation"] | {"steps": 10**6}
    }
    demo = site.deployment("era5/demo")["id"]
    start = {"parameters": endless, "state": {"type": "SCHEDULED"}}
    run = site.api.post(f"/deployments/{demo}/create_flow_run", json=start).json()["id"]

    def state() -> dict[str, Any]:
        return site.api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]

    until(lambda: state()["type"] == "RUNNING")
    worker = psutil.Process(site.processes["worker-cpu"])
    family = worker.children(recursive=True)
    for process in (worker, *family):
        process.kill()
    until(lambda: state()["type"] == "CRASHED", seconds=280)
    assert "No sign of life" in state()["message"]
    site.service("up")


def test_down_stops_what_was_started_and_nothing_else(site: Site) -> None:
    own = {k: v for k, v in site.environment.items() if k != MARK}
    with subprocess.Popen(["sleep", "600"], env=own, start_new_session=True) as other:
        try:
            ours = set(site.processes.values())
            assert ours <= site.marked()
            said = site.service("down")
            assert said.splitlines() == ["stopped: worker-cpu", "stopped: server"]
            assert site.marked() == set()
            assert not any(map(psutil.pid_exists, ours))
            assert other.poll() is None
            assert site.service("down") == "Nothing is up.\n"
        finally:
            other.kill()
