"""Where submitted tasks run: threads, processes, a cluster; the results are the same."""

import os
import socket
from pathlib import Path

import pytest
from distributed import LocalCluster
from fitting import fitted, plainly_fitted
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

from flows import task_runner
from flows.task_runner import WORKERS
from functory.errors import InputError, SourceUnavailable
from functory.sources import preparation
from storage.versions import Store


def refuse(*arguments: object, **keywords: object) -> None:
    raise AssertionError("this was to be computed in another process")


@pytest.mark.slow
def test_two_processes_prepare_and_fit_to_the_same_bits(
    server: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # six blocks to prepare, and six chunks to fit, of which at most two wait
    monkeypatch.setattr(preparation, "FIELD_VALUES", 4 * 19 * 36)
    monkeypatch.setattr("tasks.fit.SUBMITTED", 2)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("FUNCTORY_WORKERS", "2")
        elsewhere.setattr("dask.threaded.get_async", refuse)
        elsewhere.setattr("tasks.fit.fit", refuse)
        wide = fitted()
    assert set(wide) == {"signals", "network", "functaset"}
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "plain"))
    assert plainly_fitted() == wide


def test_threads_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUNCTORY_WORKERS", raising=False)
    runner = WORKERS.duplicate()
    assert isinstance(runner, ThreadPoolTaskRunner)
    assert runner._max_workers == os.cpu_count()


def test_a_scheduler_is_found_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.setenv("FUNCTORY_WORKERS", cluster.scheduler_address)
        runner = WORKERS.duplicate()
    assert isinstance(runner, DaskTaskRunner)
    assert runner.address == cluster.scheduler_address


@pytest.mark.parametrize("wrong", ["two", "0", "-1", "2.5", "localhost:8786"])
def test_a_wrong_number_of_workers_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("FUNCTORY_WORKERS", wrong)
    with pytest.raises(InputError, match=f"FUNCTORY_WORKERS is '{wrong}', but has to be"):
        WORKERS.duplicate()


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runner, "PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("FUNCTORY_WORKERS", f"tcp://127.0.0.1:{port}")
    with pytest.raises(SourceUnavailable, match=f"127.0.0.1:{port}, but no Dask scheduler answers"):
        WORKERS.duplicate()
