"""Where a store can be, and what is said where it cannot."""

from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem
from remote import Machine, publish

from functory.errors import InputError, StoreError
from storage.versions import Store


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://planted:secret@bucket/x", "may have no user"),
        ("s3://bucket/x?key=planted", "may have no user"),
        ("simplecache::s3://planted/x", "chained protocol: write simplecache://BUCKET"),
        ("fctx://bucket/x", "knows no protocol 'fctx'"),
    ],
)
def test_urls_that_are_refused(place: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Store(place)
    assert "planted" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_package_or_bucket_is_one_sentence(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("here")
    with pytest.raises(StoreError, match="There is no place s3://nowhere/x: make the bucket"):
        publish(Store("s3://nowhere/x"), "x", tmp_path / "a")
    monkeypatch.setattr("fsspec.filesystem", _no_package)
    with pytest.raises(StoreError, match=r"pip install 'functory\[s3\]'"):
        Store("s3://bucket/x")


def _no_package(*arguments: object, **options: object) -> None:
    raise ImportError("Install s3fs to access S3")


class LooksFirst(MemoryFileSystem):
    """A file system with fsspec's usual way to create files."""

    protocol = "looks-first"
    pipe_file = AbstractFileSystem.pipe_file


def test_a_protocol_that_looks_first_and_writes_then_is_refused(
    machine: Machine, tmp_path: Path
) -> None:
    machine("here")
    fsspec.register_implementation("looks-first", LooksFirst, clobber=True)
    with pytest.raises(StoreError, match=r"'looks-first' cannot create.*use s3:// or gs://"):
        publish(Store("looks-first://some/place"), "x", tmp_path / "a")


def test_a_file_url_is_the_local_disk(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    reference = publish(store, "x", tmp_path / "a")
    assert store.path(reference) == tmp_path / "store/raw/numbers/v1"


def test_a_store_in_memory(machine: Machine, tmp_path: Path) -> None:
    machine("here")
    store = Store("memory://some/store")
    first = publish(store, "one", tmp_path / "a")
    assert publish(store, "two", tmp_path / "b").version == 2
    assert publish(store, "one", tmp_path / "c") == first
    machine("there")
    assert (Store("memory://some/store").path(first) / "part" / "0").read_text() == "one"
