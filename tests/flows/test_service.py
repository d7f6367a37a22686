"""Where a service is, and which processes are its own; test_deployments.py starts a real one."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.catalogue import ROOT, deployments, work_pools
from flows.service.machine import down, up
from flows.service.processes import alive, start, stop, stop_all
from flows.service.settings import Service, home, surroundings, write
from functory.errors import InputError, SourceUnavailable, StoreError

SLEEP = ["python", "-c", "import time; time.sleep(600)"]
LITTER = """
import sys, threading, prefect.cli
from flows.service import server

class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        collected.append(threading.current_thread().name)

def app():
    while not collected:
        Cycle()
    print(sys.argv, set(collected))

collected = []
prefect.cli.app = app
server.serve()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a home of its own; end what it leaves."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("FUNCTORY_STORE", raising=False)
    home().mkdir()
    yield home()
    stop_all(home())


def test_the_server_leaves_its_garbage_to_another_thread() -> None:
    command = [sys.executable, "-c", LITTER, "--port", "4201"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['prefect', 'server', 'start', '--port', '4201'] {'garbage'}\n"


def test_only_its_own_processes_are_stopped(folder: Path) -> None:
    mine = start(SLEEP, {}, folder, folder / "mine.log")
    other = start(SLEEP, {}, folder.with_name("other"), folder / "other.log")
    try:
        assert alive(mine, folder)
        assert not alive(other, folder), "a number that belongs to another process now"
        assert not stop(other, folder)
        assert stop_all(folder) == 1
        assert not alive(mine, folder)
        assert alive(other, folder.with_name("other"))
    finally:
        assert stop(other, folder.with_name("other"))


def test_a_process_ends_with_all_that_it_started(folder: Path) -> None:
    code = f"import subprocess; subprocess.Popen({[sys.executable, *SLEEP[1:]]!r}).wait()"
    parent = start(["python", "-c", code], {}, folder, folder / "log")
    assert stop(parent, folder)
    assert stop_all(folder) == 0


def test_a_stubborn_process_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.service.processes.PATIENCE", 0.1)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)\n"
    log = folder / "log"
    stubborn = start(["python", "-c", code + "time.sleep(600)"], {}, folder, log)
    while not log.read_text():
        assert alive(stubborn, folder)
    assert stop(stubborn, folder)
    assert not alive(stubborn, folder)


def test_a_killed_service_is_not_up(folder: Path) -> None:
    dead = subprocess.Popen(["sleep", "0"])
    dead.wait()
    write(Service(address="http://127.0.0.1:4200/api", store="s", processes={"server": dead.pid}))
    assert list(down()) == []


def test_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = surroundings()
    assert (usual.page, usual.port) == ("http://127.0.0.1:4200", 4200)
    assert usual.store == str(Path("store").absolute())
    write(Service(address="http://127.0.0.1:4300/api", store="/data/store"))
    started = surroundings().exports()
    assert started["PREFECT_API_URL"] == "http://127.0.0.1:4300/api"
    assert started["FUNCTORY_STORE"] == "/data/store"
    assert started["PREFECT_HOME"] == str(folder.parent)
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api")
    elsewhere = surroundings()
    assert elsewhere.port is None
    assert elsewhere.exports()["FUNCTORY_STORE"] == "/data/store"


def test_a_server_elsewhere_is_not_started_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://nowhere.invalid:4200/api")
    with pytest.raises(SourceUnavailable, match=r"PREFECT_API_URL, http://nowhere\.invalid:4200"):
        list(up())
    assert stop_all(folder) == 0


def test_a_home_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(folder / "file"))
    with pytest.raises(StoreError, match=r"cannot be made .* another one by PREFECT_HOME"):
        list(up())


def test_another_store_while_it_is_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = start(SLEEP, {}, folder, folder / "log")
    address = "http://127.0.0.1:1/api"
    write(Service(address=address, store="/one", processes={"worker-cpu": number}))
    monkeypatch.setenv("FUNCTORY_STORE", "/two")
    with pytest.raises(InputError, match="with the store /one is up, not with /two: run `make d"):
        list(up())
    assert list(down()) == ["stopped: worker-cpu"]


def test_the_catalogue_says_nothing_that_is_not_heard() -> None:
    catalogue = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = {pool.name: {queue["name"] for queue in pool.queues} for pool in work_pools()}
    for entry in catalogue["deployments"]:
        assert set(entry) == {
            "name",
            "entrypoint",
            "description",
            "tags",
            "work_pool",
            "schedules",
            "parameters",
        }
        assert set(entry["work_pool"]) == {"name", "work_queue_name", "job_variables"}
        assert entry["work_pool"]["work_queue_name"] in pools[entry["work_pool"]["name"]]
        for schedule in entry["schedules"]:
            assert set(schedule) == {"cron", "timezone", "active"}
    assert len(deployments()) == len(catalogue["deployments"])


def test_make_and_the_command_line_start_the_same() -> None:
    made = (ROOT / "Makefile").read_text()
    for what in ("up", "down"):
        recipe = made.partition(f"\n{what}: ")[2].splitlines()[1]
        assert shlex.split(recipe) == ["$(BIN)/functory", "service", what]
