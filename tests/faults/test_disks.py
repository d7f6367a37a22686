"""A disk that is full, and a store that cannot be written."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import check, check_intact, published
from faulty import Undisturbed, environment, met
from installation import Installation
from outcomes import Outcome, Outcomes
from pipeline import STAGES

ADVICE = "make room or mend its permissions, and run the same command again"
short = pytest.mark.short


def done(*command: object) -> bool:
    """Run a command of the system; tell whether it went well."""
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 16 megabytes, where the machine lets us."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not done("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk):
        pytest.skip("mounting a small tmpfs needs root")
    yield disk
    assert done("umount", disk) or done("umount", "--lazy", disk)


@pytest.mark.parametrize(
    "stages",
    [pytest.param(("fit_all",), marks=short), tuple(s for s in STAGES if s != "fit_all")],
    ids=["fit_all", "others"],
)
def test_a_full_disk(
    stages: tuple[str, ...],
    installation: Installation,
    undisturbed: Undisturbed,
    small_disk: Path,
    outcomes: Outcomes,
) -> None:
    """Something fills the disk in one stage after the other; room is made before the next run."""
    store, ballast = small_disk / "store", small_disk / "ballast"
    for number, stage in enumerate(stages):
        change = undisturbed.change(stage, "disk")
        fill = ["sh", "-c", f"cat /dev/zero > {ballast} 2> /dev/null; true"]
        fault = {"stage": STAGES.index(stage), "change": change, "command": fill}
        run = installation.run(environment(store, fault))
        outcomes.rows.append(Outcome("disk full", stage, [run]))
        state = installation.ended(run)
        met(store, number + 1)
        before = published(store)
        check_intact(store, before)
        assert state.is_failed(), state
        assert f"cannot be written (No space left on device); {ADVICE}" in (state.message or "")
        ballast.unlink()
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)


def read_only(store: Path) -> bool:
    return done("mount", "--bind", store, store) and done("mount", "-o", "remount,bind,ro", store)


def test_a_read_only_store(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """What is there can be used all the same; what is not there is refused in one sentence."""
    store = tmp_path / "store"
    shutil.copytree(undisturbed.store, store)
    before = published(store)
    if not read_only(store):
        pytest.skip("a read-only mount needs root")
    try:
        same = installation.run(environment(store))
        other = installation.run(environment(store), {"prior": {}})
        assert installation.ended(same).is_completed()
        state = installation.ended(other)
        assert state.is_failed()
        assert f"cannot be written (Read-only file system); {ADVICE}" in (state.message or "")
        outcomes.rows.append(Outcome("store mounted read-only", "before a run", [same]))
        outcomes.rows.append(Outcome("store mounted read-only", "before new work", [other]))
    finally:
        assert done("umount", store)
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)


def test_a_store_that_becomes_immutable(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """Permissions do not bind root, the attribute `immutable` does."""
    store = tmp_path / "store"
    store.mkdir()
    if not (done("chattr", "+i", store) and done("chattr", "-i", store)):
        pytest.skip("this file system knows no immutable folders")
    change = undisturbed.change("prior", "immutable")
    command = ["sh", "-c", f"find {store} -type d -exec chattr +i {{}} +"]
    fault = {"stage": STAGES.index("prior"), "change": change, "command": command}
    run = installation.run(environment(store, fault))
    state = installation.ended(run)
    done("sh", "-c", f"find {store} -type d -exec chattr -i {{}} +")
    met(store)
    before = published(store)
    assert state.is_failed(), state
    assert ADVICE in (state.message or "")
    outcomes.rows.append(Outcome("store made immutable", "prior", [run]))
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)
