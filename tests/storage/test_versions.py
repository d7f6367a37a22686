"""The store: versions are published once, none is lost, none is half seen."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from provenance import PROVENANCE

from functory.errors import InputError, StoreError
from storage.files import file_digest, link_tree, locked, scan
from storage.references import Reference, parse_name
from storage.versions import Store


def publish(store: Store, text: str, folder: Path, name: str = "numbers") -> Reference:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part").mkdir(exist_ok=True)
    (folder / "zarr.json").write_text("{}")
    (folder / "part" / "0").write_text(text)
    return store.publish("raw", name, folder, PROVENANCE)


def test_versions_count_up_and_keep_their_contents(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    references = [publish(store, f"text {i}", tmp_path / f"work{i}") for i in range(3)]
    assert [r.version for r in references] == [1, 2, 3]
    for i, reference in enumerate(references):
        assert (store.path(reference) / "part" / "0").read_text() == f"text {i}"
    assert (tmp_path / "store/raw/numbers/HEAD").read_text() == "v3\n"
    assert [r.reference for r in store.records()] == references


def test_the_same_content_publishes_nothing_new(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    first = publish(store, "same", tmp_path / "a")
    publish(store, "other", tmp_path / "b")
    assert publish(store, "same", tmp_path / "c") == first
    assert len(store.records()) == 2


def test_a_damaged_version_is_no_hit_and_publishing_again_restores_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    reference = publish(store, "precious", tmp_path / "a")
    store.remember("key", reference)
    assert store.recall("key") == reference
    file = store.path(reference) / "part" / "0"
    for damage in (b"precioux", b"half", None):
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        assert store.recall("key") is None
        assert publish(store, "precious", tmp_path / "b") == reference
        assert store.recall("key") == reference
        assert file.read_text() == "precious"


def test_a_torn_note_of_a_key_is_no_hit(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    reference = publish(store, "text", tmp_path / "a")
    store.remember("key", reference)
    note = tmp_path / "store" / ".keys" / "key.json"
    for torn in (b"", note.read_bytes()[:20]):
        note.write_bytes(torn)
        assert store.recall("key") is None
    store.remember("key", reference)
    assert store.recall("key") == reference


def test_extending_a_version_reads_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    first = publish(store, "old", tmp_path / "a")
    longer = tmp_path / "b"
    (record,) = store.records()
    link_tree(store.path(first), longer, {"part/0": record.files["part/0"]})
    (longer / "zarr.json").write_text("{longer}")
    (longer / "part" / "1").write_text("new")
    read = []
    monkeypatch.setattr(
        "storage.files.file_digest", lambda p: read.append(p.name) or file_digest(p)
    )
    second = store.publish("raw", "numbers", longer, PROVENANCE)
    assert sorted(read) == ["1", "zarr.json"]
    assert store.record(second).files == scan(longer)
    (longer / "part" / "0").write_text("odl")  # damages the first as well: they are one file
    third = store.publish("raw", "numbers", longer, PROVENANCE)
    assert store.record(third).files["part/0"].sha256 == file_digest(longer / "part" / "0")


def test_published_files_are_read_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    reference = publish(store, "precious", tmp_path / "a")
    assert (store.path(reference) / "part" / "0").stat().st_mode & 0o222 == 0


def test_touching_a_file_is_no_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    reference = publish(store, "precious", tmp_path / "a")
    os.utime(store.path(reference) / "part" / "0")
    (record,) = store.records()
    assert store.intact(record)


def _publish_many(root: Path, process: int, texts: list[str]) -> None:
    for i, text in enumerate(texts):
        publish(Store(root / "store"), text, root / f"work-{process}-{i}")
    os._exit(0)  # without the farewells of threads that other tests have left in the parent


def _race(root: Path, contents: list[list[str]]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_publish_many, args=(root, i, texts))
        for i, texts in enumerate(contents)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def test_three_processes_publish_sixty_versions_and_lose_none(tmp_path: Path) -> None:
    _race(tmp_path, [[f"{process} {i}" for i in range(20)] for process in range(3)])
    store = Store(tmp_path / "store")
    records = store.records("raw", "numbers")
    assert [r.reference.version for r in records] == list(range(1, 61))
    texts = {(store.path(r.reference) / "part" / "0").read_text() for r in records}
    assert texts == {f"{process} {i}" for process in range(3) for i in range(20)}
    assert (tmp_path / "store/raw/numbers/HEAD").read_text() == "v60\n"
    assert all(store.intact(record) for record in records)


def test_three_processes_publish_the_same_content_once(tmp_path: Path) -> None:
    _race(tmp_path, [["same"]] * 3)
    store = Store(tmp_path / "store")
    (record,) = store.records()
    assert store.intact(record)
    folders = [p.name for p in (tmp_path / "store/raw/numbers").glob("v*")]
    assert folders == [f"v{record.reference.version}"]


def _publish_for_ever(root: Path) -> None:
    for i in range(10**9):
        publish(Store(root / "store"), f"{os.getpid()} {i}", root / f"work-{os.getpid()}-{i}")


def test_kills_harm_nothing_that_was_published(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    store = Store(tmp_path / "store")
    for delay in (0.05, 0.1, 0.15, 0.2, 0.25):
        process = context.Process(target=_publish_for_ever, args=(tmp_path,))
        process.start()
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    records = store.records()
    assert len(records) > 0
    assert all(store.intact(record) for record in records)
    newest = publish(store, "after the kills", tmp_path / "after")
    assert newest.version > max(r.reference.version for r in records)
    assert (tmp_path / "store/raw/numbers/HEAD").read_text() == f"v{newest.version}\n"


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    publish(Store(tmp_path / "store"), "x", tmp_path / "a")
    (tmp_path / "store/SCHEMA").write_text("2\n")
    with pytest.raises(StoreError, match=r"schema 2.*upgrade Functory"):
        Store(tmp_path / "store")


def test_a_failed_publication_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    publish(store, "one", tmp_path / "a")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("storage.files.os.link", full)
        with pytest.raises(OSError, match="No space"):
            publish(store, "two", tmp_path / "b")
    assert [p.name for p in (tmp_path / "store/raw/numbers").glob("v*")] == ["v1"]
    assert publish(store, "two", tmp_path / "b").version == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("era5-demo", (None, "era5-demo", None)),
        ("era5-demo@v12", (None, "era5-demo", 12)),
        ("functasets/era5-demo@v1", ("functasets", "era5-demo", 1)),
    ],
)
def test_names_of_versions(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert parse_name(text) == parts


@pytest.mark.parametrize("text", ["", "a@v0", "a@1", "../a", "a/b/c", "Ä"])
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="names no version"):
        parse_name(text)


def test_finding_says_what_there_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    publish(store, "x", tmp_path / "a")
    assert store.find("numbers")[0].reference.version == 1
    with pytest.raises(InputError, match="it has raw/numbers"):
        store.find("letters")


def test_a_workspace_waits_for_its_owner_and_goes_with_the_work(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.workspace("key") as folder:
        (folder / "checkpoint").write_text("state")
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), store.workspace("key") as folder:  # noqa: PT012
        (folder / "checkpoint").write_text("state")
        raise KeyboardInterrupt
    assert (folder / "checkpoint").read_text() == "state"
    with pytest.raises(InputError), store.workspace("key") as folder:
        raise InputError("bad input is not resumed")
    assert not folder.exists()


def _hold(folder: Path) -> None:
    with locked(folder):
        (folder / "held").touch()
        time.sleep(60)


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path / "lock",))
    process.start()
    while not (tmp_path / "lock" / "held").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    with locked(tmp_path / "lock"):
        pass
