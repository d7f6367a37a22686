"""A store whose files were damaged behind its back."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from aftermath import check, check_intact, published
from faulty import Undisturbed, drawn, environment
from installation import Installation
from outcomes import Outcome, Outcomes


def chosen(store: Path, pattern: str, draw: random.Random) -> Path:
    """Draw a file that a published version or the store itself has."""
    return draw.choice(sorted(path for path in store.glob(pattern) if path.is_file()))


def torn(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lost(path: Path) -> None:
    path.unlink()


def garbage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\x00not what it was")


DAMAGE: list[tuple[str, str, Callable[[Path], None]]] = [
    ("a chunk truncated", "signals/*/v*/*/c/**/*", torn),
    ("a chunk lost", "functasets/*/v*/*/c/**/*", lost),
    ("a bit of a chunk flipped", "networks/*/v*/**/c/**/*", flipped),
    ("zarr.json emptied", "priors/*/v*/zarr.json", emptied),
    ("a file emptied", "reports/*/v*/*", emptied),
    ("HEAD garbage", "signals/*/HEAD", garbage),
    ("HEAD lost", "functasets/*/HEAD", lost),
    ("a key torn", ".keys/*.json", torn),
    ("a key lost", ".keys/*.json", lost),
    ("SCHEMA lost", "SCHEMA", lost),
]


@pytest.mark.short
def test_damaged_files(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """All at once, in a copy of the store: the same command makes it whole."""
    store = tmp_path / "store"
    shutil.copytree(undisturbed.store, store)
    before = published(store)
    for name, pattern, damage in DAMAGE:
        damage(chosen(store, pattern, drawn("damage", name)))
        outcomes.rows.append(Outcome(name, "between runs"))
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)


def test_a_torn_record(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """Refused in one sentence that says what to do, which helps."""
    store = tmp_path / "store"
    shutil.copytree(undisturbed.store, store)
    before = published(store)
    record = chosen(store, "priors/*/records/*.json", drawn("record"))
    torn(record)
    run = installation.run(environment(store))
    state = installation.ended(run)
    assert state.is_failed(), state
    assert f"The record {record} cannot be read" in (state.message or "")
    outcomes.rows.append(Outcome("a record torn", "between runs", [run], "FAILED until deleted"))
    record.unlink()
    shutil.rmtree(record.parent.parent / "v1")
    installation.completes(environment(store))
    before = [r for r in before if r.reference.kind != "priors"]
    check_intact(store, before)
    check(store, before, undisturbed.digests)
