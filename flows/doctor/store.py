"""Checks of the store: whether it can be written, and whether it is what its records say."""

import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from flows.doctor.findings import Finding, fine, warning, wrong
from storage.bucket import Bucket
from storage.inspection import (
    Damage,
    abandoned_workspaces,
    damages,
    lagging_heads,
    read_records,
    unrecorded_versions,
)
from storage.references import Record
from storage.versions import SCHEMA, Store

__all__ = ["store"]

LEAST_FREE = 1e9
"""Bytes: a demo leaves less than a tenth of it, and so does a month more of a record."""


def store(digests: bool) -> Iterator[Finding]:
    """Check the store; with `digests`, read all of it."""
    try:
        home = Store.default()
        records, unreadable = read_records(home)
        if home.bucket is not None:
            yield fine(f"{home}: schema {SCHEMA}, {len(records)} versions; copies in {home.root}")
            yield from _exclusive(home.bucket)
        elif home.root.exists():
            yield fine(f"{home}: schema {SCHEMA}, {len(records)} versions")
        else:
            yield fine(f"{home} is not there yet: the first run makes it")
        yield from _room(home.root)
        for name in unreadable:
            yield wrong(
                f"the record {home}/{name} is damaged",
                "restore the file, or delete it and the version that it names, and run again",
            )
        yield from _contents(home, records, digests)
        unsure = {(home.root / name).parent.parent for name in unreadable}
        yield from _leftovers(home, records, unsure)
    except OSError as error:
        yield wrong(
            f"the store cannot be read ({error.filename}: {error.strerror})",
            "mend the permissions, or name another store by FUNCTORY_STORE",
        )


def _exclusive(bucket: Bucket) -> Iterator[Finding]:
    """Create a file twice where the store is: only the first may succeed."""
    if bucket.objects.exclusive():
        yield fine("the server creates a file only where there is none")
    else:
        yield wrong(
            f"the server of {bucket} overwrites a file that it was to create: versions get lost",
            "use a server that minds If-None-Match",
        )


def _room(root: Path) -> Iterator[Finding]:
    """Write a file where the store is, or will be, and see what room there is."""
    folder = next(path for path in (root, *root.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        yield wrong(
            f"the store {root} cannot be written ({error.strerror})",
            "mend its permissions or make room, or name another folder by FUNCTORY_STORE",
        )
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        yield warning(
            f"the disk of the store has {free / 1e9:.2f} GB left",
            "make room, or name a folder on another disk by FUNCTORY_STORE",
        )
    else:
        yield fine(f"{free / 1e9:.3g} GB are free")


def _contents(home: Store, records: Sequence[Record], digests: bool) -> Iterator[Finding]:
    found = damages(home, records, digests)
    for damage in found:
        yield _finding(home, damage)
    if records and not found:
        seen = "every digest" if digests else "size and time of every file"
        if home.bucket is not None and not digests:
            seen = "size of every file"
        more = "" if digests else "; --digests reads the contents, too"
        yield fine(f"{seen} as recorded{more}")


def _finding(home: Store, damage: Damage) -> Finding:
    folder, again = home.location(damage.reference), "run its deployment again"
    if not home.backing.names(damage.reference):
        return wrong(f"{damage.reference} has lost its folder {folder}", f"{again}: it comes back")
    if damage.changed:
        # deleted, because a file that kept size and time passes for intact when a stage looks
        return wrong(
            f"{damage.reference} is damaged: {_few(damage.changed)} changed"
            + (f", {_few(damage.missing)} missing" if damage.missing else ""),
            f"delete the changed files in {folder} and {again}",
        )
    if damage.missing:
        return wrong(f"{damage.reference} is damaged: {_few(damage.missing)} missing", again)
    return warning(
        f"{damage.reference} has files that were not published: {_few(damage.foreign)}",
        f"move them out of {folder}",
    )


def _leftovers(
    home: Store, records: Sequence[Record], unsure: Collection[Path]
) -> Iterator[Finding]:
    """Find what dead processes left; nothing is said of names of which a record is damaged."""
    for head, number in lagging_heads(home, records).items():
        if head.parent in unsure:
            continue
        yield warning(
            f"{head} does not name the newest version, v{number}",
            f"write v{number} into it, or let the next version do so: readers do not need it",
        )
    for folder in unrecorded_versions(home, records):
        if folder.parent in unsure:
            continue
        yield warning(
            f"{folder} was not published: its process has died, or is at it now",
            "leave it to `functory gc --remove`, which waits a day",
        )
    for folder in abandoned_workspaces(home):
        yield warning(
            f"{folder} is unfinished work that no process is at",
            "run the same deployment again, which goes on from there, or leave it to "
            "`functory gc --remove`",
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
