"""Garbage collection of a store in a bucket: what other machines use stays."""

import os
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest
from old_versions import DAYS, LATEST, left, went
from remote import Machine, publish, verify

from functory.errors import InputError
from storage.garbage import collect
from storage.objects import Objects
from storage.references import record_name
from storage.retention import Retention
from storage.uses import release
from storage.versions import Store


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let collections take place in forty days."""
    clock = SimpleNamespace(time=lambda: time.time() + 40 * DAYS)
    monkeypatch.setattr("storage.remote_garbage.time", clock)


def files(url: str) -> list[str]:
    found = fsspec.filesystem("s3", use_listings_cache=False).find(url)
    return [path.partition("/store/")[2] for path in found]


def test_what_was_used_of_late_stays(machine: Machine, url: str, tmp_path: Path) -> None:
    store = machine("here")
    publish(store, "one", tmp_path / "a")
    publish(store, "two", tmp_path / "b")
    assert collect(store, LATEST, remove=True) == []  # although both are said to be of January


@pytest.mark.usefixtures("later")
def test_old_versions_go_and_the_newest_stay(machine: Machine, url: str, tmp_path: Path) -> None:
    store = machine("here")
    first, second, third = (publish(store, text, tmp_path / text) for text in ("1", "2", "3"))
    fs = fsspec.filesystem("s3")
    for left_behind in ("v4.claim", "v4/zarr.json"):  # by a publisher that died
        fs.pipe_file(f"{url}/raw/numbers/{left_behind}", b"{}")
    dry = collect(store, LATEST)
    assert left(store) == [str(r) for r in (first, second, third)]
    done = collect(store, LATEST, remove=True)
    assert went(dry) == went(done) == [str(first), str(second), "raw/numbers@v4"]
    assert [garbage.freed for garbage in done] == [3, 3, 2]
    assert left(store) == [str(third)]
    assert sorted(files(url)) == [
        ".uses/raw/numbers@v3",
        "SCHEMA",
        record_name(third),
        "raw/numbers/v1.claim",
        "raw/numbers/v2.claim",
        "raw/numbers/v3.claim",
        "raw/numbers/v3/part/0",
        "raw/numbers/v3/zarr.json",
        "raw/numbers/v4.claim",
    ]
    verify(machine("there"), store.records()[0])
    assert publish(store, "4", tmp_path / "d").version == 5
    assert publish(store, "1", tmp_path / "1").version == 6
    assert (store.path(store.records()[-1].reference) / "part" / "0").read_text() == "1"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_begins_to_use_a_version_meanwhile_keeps_it_or_does_not_see_it(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = machine("here")
    first = publish(store, "1", tmp_path / "1")
    publish(store, "2", tmp_path / "2")
    store.remember("key", first)
    time.sleep(1.1)  # the server tells times in seconds; the real look is at uses a day apart
    times = iter([time.time() + 40 * DAYS, time.time()])  # the second look is at what is so now
    monkeypatch.setattr("storage.remote_garbage.time", SimpleNamespace(time=lambda: next(times)))
    recalled: list[object] = []
    remove = Objects.remove

    def slowly(self: Objects, names: list[str]) -> None:
        ours = names == [record_name(first)] and not recalled
        if ours and moment == "before":
            recalled.append(Store.default().recall("key"))
        remove(self, names)
        if ours and moment == "after":
            recalled.append(Store.default().recall("key"))

    monkeypatch.setattr(Objects, "remove", slowly)
    found = collect(store, LATEST, remove=True)
    if moment == "before":
        assert recalled == [first]
        assert found == []
        assert Store.default().recall("key") == first
    else:
        assert recalled == [None]
        assert went(found) == [str(first)]


def test_a_day_is_the_least(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--older-than 1d or more"):
        collect(machine("here"), Retention(older_than=timedelta(hours=12)))


def test_copies_that_this_machine_has_not_used_go(machine: Machine, tmp_path: Path) -> None:
    reference = publish(machine("here"), "1", tmp_path / "1")
    store = machine("there")
    copy = store.path(reference)
    for age in (20, 40):
        os.utime(copy, (time.time() - age * DAYS,) * 2)
        if age == 40:
            assert collect(store, LATEST, remove=True) == []  # this process has it in use
            release(store.root)
        found = went(collect(store, LATEST, remove=True))
        assert found == ([] if age == 20 else [f"copy of raw/numbers {reference.digest[:12]}"])
    assert not copy.exists()
    assert (Store.default().path(reference) / "part" / "0").read_text() == "1"
