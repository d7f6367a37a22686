"""A store in a bucket, of a real server: what a local store promises, for many machines."""

import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
import xarray as xr
from old_versions import FORK
from provenance import PROVENANCE
from remote import Machine, publish, verify
from s3_server import S3Server

from functory.errors import InputError, StoreError
from storage.files import _entry, link_tree
from storage.objects import Objects
from storage.versions import Store


def contents(url: str) -> dict[str, bytes]:
    """Return all that is in a store."""
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    found = fs.find(url)
    return {path.partition("/store/")[2]: fs.cat_file(path) for path in found}


def test_machines_see_the_same_versions(machine: Machine, tmp_path: Path) -> None:
    here = machine("here")
    references = [publish(here, f"text {i}", tmp_path / f"work{i}") for i in range(3)]
    assert [r.version for r in references] == [1, 2, 3]
    here.remember("key", references[1])
    there = machine("there")
    assert [r.reference for r in there.records()] == references
    assert there.find("numbers")[0].reference == references[2]
    for i, record in enumerate(there.records()):
        verify(there, record)
        file = there.path(record.reference) / "part" / "0"
        assert file.read_text() == f"text {i}"
        assert file.stat().st_mode & 0o222 == 0
    assert there.recall("key") == references[1]
    assert publish(there, "text 0", tmp_path / "again") == references[0]
    assert len(there.records()) == 3


def test_xarray_opens_it_plainly_and_by_the_engine(
    machine: Machine, url: str, functaset: Path
) -> None:
    machine("here").publish("functasets", "numbers", functaset, PROVENANCE)
    machine("there")
    plain = xr.open_zarr(f"{url}/functasets/numbers/v1")
    decoded = xr.open_dataset(functaset, engine="functaset").functa.decode(variable="t2m")
    for place in ("numbers", "numbers/", "numbers/v1"):
        opened = xr.open_dataset(f"{url}/functasets/{place}", engine="functaset")
        np.testing.assert_array_equal(opened["modulation"], plain["modulation"])
        np.testing.assert_array_equal(opened.functa.decode(variable="t2m"), decoded)
    with pytest.raises(InputError, match=r"has no functasets/numbers@v2"):
        xr.open_dataset(f"{url}/functasets/numbers", engine="functaset", version=2)


def test_what_a_version_shares_is_neither_sent_nor_fetched_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    fetched: list[str] = []
    upload, download = Objects.upload, Objects.download
    monkeypatch.setattr(Objects, "upload", lambda s, f: sent.extend(f) or upload(s, f))
    monkeypatch.setattr(Objects, "download", lambda s, f: fetched.extend(f) or download(s, f))
    here = machine("here")
    first = publish(here, "old", tmp_path / "a")
    longer = tmp_path / "b"
    (record,) = here.records()
    link_tree(here.path(first), longer, {"part/0": record.files["part/0"]})
    (longer / "zarr.json").write_text("{longer}")
    (longer / "part" / "1").write_text("new")
    sent.clear()
    read: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("storage.files._entry", lambda p, e=_entry: read.append(p.name) or e(p))
        second = here.publish("raw", "numbers", longer, PROVENANCE)
    assert sorted(read) == ["1", "zarr.json"]
    assert sent == ["raw/numbers/v2/part/1", "raw/numbers/v2/zarr.json"]
    assert fetched == []
    there = machine("there")
    verify(there, there.records()[0])
    fetched.clear()
    assert (there.path(second) / "part" / "0").read_text() == "old"
    assert sorted(fetched) == ["raw/numbers/v2/part/1", "raw/numbers/v2/zarr.json"]


# Many at once


def _publish_many(cache: Path, texts: list[str]) -> None:
    os.environ["FUNCTORY_CACHE"] = str(cache)
    for i, text in enumerate(texts):
        publish(Store.default(), text, cache / f"work-{i}")
    os._exit(0)  # without the farewells of threads that other tests have left in the parent


@pytest.mark.parametrize("versions", [9, pytest.param(60, marks=pytest.mark.slow)])
def test_no_version_of_three_machines_is_lost_while_a_fourth_reads(
    machine: Machine, url: str, tmp_path: Path, versions: int
) -> None:
    store = machine("reader")
    texts = [["same", *(f"{process} {i}" for i in range(versions // 3))] for process in range(3)]
    processes = [
        FORK.Process(target=_publish_many, args=(tmp_path / f"writer{i}", texts[i]))
        for i in range(3)
    ]
    for process in processes:
        process.start()
    seen = 0
    while any(process.is_alive() for process in processes):
        records = Store.default().records()
        assert len(records) >= seen
        if len(records) > seen:
            verify(Store.default(), records[-1])
        seen = len(records)
        time.sleep(0.5)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    records = store.records("raw", "numbers")
    assert len({record.reference.version for record in records}) == len(records) == versions + 1
    written = contents(url)
    parts = [written[f"raw/numbers/v{r.reference.version}/part/0"].decode() for r in records]
    assert sorted(parts) == sorted({text for each in texts for text in each})
    files = {name.split("/")[2] for name in written if name.endswith("part/0")}
    assert files == {f"v{record.reference.version}" for record in records}  # and no others
    assert all(store.intact(record) for record in records)


def _publish_for_ever(cache: Path) -> None:
    os.environ["FUNCTORY_CACHE"] = str(cache)
    for i in range(10**9):
        publish(Store.default(), f"{os.getpid()} {i}", cache / f"work-{os.getpid()}-{i}")


def test_kills_harm_nothing_that_was_published(machine: Machine, tmp_path: Path) -> None:
    store = machine("here")
    seen: dict[str, int] = {}
    for delay in (0.6, 0.9):
        process = FORK.Process(target=_publish_for_ever, args=(tmp_path / "here",))
        process.start()
        time.sleep(delay)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = {r.reference.digest: r.reference.version for r in store.records()}
        assert found.items() >= seen.items()
        seen = found
    other = machine("there")
    for record in other.records():
        verify(other, record)
    newest = publish(store, "after the kills", tmp_path / "after")
    assert newest.version > max(seen.values(), default=0)
    assert other.records()[-1].reference == newest


# What goes wrong


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_wherever_the_network_is_cut_the_same_command_ends_right(
    machine: Machine,
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: int,
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    store = machine("here")
    kept = publish(store, "kept", tmp_path / "kept")
    for published, requests in enumerate(range(0, 100, every), start=2):
        folder = tmp_path / f"work{requests}"
        server.misbehave("cut", requests)
        told = ""
        try:
            publish(Store.default(), f"text {requests}", folder)
        except StoreError as error:
            told = str(error)
        server.behave()
        if not told:
            break
        assert told.startswith(f"The store {store} cannot be reached (")
        assert "run the same command again" in told
        assert "planted" not in told
        again = publish(Store.default(), f"text {requests}", folder)
        records = machine("there").records()
        assert [r.reference.digest for r in records].count(again.digest) == 1
        assert len(records) == published
        verify(Store.default(), records[-1])
        machine("here")
    assert requests > 12
    assert store.records()[0].reference == kept


@pytest.mark.parametrize("fault", ["conflict", "lost", "terse"])
def test_answers_of_servers(
    machine: Machine, server: S3Server, url: str, tmp_path: Path, fault: str
) -> None:
    store = machine("here")
    publish(store, "first", tmp_path / "a")
    create = store.backing.create

    def create_record(name: str, text: str) -> bool:
        if "records" in name:
            server.misbehave(fault)
        return create(name, text)

    store.backing.create = create_record  # type: ignore[method-assign]
    second = publish(store, "second", tmp_path / "b")
    assert second.version == 2
    assert not list(server.faults.glob("[cl]o*"))
    assert publish(store, "second", tmp_path / "c") == second
    assert len(store.records()) == 2
    assert all(store.intact(record) for record in store.records())


def test_a_server_that_overwrites_whatever_it_is_asked_is_refused(
    machine: Machine, server: S3Server, tmp_path: Path
) -> None:
    store = machine("here")
    publish(store, "one", tmp_path / "a")
    server.misbehave("careless")
    with pytest.raises(StoreError, match="use one that minds If-None-Match"):
        publish(store, "two", tmp_path / "b")
    assert len(store.records()) == 1


def test_damaged_and_half_filled_copies_are_repaired(machine: Machine, tmp_path: Path) -> None:
    reference = publish(machine("here"), "precious", tmp_path / "a")
    copy = machine("there").path(reference)
    file, note = copy / "part" / "0", copy.with_name(f"{copy.name}.json")
    for damage in (b"precioux", b"half", None):
        file.unlink()
        if damage is not None:
            file.write_bytes(damage)
        assert Store.default().path(reference) == copy
        assert file.read_text() == "precious"
    # killed while it was filled
    file.unlink()
    note.unlink()
    (copy.with_name(f".{copy.name}.partial") / "part").mkdir(parents=True)
    (copy.with_name(f".{copy.name}.partial") / "part" / "0").write_text("prec")
    assert (Store.default().path(reference) / "part" / "0").read_text() == "precious"
    assert note.exists()
    assert not copy.with_name(f".{copy.name}.partial").exists()


def test_a_damaged_version_is_no_hit_and_publishing_again_restores_it(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    store = machine("here")
    reference = publish(store, "precious", tmp_path / "a")
    store.remember("key", reference)
    fs, file = fsspec.filesystem("s3"), f"{url}/raw/numbers/v1/part/0"
    for damage in (b"half", None):
        fs.rm(file) if damage is None else fs.pipe_file(file, damage)
        assert Store.default().recall("key") is None
        with pytest.raises(StoreError, match="run its deployment again"):
            machine(f"{damage!r}").path(reference)
        assert publish(machine("here"), "precious", tmp_path / "b") == reference
        assert Store.default().recall("key") == reference
    fs.pipe_file(file, b"precioux")  # of the same size: whoever reads it, sees
    with pytest.raises(StoreError, match=r"v1/part/0 is damaged: delete it there"):
        machine("there").path(reference)
    fs.rm(file)
    publish(machine("here"), "precious", tmp_path / "c")
    assert (machine("there").path(reference) / "part" / "0").read_text() == "precious"


def test_a_record_cannot_lead_out_of_the_folder_of_copies(
    machine: Machine, url: str, tmp_path: Path
) -> None:
    reference = publish(machine("here"), "x", tmp_path / "a")
    fs, record = (
        fsspec.filesystem("s3"),
        f"{url}/raw/numbers/records/{reference.digest}.json",
    )
    fs.pipe_file(record, fs.cat_file(record).replace(b'"part/0"', b'"../../../../out"'))
    with pytest.raises(StoreError, match="is damaged"):
        machine("there").path(reference)
    assert not (tmp_path / "out").exists()


def test_a_store_of_a_newer_schema_is_refused(machine: Machine, url: str, tmp_path: Path) -> None:
    publish(machine("here"), "x", tmp_path / "a")
    fsspec.filesystem("s3").pipe_file(f"{url}/SCHEMA", b"2\n")
    with pytest.raises(StoreError, match=r"schema 2.*upgrade Functory"):
        Store(url)
