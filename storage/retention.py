"""Which versions nothing needs any more."""

import graphlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from pydantic import Field, PositiveInt

from functory.configuration import Config
from storage.references import Record, Reference

__all__ = ["DAY", "Garbage", "Home", "Retention", "days", "home_of", "reason", "unneeded"]

DAY = 86400.0
"""Seconds."""

Home = tuple[str, str]
"""Kind and name."""
Identity = tuple[str, str, str]
"""What a record is found by; after a loss, the same content may have another number."""


class Retention(Config):
    """What stays although nothing was made from it."""

    keep: PositiveInt = 3
    """How many of the newest versions of each name stay, however old they are."""
    older_than: timedelta = Field(default=timedelta(days=30), ge=timedelta(0))
    """What is younger stays: versions, unfinished work and downloads."""


@dataclass(frozen=True)
class Garbage:
    """Something that may go, and why."""

    what: str
    why: str
    paths: tuple[Path, ...] = ()
    """What of it is on the local disk."""
    record: Path | None = None
    """The file that makes a version exist there."""
    size: int = 0
    """Bytes of its files."""
    freed: int = 0
    """Bytes of those files whose last link goes, if all that is listed before goes, too."""


def unneeded(
    records: Sequence[Record],
    retention: Retention,
    now: float,
    held: Collection[str] = (),
    homes: Collection[Home] | None = None,
) -> list[Record]:
    """Return the records of versions that nothing needs; what was made from others comes first.

    Needed are the newest `keep` of every name, so HEAD too; the young ones; those that a process
    holds; and all that a needed one was made from, directly or not.

    Parameters
    ----------
    records
        All of a store.
    retention
        How many and how young ones stay.
    now
        Seconds since the epoch.
    held
        Versions in use, as `kind/name@v3`.
    homes
        Kinds and names to look at; all versions of others stay.
    """
    known = {_identity(record.reference): record for record in records}
    numbers: dict[Home, list[int]] = defaultdict(list)
    for record in records:
        numbers[home_of(record)].append(record.reference.version)
    newest = {home: sorted(versions)[-retention.keep :] for home, versions in numbers.items()}

    def stays(record: Record) -> bool:
        home, age = home_of(record), now - record.created.timestamp()
        return (
            (homes is not None and home not in homes)
            or record.reference.version in newest[home]
            or age < retention.older_than.total_seconds()
            or str(record.reference) in held
        )

    waiting = [identity for identity, record in known.items() if stays(record)]
    needed: set[Identity] = set()
    while waiting:
        identity = waiting.pop()
        if identity in known and identity not in needed:
            needed.add(identity)
            waiting += map(_identity, known[identity].parents.values())
    return _children_first({i: record for i, record in known.items() if i not in needed})


def _children_first(records: dict[Identity, Record]) -> list[Record]:
    sorter: graphlib.TopologicalSorter[Identity] = graphlib.TopologicalSorter()
    for identity, record in records.items():
        sorter.add(identity)
        for parent in map(_identity, record.parents.values()):
            if parent in records:
                sorter.add(parent, identity)
    with suppress(graphlib.CycleError):  # after losses, content may descend from itself: it stays
        sorter.prepare()
    ordered: list[Record] = []
    while ready := sorter.get_ready():
        ordered += [records[identity] for identity in ready]
        sorter.done(*ready)
    return ordered


def home_of(record: Record) -> Home:
    """Return the kind and name of a version."""
    return record.reference.kind, record.reference.name


def _identity(reference: Reference) -> Identity:
    return reference.kind, reference.name, reference.digest


def reason(record: Record, records: Sequence[Record], now: float) -> str:
    """Say why a version, one of `records`, may go."""
    newer = sum(
        home_of(other) == home_of(record) and other.reference.version > record.reference.version
        for other in records
    )
    return f"{days(now - record.created.timestamp())} old, {newer} newer, nothing needs it"


def days(seconds: float) -> str:
    """Return an age as people read it."""
    count = int(seconds / DAY)
    return f"{count} day" if count == 1 else f"{count} days"
