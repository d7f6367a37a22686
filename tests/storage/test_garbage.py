"""Garbage collection: what goes goes whole, what stays is not touched, and deaths do no harm."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from old_versions import FORK, LATEST, aged, left, publish, went

from functory.errors import InputError, StoreError
from storage.files import locked
from storage.garbage import collect
from storage.retention import Retention
from storage.versions import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def tree(root: Path) -> dict[str, Any]:
    """Return all that is below a folder, with times and links."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(root))] = (status.st_ino, status.st_mtime_ns, status.st_nlink)
    return found


# What goes


def test_old_versions_go_and_the_newest_stay(store: Store) -> None:
    for i in range(4):
        publish(store, "numbers", f"{i}", days=60 - i)
    publish(store, "numbers", "young", days=5)
    publish(store, "numbers", "newest", days=40)
    found = collect(store, Retention(keep=2), remove=True)
    assert went(found) == [f"raw/numbers@v{i}" for i in (1, 2, 3, 4)]
    assert left(store) == ["raw/numbers@v5", "raw/numbers@v6"]
    assert all(store.intact(record) for record in store.records())
    home = store.root / "raw/numbers"
    assert sorted(p.name for p in home.iterdir()) == ["HEAD", "records", "v5", "v6"]
    assert (home / "HEAD").read_text() == "v6\n"
    assert len(list((home / "records").iterdir())) == 2
    assert publish(store, "numbers", "next").version == 7


def test_a_dry_run_changes_nothing_and_tells_what_would_be_done(store: Store) -> None:
    chain = [publish(store, "data", "one")]
    for kind in ("nets", "fits"):
        chain.append(publish(store, f"{kind}/x", "one", parents={"from": chain[-1]}))
        publish(store, f"{kind}/x", "two")
    publish(store, "data", "two")
    store.remember("key", chain[0])
    aged(store.root / ".keys", 2)
    (store.root / ".work" / "dead").mkdir(parents=True)
    (store.root / ".work" / "dead" / "checkpoint").write_text("state")
    aged(store.root / ".work", 40)
    before = tree(store.root)
    dry = collect(store, LATEST)
    assert tree(store.root) == before
    assert went(dry) == ["fits/x@v1", "nets/x@v1", "raw/data@v1", "work dead", "1 small files"]
    done = collect(store, LATEST, remove=True)
    assert [(g.what, g.why, g.size, g.freed) for g in done] == [
        (g.what, g.why, g.size, g.freed) for g in dry
    ]
    assert left(store) == ["fits/x@v2", "nets/x@v2", "raw/data@v2"]
    assert list(store.root.glob(".work/*")) == []
    assert list(store.root.glob(".keys/*")) == []
    assert collect(store, LATEST, remove=True) == []


def test_only_versions_of_some_names(store: Store) -> None:
    for name in ("data", "nets/x", "fits/x"):
        publish(store, name, "one")
        publish(store, name, "two")
    (store.root / ".work" / "dead").mkdir(parents=True)
    aged(store.root / ".work", 40)
    assert went(collect(store, LATEST, ["nets/x"])) == ["nets/x@v1"]
    assert went(collect(store, LATEST, ["x"])) == ["fits/x@v1", "nets/x@v1"]
    with pytest.raises(InputError, match="it has fits/x, nets/x, raw/data"):
        collect(store, LATEST, ["nets/y"])
    with pytest.raises(InputError, match="write nets/x"):
        collect(store, LATEST, ["nets/x@v1"])


def test_shared_files_of_a_version_that_stays_survive_and_are_not_counted(store: Store) -> None:
    first = publish(store, "record", "one")
    chunk = store.path(first) / "part" / "0"
    contents = chunk.read_bytes()
    second = publish(store, "record", "two", shared=chunk)
    third = publish(store, "record", "three", shared=chunk)
    records = store.records()
    found = collect(store, LATEST, remove=True)
    assert went(found) == [str(first), str(second)]
    assert [g.size for g in found] == [records[0].bytes, records[1].bytes]
    assert [g.freed for g in found] == [3, records[1].bytes - len(contents)]
    assert (store.path(third) / "part" / "shared").read_bytes() == contents
    assert (store.path(third) / "part" / "shared").stat().st_nlink == 1
    assert all(store.intact(record) for record in store.records())


def test_what_goes_together_frees_what_it_shares(store: Store) -> None:
    first = publish(store, "record", "one")
    publish(store, "record", "two", shared=store.path(first) / "part" / "0")
    publish(store, "record", "three")
    records = store.records()
    found = collect(store, LATEST)
    distinct = records[0].bytes + records[1].bytes - 300
    assert sum(g.freed for g in found) == distinct
    assert sum(g.size for g in found) == distinct + 300


def test_a_damaged_record_stops_it(store: Store) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    record = store.root / "raw/data/records" / f"{first.digest}.json"
    record.write_text("{")
    before = tree(store.root)
    with pytest.raises(StoreError, match="cannot be read"):
        collect(store, LATEST, remove=True)
    assert tree(store.root) == before


def test_a_store_that_cannot_be_written_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "data", "one")
    publish(store, "data", "two")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StoreError, match=r"json cannot be removed \(Permission denied\)") as caught:
        collect(store, LATEST, remove=True)
    assert "\n" not in str(caught.value)


def test_no_store_is_no_garbage(store: Store) -> None:
    assert collect(store, LATEST, remove=True) == []
    assert not store.root.exists()


def test_a_parent_is_known_by_its_content_not_its_number(store: Store) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    publish(store, "nets/x", "net", parents={"data": first.model_copy(update={"version": 7})})
    assert collect(store, LATEST, remove=True) == []
    assert len(left(store)) == 3


def test_unfinished_work_goes_when_it_is_old_and_nobody_is_at_it(store: Store) -> None:
    for name, days in (("old", 40), ("young", 3), ("at-it", 40)):
        (store.root / ".work" / name / "chunks").mkdir(parents=True)
        (store.root / ".work" / name / "chunks" / "0").write_text("state")
        aged(store.root / ".work" / name, days)
    os.utime(aged(store.root / ".work" / "young", 40) / "chunks" / "0")
    with locked(store.root / ".work" / "at-it"):
        assert went(collect(store, LATEST)) == ["work old"]
        assert went(collect(store, LATEST, remove=True)) == ["work old"]
    assert sorted(p.name for p in store.root.glob(".work/*")) == ["at-it", "young"]
    assert went(collect(store, LATEST, remove=True)) == ["work at-it"]


# Downloads and notes


def test_downloads_go_with_the_last_version_that_shares_them(store: Store) -> None:
    kept = store.root / "downloads" / "request"
    kept.mkdir(parents=True)
    for name in ("shared", "2019", "2020", "young"):
        (kept / name).write_text(name * 10)
        aged(kept / name, 0 if name == "young" else 50)
    publish(store, "data", "one", shared=kept / "2019")
    publish(store, "data", "two", shared=kept / "shared")
    with locked(store.root / ".work" / "busy"):  # it may be about to share them
        assert went(collect(store, LATEST)) == ["raw/data@v1"]
    versions, downloads = collect(store, LATEST, remove=True)
    assert [p.name for p in downloads.paths] == ["2019", "2020"]
    assert (versions.freed, downloads.freed) == (303, 80)
    assert sorted(p.name for p in kept.iterdir()) == ["shared", "young"]
    assert all(store.intact(record) for record in store.records())


def test_notes_that_lead_nowhere_go_and_others_stay(store: Store) -> None:
    first = publish(store, "data", "one")
    second = publish(store, "data", "two")
    for key, reference in (("a", first), ("b", second), ("c", first)):
        store.remember(key, reference)
        aged(store.root / ".keys" / f"{key}.json", 2)
    os.utime(store.root / ".keys" / "c.json")  # its stage may be at it again
    (store.root / ".keys" / "d.1.partial").write_text("{")
    aged(store.root / ".keys" / "d.1.partial", 2)
    collect(store, LATEST, remove=True)
    assert sorted(p.name for p in store.root.glob(".keys/*")) == ["b.json", "c.json"]
    assert store.recall("b") == second
    assert store.recall("a") is None
    assert store.recall("c") is None
    again = publish(store, "data", "one")
    assert (again.version, again.digest) == (3, first.digest)


# Deaths


def _collect_and_die(root: Path, at: int) -> None:
    """Collect, and die before the change number `at` of a file; else exit with 0."""
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}:
            changes += 1
            if changes == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    collect(Store(root), LATEST, remove=True)
    os._exit(0)  # without the farewells of threads that other tests have left in the parent


def test_death_at_every_change_of_a_file(store: Store, tmp_path: Path) -> None:
    data = publish(store, "data", "one")
    net = publish(store, "nets/x", "one", parents={"data": data})
    publish(store, "fits/x", "one", parents={"net": net}, shared=store.path(net) / "part" / "0")
    for name in ("data", "nets/x", "fits/x"):
        publish(store, name, "two", shared=store.path(net) / "part" / "0")
    (store.root / ".work" / "dead" / "chunks").mkdir(parents=True)
    aged(store.root / ".work", 40)
    store.remember("key", net)
    aged(store.root / ".keys", 2)
    records = {str(record.reference): record for record in store.records()}
    for at in range(1, 1000):
        root = tmp_path / f"store{at}"
        subprocess.run(["cp", "-a", store.root, root], check=True)
        process = FORK.Process(target=_collect_and_die, args=(root, at))
        process.start()
        process.join()
        copy = Store(root)
        found = {str(record.reference): record for record in copy.records()}
        assert all(copy.intact(record) for record in found.values()), at
        for record in found.values():  # what is left lacks nothing that it was made from
            assert all(str(parent) in found for parent in record.parents.values()), at
        for record in records.values():  # who goes by the path finds all of it or nothing
            assert copy.intact(record) or not copy.path(record.reference).exists(), at
        collect(copy, LATEST, remove=True)
        assert left(copy) == ["fits/x@v2", "nets/x@v2", "raw/data@v2"], at
        assert all(copy.intact(record) for record in copy.records()), at
        assert list(root.glob(".work/*")) == list(root.glob(".keys/*")) == [], at
        assert list(root.glob("*/*/.*")) == list(root.glob("*/*/v1")) == [], at
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert at > 20


def test_two_collections_at_once(store: Store) -> None:
    for i in range(20):
        publish(store, "data", f"{i}")
    processes = [FORK.Process(target=_collect_and_die, args=(store.root, 0)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert left(store) == ["raw/data@v20"]
    assert sorted(p.name for p in (store.root / "raw/data").iterdir()) == ["HEAD", "records", "v20"]


def test_a_full_disk_is_cleared(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        store = Store(disk / "store")
        publish(store, "data", "one" * 1000)
        newest = publish(store, "data", "two")
        with pytest.raises(OSError, match="No space"):
            (disk / "ballast").write_bytes(bytes(2**20))
        collect(store, LATEST, remove=True)
        assert left(store) == [str(newest)]
        (disk / "room").write_bytes(bytes(100_000))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
