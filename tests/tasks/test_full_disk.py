"""A full disk costs one sentence, and nothing that was published."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline import TINY, plain

from functory.errors import StoreError
from storage.uses import release
from storage.versions import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one megabyte, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    release(disk / "store")  # a file of this process is open there
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCTORY_STORE", str(small_disk / "store"))
    store = Store.default()
    raw = plain_until(store, "prepare")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(2**20))
    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
        plain(TINY)
    records = store.records()
    assert [r.reference.kind for r in records] == raw
    assert all(store.intact(record) for record in records)
    ballast.unlink()
    plain_until(store, "metalearn")
    assert not [p for p in small_disk.rglob("*.partial") if p.is_file()]


def plain_until(store: Store, last: str) -> list[str]:
    """Run the first stages, through the one named; return the kinds in the store."""

    class Enough(Exception):
        pass

    seen: list[str] = []

    def stop(stage: str) -> None:
        if last in seen:
            raise Enough
        seen.append(stage)

    with pytest.raises(Enough):
        plain(TINY, begin=stop)
    return [r.reference.kind for r in store.records()]
