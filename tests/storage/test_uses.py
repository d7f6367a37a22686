"""What running processes use: garbage collection leaves it alone, at whatever moment it comes."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from old_versions import FORK, LATEST, aged, left, old_provenance, publish, went

import storage.garbage
from storage.garbage import Garbage, collect
from storage.uses import hold, release
from storage.versions import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def _hold(root: Path, version: str) -> None:
    hold(root, version)
    (root.parent / "held").touch()
    time.sleep(60)


def test_what_a_process_uses_stays_with_all_it_was_made_from(store: Store) -> None:
    data = publish(store, "data", "one")
    net = publish(store, "nets/x", "one", parents={"data": data})
    fits = publish(store, "fits/x", "one", parents={"net": net})
    for name in ("data", "nets/x", "fits/x"):
        publish(store, name, "two")
    process = FORK.Process(target=_hold, args=(store.root, str(net)))
    process.start()
    while not (store.root.parent / "held").exists():
        time.sleep(0.01)
    assert went(collect(store, LATEST, remove=True)) == [str(fits)]
    process.kill()
    process.join()
    assert went(collect(store, LATEST, remove=True)) == [str(net), str(data)]


def test_the_marks_of_dead_processes_go_when_another_begins(store: Store) -> None:
    publish(store, "data", "one")
    for _ in range(2):
        process = FORK.Process(target=hold, args=(store.root, "raw/data@v1"))
        process.start()
        process.join()
    assert len([p for p in store.root.glob(".uses/*") if f"-{process.pid}-" in p.name]) == 1
    assert len(list(store.root.glob(".uses/*"))) <= 2  # this process may have one, too


def test_who_holds_first_and_looks_second_sees_what_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    seen: list[Any] = []

    def use() -> None:
        hold(store.root, str(first))
        seen.append(store.record(first))

    thread = threading.Thread(target=use)
    put_aside = storage.garbage._put_aside

    def slowly(garbage: Garbage) -> Garbage:
        thread.start()  # after the decision, and before the deed
        time.sleep(0.1)
        assert not seen
        return put_aside(garbage)

    monkeypatch.setattr("storage.garbage._put_aside", slowly)
    collect(store, LATEST, remove=True)
    thread.join()
    assert seen == [None]


def test_who_ends_while_it_is_decided_has_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = publish(store, "data", "one")
    publish(store, "data", "two")
    net = publish(store, "nets/x", "one", parents={"data": data})
    record = store.root / "nets/x/records" / f"{net.digest}.json"
    record.rename(store.root / "unpublished")

    def held(root: Path) -> set[str]:
        (root / "unpublished").rename(record)  # and then its process ends
        return set()

    monkeypatch.setattr("storage.garbage.held", held)
    assert collect(store, LATEST, remove=True) == []
    assert store.intact(store.records("raw")[0])


def test_a_number_that_was_taken_goes_once_its_process_is_dead(store: Store) -> None:
    publish(store, "data", "one")
    for number, days in ((2, 2), (3, 0.5), (4, 2)):
        (store.root / f"raw/data/v{number}").mkdir()
        aged(store.root / f"raw/data/v{number}", days)
    process = FORK.Process(target=_hold, args=(store.root, "raw/data@v4"))
    process.start()
    while not (store.root.parent / "held").exists():
        time.sleep(0.01)
    assert went(collect(store, LATEST, remove=True)) == ["raw/data@v2"]
    process.kill()
    process.join()
    assert went(collect(store, LATEST, remove=True)) == ["raw/data@v4"]
    assert left(store) == ["raw/data@v1"]


# What the store holds for a process


def test_what_was_recalled_stays_until_its_process_ends(store: Store) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    store.remember("key", first)
    assert store.recall("key") == first
    assert collect(store, LATEST, remove=True) == []
    release(store.root)
    assert went(collect(store, LATEST, remove=True)) == [str(first)]


def test_what_was_published_stays_until_its_process_ends(store: Store) -> None:
    found = publish(store, "nets/x", "one")
    published = publish(store, "data", "one", ended=False)
    assert publish(store, "nets/x", "one", ended=False) == found
    for name in ("data", "nets/x"):
        publish(store, name, "two", ended=False)
    assert collect(store, LATEST, remove=True) == []
    release(store.root)
    assert went(collect(store, LATEST, remove=True)) == [str(found), str(published)]


def test_an_opened_functaset_stays(store: Store, functaset: Path) -> None:
    first = store.publish("functasets", "x", functaset, old_provenance(60))
    publish(store, "functasets/x", "two")
    release(store.root)
    with xr.open_dataset(
        store.path(first).parent, engine="functaset", version=1, chunks={}
    ) as dataset:
        assert collect(store, LATEST, remove=True) == []
        assert dataset["modulation"].values.any()
    release(store.root)
    assert went(collect(store, LATEST, remove=True)) == [str(first)]


def test_a_note_leads_to_the_number_that_its_content_has_now(store: Store) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    store.remember("key", first)  # young, so it is left
    collect(store, LATEST, remove=True)
    assert store.recall("key") is None
    again = publish(store, "data", "one")
    assert again.version == 3
    assert store.recall("key") == again


@pytest.mark.parametrize("meet", ["recall", "publish"])
def test_a_version_that_goes_while_it_is_looked_for_was_not_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, meet: str
) -> None:
    first = publish(store, "data", "one")
    publish(store, "data", "two")
    store.remember("key", first)

    def late(root: Path, version: str) -> None:
        collect(store, LATEST, remove=True)
        hold(root, version)

    monkeypatch.setattr("storage.disk.hold", late)
    if meet == "recall":
        assert store.recall("key") is None
    else:
        again = publish(store, "data", "one")
        assert (again.version, again.digest) == (3, first.digest)
        assert store.intact(store.records()[-1])
