"""A Prefect server and a worker of the suite's own, which can be killed and started again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State

from flows.service.arrangement import TAG, crash_dead_runs, watch_anew
from flows.service.settings import HEARTBEAT

__all__ = ["HOOK", "ROOT", "Installation", "until"]

ROOT = Path(__file__).resolve().parents[2]
HOOK = Path(__file__).with_name("hook")
POOL = "faults"
DEPLOYMENT = "era5/faults"

T = TypeVar("T")


def until(condition: Callable[[], T], seconds: float = 300, what: str = "") -> T:
    """Wait for a condition, and return what it returns."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what or condition}"
        time.sleep(0.1)
    return found


@dataclass
class Installation:
    """The processes, and what they are started with."""

    folder: Path
    port: int = 0
    server: "subprocess.Popen[bytes] | None" = None
    worker: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        address = f"http://127.0.0.1:{self.port}/api"
        given = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        self.environment = given | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_API_URL": address,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        # the client of Prefect's own commands, with its patience
        self.api = SyncPrefectClient(address)

    def start_server(self) -> None:
        """Start the server on the data base that its predecessor left, and wait for it."""
        command = [sys.executable, "-m", "flows.service.server", "--port", str(self.port)]
        self.server = self._start(command, "server.log")
        until(self._answers, what="the server")
        watch_anew(self.api)
        self.pid_file("server").write_text(str(self.server.pid))

    def _answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "server.log").read_text()[-2000:]
        return self.api.api_healthcheck() is None

    def start_worker(self) -> None:
        """Start a worker; it does not have to have asked for work yet."""
        command = ["prefect", "worker", "start", "--pool", POOL, "--name", "worker"]
        self.worker = self._start(command, "worker.log")
        self.pid_file("worker").write_text(str(self.worker.pid))

    def pid_file(self, process: str) -> Path:
        """Return the file that names the process `server` or `worker`; who kills it takes it."""
        return self.folder / f"{process}.pid"

    def _start(self, command: list[str], log: str) -> "subprocess.Popen[bytes]":
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def mend(self) -> None:
        """Start again what has been killed, as a service manager would."""
        for process, start in (("server", self.start_server), ("worker", self.start_worker)):
            killed: subprocess.Popen[bytes] | None = getattr(self, process)
            if killed is not None and not self.pid_file(process).exists():
                killed.wait(timeout=60)
                start()

    def deploy(self, parameters: dict[str, Any]) -> None:
        """Create the pool, the deployment, and the automation for runs whose process died."""
        catalogue = self.folder / "prefect.yaml"
        deployment = {
            "name": DEPLOYMENT.partition("/")[2],
            "entrypoint": "flows/era5.py:era5",
            "work_pool": {"name": POOL},
            "parameters": parameters,
            "tags": [TAG],
        }
        content = {"build": None, "push": None, "pull": None, "deployments": [deployment]}
        catalogue.write_text(yaml.safe_dump(content))
        for command in (
            ["prefect", "work-pool", "create", POOL, "--type", "process"],
            ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(catalogue)],
        ):
            done = subprocess.run(
                command, env=self.environment, cwd=ROOT, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
        crash_dead_runs(self.api)

    def run(self, environment: dict[str, str], parameters: dict[str, Any] | None = None) -> UUID:
        """Give the command `prefect deployment run`; return the run's identifier."""
        deployment = self.api.read_deployment_by_name(DEPLOYMENT)
        return self.api.create_flow_run_from_deployment(
            deployment.id, parameters=parameters, job_variables={"env": environment}
        ).id

    def completes(
        self, environment: dict[str, str], parameters: dict[str, Any] | None = None
    ) -> None:
        """Give the command, and see it end well."""
        state = self.ended(self.run(environment, parameters))
        assert state.is_completed(), state.message

    def state(self, run: UUID) -> State[Any]:
        """Return the state of a run, as the server tells it."""
        found = self.api.read_flow_run(run).state
        assert found is not None
        return found

    def ended(self, run: UUID, seconds: float = 600) -> State[Any]:
        """Wait for a run's end; return its final state."""
        until(lambda: self.state(run).is_final(), seconds, f"the end of the run {run}")
        return self.state(run)

    def stop(self) -> None:
        """End the worker and the server; a run that is left ends itself without its worker."""
        for process in (self.worker, self.server):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
