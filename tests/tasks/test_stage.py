"""A stage: its key, its cache, and what is left when its process dies at any change of a file."""

import errno
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import PositiveInt

from functory.configuration import Config
from functory.errors import InputError, StoreError
from storage.references import Reference
from storage.versions import Store
from tasks.stage import Outcome, Stage, Work, stage

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR


class Counting(Config):
    """How far is counted."""

    to: PositiveInt


computed: list[int] = []


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    computed.clear()
    return Store.default()


def numbers(version: int = 1, content: Any = None) -> Stage:
    @stage("numbers", version=version, content=content)
    def count(work: Work, config: Counting, **inputs: Reference) -> Outcome:
        """Write numbers, one after the other, with a note of how far it came."""
        done = work.folder / "done"
        numbers = done.read_text().split() if done.exists() else []
        for i in range(len(numbers), config.to):
            computed.append(i)
            numbers.append(str(i))
            partial = done.with_suffix(".partial")
            partial.write_text(" ".join(numbers))
            partial.replace(done)
        (work.result / "part").mkdir(parents=True)
        for number in numbers:
            (work.result / "part" / number).write_text(number)
        return Outcome("CC0-1.0", {"numbers": config.to})

    return count


def test_logs_say_what_was_made_of_what_and_how_long_it_took(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "functory")
    first = numbers().plain("few", Counting(to=2))
    numbers().plain("more", Counting(to=3), before=first)
    numbers().plain("more", Counting(to=3), before=first)
    one, two, again = (vars(record) for record in caplog.records)
    assert (one["stage"], one["result"], one["inputs"]) == ("count@1", "numbers/few@v1", {})
    assert two["inputs"] == {"before": "numbers/few@v1"}
    assert [log["cached"] for log in (one, two, again)] == [False, False, True]
    assert again["key"] == two["key"] == store.find("more")[0].key
    assert all(log["seconds"] >= 0 for log in (one, two, again))


def test_a_result_is_computed_once(store: Store) -> None:
    first = numbers().plain("some", Counting(to=3))
    assert computed == [0, 1, 2]
    assert numbers().plain("some", Counting(to=3)) == first
    assert computed == [0, 1, 2]
    (record,) = store.records()
    assert record.stage == "count@1"
    assert record.configuration == {"to": 3}
    assert record.summary == {"numbers": 3}


def test_another_name_shares_the_files(store: Store) -> None:
    first = numbers().plain("some", Counting(to=3))
    other = numbers().plain("other", Counting(to=3))
    assert computed == [0, 1, 2]
    assert (other.name, other.digest) == ("other", first.digest)
    paths = [store.path(reference) / "part" / "1" for reference in (first, other)]
    assert os.path.samefile(*paths)
    assert numbers().plain("other", Counting(to=3)) == other
    assert len(store.records()) == 2


def test_what_a_key_depends_on(store: Store) -> None:
    reference = numbers().plain("some", Counting(to=3))
    changed = Reference(kind="raw", name="some", version=1, digest="0")
    keys = [
        numbers().key(store, Counting(to=3), {}),
        numbers().key(store, Counting(to=4), {}),
        numbers(version=2).key(store, Counting(to=3), {}),
        numbers(content=lambda store, config: "1").key(store, Counting(to=3), {}),
        numbers(content=lambda store, config: "2").key(store, Counting(to=3), {}),
        numbers().key(store, Counting(to=3), {"of": reference}),
        numbers().key(store, Counting(to=3), {"by": reference}),
        numbers().key(store, Counting(to=3), {"of": changed}),
    ]
    assert len(set(keys)) == len(keys)
    # not on what the input is called, or which version it is: only on its content
    same = Reference(kind="raw", name="other", version=7, digest="0")
    assert keys[-1] == numbers().key(store, Counting(to=3), {"of": same})


@pytest.mark.parametrize("loss", ["file", "record"])
def test_a_damaged_version_is_no_hit(store: Store, loss: str) -> None:
    first = numbers().plain("some", Counting(to=3))
    if loss == "file":
        (store.path(first) / "part" / "1").unlink()
    else:
        (store.root / "numbers/some/records" / f"{first.digest}.json").unlink()
    again = numbers().plain("some", Counting(to=3))
    assert computed == [0, 1, 2] * 2
    assert again.digest == first.digest
    assert all(store.intact(record) for record in store.records())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_unfinished_work_is_taken_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*arguments: Any, **keywords: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "__init__", interrupted)
        with pytest.raises(error):
            numbers().plain("some", Counting(to=3))
    assert computed == [0, 1, 2]
    assert numbers().plain("some", Counting(to=3)).version == 1
    assert computed == [0, 1, 2]
    assert list(store.root.glob(".work/*")) == []


def test_bad_input_leaves_nothing(store: Store) -> None:
    @stage("numbers", version=1)
    def refuse(work: Work, config: Counting) -> Outcome:
        """Refuse."""
        (work.folder / "checkpoint").write_text("state")
        raise InputError("The numbers are wrong.")

    with pytest.raises(InputError, match="are wrong"):
        refuse.plain("some", Counting(to=3))
    assert store.records() == []
    assert list(store.root.glob(".work/*")) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_is_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("storage.files.os.link", full)
        with pytest.raises(StoreError, match=os.strerror(number)) as caught:
            numbers().plain("some", Counting(to=3))
    assert "\n" not in str(caught.value)
    assert store.records() == []
    # room is made: what was done is not done again
    assert numbers().plain("some", Counting(to=3)).version == 1
    assert computed == [0, 1, 2]


def test_other_errors_of_the_system_stay_what_they_are(store: Store) -> None:
    @stage("numbers", version=1)
    def seek(work: Work, config: Counting) -> Outcome:
        """Look for what is not there."""
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "nowhere")

    with pytest.raises(FileNotFoundError):
        seek.plain("some", Counting(to=3))


def _count_and_die(at: int) -> None:
    """Run the stage, and die before the change number `at` of a file; else exit with 0."""
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITING):
            changes += 1
            if changes == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    numbers().plain("some", Counting(to=3))
    os._exit(0)  # without the farewells of threads that other tests have left in the parent


def test_death_at_every_change_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    digest = numbers().plain("some", Counting(to=3)).digest
    for at in range(1, 1000):
        monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / f"store{at}"))
        process = context.Process(target=_count_and_die, args=(at,))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        store = Store.default()
        seen = store.records()
        assert all(store.intact(record) for record in seen), at
        again = numbers().plain("some", Counting(to=3))
        assert again.digest == digest, at
        (record,) = store.records()
        assert store.intact(record), at
        assert not seen or seen == [record], at
        assert (store.root / "numbers/some/HEAD").read_text() == f"v{again.version}\n", at
        assert list(store.root.glob(".work/*")) == [], at
    assert at > 30
