"""The doctor: every fault is named with its cure, and no secret with it."""

import contextlib
import functools
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from prefect.settings import temporary_settings
from provenance import PROVENANCE

from flows.cli import main
from flows.doctor import Finding, State, examine
from flows.doctor.installation import device, libraries, python
from flows.doctor.services import STARTUP, credentials, prefect
from flows.doctor.store import store as check_store
from storage.versions import Store

SECRET = "5e3c7f1a-the-secret"
POOL = {"name": "local", "type": "process", "default_queue_id": f"{0:032x}", "status": "READY"}


VERSION = functools.cache(importlib.metadata.version)  # asking for all of them takes long


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a home of its own: no keys, no settings, no server."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC", STARTUP):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr(importlib.metadata, "version", VERSION)
    with temporary_settings({"home": home}, restore_defaults={"api.url"}):
        yield home


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the user a key for the CDS."""
    monkeypatch.setenv("CDSAPI_URL", "https://cds.example/api")
    monkeypatch.setenv("CDSAPI_KEY", SECRET)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the command in this process; return its exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*options: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["functory", "doctor", *options])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return run


def faults(found: Iterator[Finding]) -> list[Finding]:
    """Return what is not fine; all of it has a cure, and nothing that is fine has."""
    seen = list(found)
    assert all(finding.what and "\n" not in finding.what + finding.cure for finding in seen)
    assert all((finding.state is State.FINE) == (not finding.cure) for finding in seen)
    return [finding for finding in seen if finding.state is not State.FINE]


# The command


def test_health(doctor: Any, filled: Store, key: None) -> None:
    before = {path: path.lstat().st_ino for path in filled.root.rglob("*")}
    for options in ([], ["--digests"]):
        code, output, _ = doctor(*options)
        assert code == 0, output
        assert "wrong: 0" in output
        assert "wrong  " not in output
        for word in ("Python", "libraries", "device", "store", "Prefect", "credentials"):
            assert f" {word} " in output
    assert "every digest as recorded" in output
    assert {path: path.lstat().st_ino for path in filled.root.rglob("*")} == before


def test_only_what_is_wrong_fails(doctor: Any, filled: Store) -> None:
    code, output, _ = doctor()  # no key
    assert code == 0
    assert "warning" in output
    shutil.rmtree(filled.root / "raw/numbers/v2")
    code, output, _ = doctor()
    assert code == 1
    assert "wrong: 1" in output
    assert "raw/numbers@v2 has lost its folder" in output


def test_a_broken_library_does_not_stop_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(torch, "get_num_threads", broken)
    found = list(examine(digests=False))
    (fault,) = [finding for subject, finding in found if subject == "device"]
    assert fault.state is State.WRONG
    assert fault.what == "cannot be checked (RuntimeError)"
    assert found[-1][0] == "credentials"
    assert SECRET not in str(found)


# The store


def publish(store: Store, folder: Path, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    store.publish("raw", "numbers", folder, PROVENANCE)


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    """Publish two versions that share a file."""
    publish(store, tmp_path / "a", zero="0000", one="1111")
    (tmp_path / "b").mkdir()
    os.link(tmp_path / "a" / "zero", tmp_path / "b" / "zero")
    publish(store, tmp_path / "b", two="2222")
    return store


def test_what_a_disk_has_lost_silently(filled: Store, tmp_path: Path) -> None:
    file = filled.root / "raw/numbers/v1/zero"
    status = file.stat()
    assert status.st_nlink >= 2
    file.chmod(0o644)
    file.write_text("0001")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert faults(check_store(digests=False)) == []
    found = faults(check_store(digests=True))
    assert [finding.state for finding in found] == [State.WRONG] * 2
    for finding, version in zip(found, ("v1", "v2"), strict=True):
        assert finding.what == f"raw/numbers@{version} is damaged: zero changed"
        assert str(filled.root / "raw/numbers" / version) in finding.cure
        assert "delete the changed files" in finding.cure
    # the cure, for the first version
    file.unlink()
    publish(filled, tmp_path / "again", zero="0000", one="1111")
    (left,) = faults(check_store(digests=True))
    assert left.what.startswith("raw/numbers@v2")


@pytest.mark.parametrize("digests", [False, True])
def test_versions_that_differ_from_their_records(filled: Store, digests: bool) -> None:
    first, second = filled.root / "raw/numbers/v1", filled.root / "raw/numbers/v2"
    (first / "extra").write_text("")
    (fault,) = faults(check_store(digests))
    assert fault.state is State.WARNING
    assert fault.what == "raw/numbers@v1 has files that were not published: extra"
    (first / "extra").unlink()

    (first / "one").unlink()
    (first / "one").write_text("other")
    (second / "two").unlink()
    changed, missing = faults(check_store(digests))
    assert changed.state is missing.state is State.WRONG
    assert changed.what == "raw/numbers@v1 is damaged: one changed"
    assert missing.what == "raw/numbers@v2 is damaged: two missing"
    assert missing.cure == "run its deployment again"


@pytest.mark.parametrize("fault", ["cut", "altered", "moved"])
def test_records_that_cannot_be_trusted(filled: Store, fault: str) -> None:
    record = min((filled.root / "raw/numbers/records").glob("*.json"))
    if fault == "cut":
        record.write_text(record.read_text()[:100])
    elif fault == "altered":
        content = json.loads(record.read_text())
        content["files"]["zero"]["sha256"] = "0" * 64
        record.write_text(json.dumps(content))
    else:
        record = record.rename(record.with_name("other.json"))
    (found,) = faults(check_store(digests=False))
    assert found.state is State.WRONG
    assert found.what == f"the record {record} is damaged"


def test_a_head_that_lags(filled: Store) -> None:
    head = filled.root / "raw/numbers/HEAD"
    for text in ("v1\n", "v9\n", None):
        head.unlink()
        if text is not None:
            head.write_text(text)
        (fault,) = faults(check_store(digests=False))
        assert fault.state is State.WARNING
        assert fault.what == f"{head} does not name the newest version, v2"
        head.write_text("v2\n")
        assert faults(check_store(digests=False)) == []


def test_what_dead_processes_left(filled: Store) -> None:
    (filled.root / "raw/numbers/v3").mkdir()
    (filled.root / "raw/other/v1").mkdir(parents=True)
    (filled.root / ".work/dead").mkdir(parents=True)
    with filled.workspace("live"):
        found = faults(check_store(digests=False))
    assert {finding.state for finding in found} == {State.WARNING}
    assert [finding.what.split()[0] for finding in found] == [
        str(filled.root / left) for left in ("raw/numbers/v3", "raw/other/v1", ".work/dead")
    ]
    assert (filled.root / ".work/dead").is_dir()


def test_a_store_of_another_schema(filled: Store) -> None:
    (filled.root / "SCHEMA").write_text("99\n")
    found = [finding for subject, finding in examine(digests=False) if subject == "store"]
    (fault,) = faults(iter(found))
    assert fault.state is State.WRONG
    assert "has schema 99" in fault.what
    assert fault.cure.startswith("upgrade Functory")


@pytest.mark.parametrize("place", ["file", "file/store", "/proc/self"])
def test_a_store_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").write_text("")
    if not (tmp_path / place).parent.exists():
        pytest.skip(f"{place} is only on Linux")
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / place))
    (fault,) = faults(check_store(digests=False))
    assert fault.state is State.WRONG
    assert f"the store {tmp_path / place} cannot be written (" in fault.what
    assert "FUNCTORY_STORE" in fault.cure


def test_little_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(".")._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    (fault,) = faults(check_store(digests=False))
    assert fault.state is State.WARNING
    assert "has 0.10 GB left" in fault.what
    assert not store.root.exists()


# The installation


@pytest.mark.parametrize(
    ("library", "version", "state", "says"),
    [
        ("fastapi", "0.151.0", State.WRONG, "breaks every flow"),
        ("sqlalchemy", "2.1.0", State.WRONG, "scheduled runs"),
        ("prefect", "3.9.1", State.WRONG, "prefect is 3.9.1, but Functory needs prefect"),
        ("zarr", "2.18.7", State.WRONG, "zarr is 2.18.7, but Functory needs zarr>="),
        ("torch", None, State.WRONG, "torch is not installed"),
        ("fastapi", "0.149.0", State.WARNING, "fastapi 0.149.0 (0.150"),
        ("torch", "2.13.0+cu130", None, ""),
    ],
)
def test_versions(
    monkeypatch: pytest.MonkeyPatch,
    library: str,
    version: str | None,
    state: State | None,
    says: str,
) -> None:
    installed = importlib.metadata.version

    def pretended(name: str) -> str:
        if name != library:
            return installed(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    before = faults(libraries())
    monkeypatch.setattr(importlib.metadata, "version", pretended)
    new = [finding for finding in faults(libraries()) if finding not in before]
    if state is None:
        assert new == []
        return
    (fault,) = [finding for finding in new if says in finding.what]
    assert fault.state is state
    assert "pip install -c constraints.txt" in fault.cure


@pytest.mark.parametrize("version", ["3.10.14", "3.13.0"])
def test_another_python(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    assert faults(python()) == []
    monkeypatch.setattr(platform, "python_version", lambda: version)
    (fault,) = faults(python())
    assert fault.state is State.WRONG
    assert f"this is Python {version}" in fault.what


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert faults(device()) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10**6)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads, policy = faults(device())
    assert threads.state is policy.state is State.WARNING
    assert "1000000 threads" in threads.what
    assert "OMP_NUM_THREADS" in threads.cure
    assert "OMP_WAIT_POLICY is ACTIVE" in policy.what


def test_a_gpu_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(*size: int, **options: Any) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (fault,) = faults(device())
    assert fault.state is State.WARNING
    assert "sees no GPU" in fault.what
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A100")
    monkeypatch.setattr(torch, "ones", ones)
    (fault,) = faults(device())
    assert fault.state is State.WRONG
    assert fault.what == "the GPU A100 is seen, but cannot compute"


# Prefect


@contextlib.contextmanager
def serving(answers: dict[str, tuple[int, Any]]) -> Iterator[int]:
    """Answer as a Prefect server does, by path; an unknown path repeats what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, {"detail": str(self.headers)}))
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("pool", "says"),
    [
        (POOL, None),
        (None, "prefect work-pool create local --type process"),
        ({**POOL, "is_paused": True}, "prefect work-pool resume local"),
        ({**POOL, "status": "NOT_READY"}, "prefect worker start --pool local"),
    ],
)
def test_work_pools(monkeypatch: pytest.MonkeyPatch, pool: Any, says: str | None) -> None:
    monkeypatch.setattr("flows.doctor.services._work_pools", lambda: ["local"])
    answers = {"/api/hello": (200, "hello")}
    if pool is not None:
        answers["/api/work_pools/local"] = (200, pool)
    with (
        serving(answers) as port,
        temporary_settings({"api.url": f"http://127.0.0.1:{port}/api"}),
    ):
        found = faults(prefect())
    if says is None:
        assert found == []
        return
    (fault,) = found
    assert fault.state is State.WARNING
    assert says in fault.cure


@pytest.mark.parametrize("answer", [(200, b"<html>"), (401, {}), (503, {}), None])
def test_no_prefect_server(answer: tuple[int, Any] | None) -> None:
    with contextlib.ExitStack() as stack:
        if answer is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        else:
            port = stack.enter_context(serving({"/api/hello": answer}))
        stack.enter_context(temporary_settings({"api.url": f"http://127.0.0.1:{port}/api"}))
        (fault,) = faults(prefect())
    assert fault.state is State.WRONG
    assert f"127.0.0.1:{port}" in fault.what
    assert "PREFECT_API_URL" in fault.cure


def test_settings_of_prefect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults(prefect()) == []
    with temporary_settings({"home": Path("relative")}):
        (fault,) = faults(prefect())
    assert fault.state is State.WRONG
    assert fault.what.startswith("PREFECT_HOME is relative")
    monkeypatch.setenv(STARTUP, "20")
    with temporary_settings({"server.ephemeral.startup_timeout_seconds": 20}):
        (fault,) = faults(prefect())
    assert fault.state is State.WARNING
    assert fault.what == "Prefect's own server has only 20 s to start"


# Credentials


def test_credentials(monkeypatch: pytest.MonkeyPatch, nobody: Path) -> None:
    (fault,) = faults(credentials())
    assert fault.state is State.WARNING
    assert fault.what == "no credentials for the CDS found"
    assert "CDSAPI_KEY" in fault.cure
    (nobody / ".cdsapirc").write_text(f"url: https://cds.example/api\nkey: {SECRET}\n")
    assert faults(credentials()) == []
    monkeypatch.setenv("CDSAPI_KEY", f"123:{SECRET}")
    (fault,) = faults(credentials())
    assert "colon" in fault.what


@pytest.mark.parametrize("user", ["", f"user:{SECRET}@"])
def test_no_secret_is_shown(
    doctor: Any,
    filled: Store,
    key: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    user: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    # the server repeats what it was sent, the key included
    with serving({}) as port:
        address = f"http://{user}127.0.0.1:{port}/api"
        with temporary_settings({"api.url": address, "api.key": SECRET}):
            _, output, errors = doctor("--digests")
    assert (
        "PREFECT_API_AUTH_STRING (user:password)" if user else f"127.0.0.1:{port} (404)"
    ) in output
    assert "there is a key for the CDS" in output
    assert "there is a token for the hub" in output
    for text in (output, errors, caplog.text):
        assert SECRET not in text
