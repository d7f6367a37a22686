"""What must hold of a store after any fault, once the same command has ended well."""

from pathlib import Path

from installation import until

from storage.files import digest_of, scan
from storage.references import Record
from storage.uses import held
from storage.versions import Store

__all__ = ["check", "check_intact", "digests", "published"]


def published(store: Path) -> list[Record]:
    """Return what is published at this moment."""
    return Store(store).records()


def digests(store: Path) -> dict[str, str]:
    """Return what is published of each kind; the times of files are no part of it."""
    return {r.reference.kind: r.reference.digest for r in published(store)}


def check_intact(store: Path, before: list[Record]) -> None:
    """Check that nothing has gone of what was published before, byte by byte."""
    now = published(store)
    for record in before:
        assert record in now, f"{record.reference} has gone"
    for record in now:
        found = digest_of(scan(Store(store).path(record.reference)))
        assert found == record.reference.digest, f"{record.reference} is harmed"


def check(
    store: Path, before: list[Record], undisturbed: dict[str, str], name: str | None = None
) -> None:
    """Check that a store is as after an undisturbed run: the same bits, once, and nothing else."""
    check_intact(store, before)
    found = [r.reference for r in published(store) if name in (None, r.reference.name)]
    assert {r.kind: r.digest for r in found if r.kind in undisturbed} == undisturbed
    assert len(found) == len({r.kind for r in found}), "a result was published twice"
    for reference in found:
        head = store / reference.kind / reference.name / "HEAD"
        assert head.read_text() == f"v{reference.version}\n"
    until(lambda: not held(store), 60, "processes to let go of the store")
    assert list(store.glob(".work/*")) == []
