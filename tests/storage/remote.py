"""A bucket of its own for each test, and machines that share it."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from provenance import PROVENANCE
from s3_server import S3Server, s3_server

from storage.files import digest_of, scan
from storage.references import Record, Reference
from storage.versions import Store

__all__ = ["Machine", "machine", "publish", "server", "url", "verify"]

Machine = Callable[[str], Store]
"""Make this process a machine of that name, with copies of its own, and open the store there."""

_buckets = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Run an S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of an empty store."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket{next(_buckets)}"
    fsspec.filesystem("s3").mkdir(bucket)
    yield f"s3://{bucket}/some/store"
    server.behave()


@pytest.fixture
def machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a function that moves this process to another machine."""

    def move(name: str) -> Store:
        monkeypatch.setenv("FUNCTORY_CACHE", str(tmp_path / name))
        monkeypatch.setenv("FUNCTORY_STORE", url)
        return Store.default()

    return move


def publish(store: Store, text: str, folder: Path, name: str = "numbers") -> Reference:
    """Publish two files, one of which is always the same."""
    (folder / "part").mkdir(parents=True, exist_ok=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "part" / "0").write_text(text)
    return store.publish("raw", name, folder, PROVENANCE)


def verify(store: Store, record: Record) -> None:
    """Read a version, and compare it with its record."""
    assert digest_of(scan(store.path(record.reference))) == record.reference.digest
