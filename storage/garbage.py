"""Garbage collection: what in a store may go, and how it goes without harm to anyone.

A version goes in three steps: its record is deleted, and the version exists no more; its folder is
renamed, and whoever opens it by its path finds all of it or nothing; its files are deleted. What
was made from others goes before them. After a death between any two steps, the next collection
finishes what this one began.
"""

import errno
import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from functory.errors import InputError, StoreError
from storage.bucket import note_of
from storage.files import locked
from storage.inspection import unrecorded_versions
from storage.references import Reference, parse_name, record_name
from storage.remote_garbage import collect_remote
from storage.retention import DAY, Garbage, Home, Retention, days, home_of, reason, unneeded
from storage.uses import held, seized
from storage.versions import Store

__all__ = ["Garbage", "collect"]

# what is younger than a day and has no record may be under way, whether it is locked or not
HALF_WRITTEN = (
    ".SCHEMA.*.partial",
    ".digests/.*.partial",
    ".keys/*.partial",
    "[!.]*/*/.HEAD.*",
    "[!.]*/*/records/.*.partial",
)


def collect(
    store: Store, retention: Retention, names: Sequence[str] = (), remove: bool = False
) -> list[Garbage]:
    """Find what may go from a store, and remove it if asked to; processes may be at work in it.

    Of a remote store also copies on this machine go, where no process of this machine uses them.

    Parameters
    ----------
    store
        The store.
    retention
        What stays although nothing was made from it.
    names
        Only versions of these, as `KIND/NAME` or `NAME`. Without any, also unfinished work of dead
        processes, downloads that nothing shares, and what else was left behind.
    remove
        Without it, nothing is changed.

    Raises
    ------
    InputError
        If a name is not in the store, or names one version.
    StoreError
        If a record cannot be read, or the store cannot be written.
    """
    homes = {home for name in names for home in _homes(store, name)} if names else None
    remote = []
    if store.bucket is not None:
        remote = collect_remote(store, store.bucket, retention, homes, remove)
    if not store.root.exists():
        return remote
    try:
        if remove:
            with locked(store.root):  # nobody begins to use a version before those have gone
                folders = [_put_aside(garbage) for garbage in _folders(store, retention, homes)]
        else:
            folders = _folders(store, retention, homes)
        there = [garbage for garbage in folders if garbage.paths or garbage.record]
        loose = () if names else (_downloads(store, retention, there), _litter(store, there))
        found = list(_measured(chain(there, *loose)))
        if remove:
            for garbage in reversed(found):  # small files first: the look at them is fresh
                for path in garbage.paths:
                    _delete(path)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise StoreError(
            f"{error.filename} cannot be removed ({error.strerror}): mend its permissions, and "
            "collect again."
        ) from error
    return remote + found


def _homes(store: Store, text: str) -> set[Home]:
    if parse_name(text)[2] is not None:
        raise InputError(
            f"'{text}' is one version, but which may go follows from all of a name: write "
            f"{text.partition('@')[0]}."
        )
    return {home_of(record) for record in store.find(text)}


# What may go


def _folders(store: Store, retention: Retention, homes: Collection[Home] | None) -> list[Garbage]:
    """Return versions, and folders that dead processes have left."""
    now = time.time()
    in_use = held(store.root)  # before the records: who ends now has published by then
    versions = _versions if store.bucket is None else _copies
    found = list(versions(store, retention, homes, now, in_use))
    if homes is None:
        for pattern in ("[!.]*/*/.*.removed", ".work/.*.removed"):
            for aside in store.root.glob(pattern):
                what = aside.relative_to(store.root).as_posix()
                found.append(Garbage(what, "its removal was broken off", (aside,)))
        found += _work(store, retention, now)
    return found


def _versions(
    store: Store,
    retention: Retention,
    homes: Collection[Home] | None,
    now: float,
    in_use: Collection[str],
) -> Iterator[Garbage]:
    records = store.records()
    for record in unneeded(records, retention, now, in_use, homes):
        reference = record.reference
        folder, why = store.path(reference), reason(record, records, now)
        yield Garbage(str(reference), why, (folder,), store.root / record_name(reference))
    for folder in unrecorded_versions(store, records):
        kind, name, number = folder.parts[-3:]
        version = f"{kind}/{name}@{number}"
        chosen = homes is None or (kind, name) in homes
        if chosen and version not in in_use and now - folder.stat().st_mtime >= DAY:
            yield Garbage(version, "was never published, or has lost its record", (folder,))


def _copies(
    store: Store,
    retention: Retention,
    homes: Collection[Home] | None,
    now: float,
    in_use: Collection[str],
) -> Iterator[Garbage]:
    """Yield copies of remote versions that this machine has not used for long."""
    for folder in sorted(store.root.glob("[!.]*/*/*")):
        kind, name, digest = folder.parts[-3:]
        if len(digest) != 64 or f"{kind}/{name}@{digest}" in in_use:
            continue
        age = now - folder.stat().st_mtime
        if (homes is None or (kind, name) in homes) and age >= retention.older_than.total_seconds():
            what, why = f"copy of {kind}/{name} {digest[:12]}", f"not used here for {days(age)}"
            yield Garbage(what, why, (folder,), note_of(folder))


def _work(store: Store, retention: Retention, now: float) -> Iterator[Garbage]:
    for folder in sorted(store.root.glob(".work/[!.]*")):
        age = now - max((status.st_mtime for status in _statuses(folder)), default=now)
        with seized(folder) as free:
            if free and age >= retention.older_than.total_seconds():
                why = f"unfinished; its process died, and wrote last {days(age)} ago"
                yield Garbage(f"work {folder.name[:12]}", why, (folder,))


def _downloads(store: Store, retention: Retention, folders: Iterable[Garbage]) -> Iterator[Garbage]:
    """Return downloads that no version shares but, at most, such as go."""
    for work in store.root.glob(".work/[!.]*"):
        with seized(work) as free:
            if not free:  # it may be about to share what has been downloaded
                return
    going = Counter(_inode(status) for g in folders for path in g.paths for status in _files(path))
    latest = time.time() - retention.older_than.total_seconds()
    for folder in sorted(store.root.glob("downloads/*")):
        unshared = tuple(
            path
            for path in sorted(folder.iterdir())
            if all(status.st_mtime <= latest for status in _statuses(path))
            and all(status.st_nlink - going[_inode(status)] <= 1 for status in _files(path))
        )
        if unshared:
            what = folder.relative_to(store.root).as_posix()
            yield Garbage(what, f"{len(unshared)} downloads that no version shares", unshared)


def _litter(store: Store, folders: Iterable[Garbage]) -> Iterator[Garbage]:
    """Return small files that lead nowhere: notes of stages' keys, and what was half written."""
    gone = {garbage.record for garbage in folders}

    def leads_nowhere(note: Path) -> bool:
        with suppress(ValidationError):
            record = store.root / record_name(Reference.model_validate_json(note.read_text()))
            return record in gone or not record.exists()
        return True

    notes = filter(leads_nowhere, store.root.glob(".keys/*.json"))
    partials = (path for pattern in HALF_WRITTEN for path in store.root.glob(pattern))
    latest = time.time() - DAY
    old = []
    for path in chain(notes, partials):
        with seized(path) as free:
            if free and path.stat().st_mtime <= latest:
                old.append(path)
    if old:
        yield Garbage(f"{len(old)} small files", "notes that lead nowhere", tuple(old))


# How it goes


def _put_aside(garbage: Garbage) -> Garbage:
    """Take a folder out of sight at once, unless somebody has begun to work in it."""
    if garbage.record is not None:
        garbage.record.unlink(missing_ok=True)
    (folder,) = garbage.paths
    if folder.name.endswith(".removed"):
        return garbage
    with seized(folder) as free:
        if not free:
            return replace(garbage, paths=())
        # beside it: on a full disk there may be no room for another folder
        aside = folder.rename(folder.with_name(f".{folder.name}.{time.time_ns()}.removed"))
    return replace(garbage, paths=(aside,))


def _delete(path: Path) -> None:
    while path.is_dir():
        with suppress(FileNotFoundError):  # another collection may be at it, too
            shutil.rmtree(path)
    path.unlink(missing_ok=True)


# What that gives


def _measured(found: Iterable[Garbage]) -> Iterator[Garbage]:
    """Add the sizes: what several share comes free with the last of them."""
    seen: Counter[tuple[int, int]] = Counter()
    for garbage in found:
        size = freed = 0
        for status in (status for path in garbage.paths for status in _files(path)):
            seen[_inode(status)] += 1
            size += status.st_size
            freed += status.st_size if seen[_inode(status)] == status.st_nlink else 0
        yield replace(garbage, size=size, freed=freed)


def _files(path: Path) -> Iterator[os.stat_result]:
    return (status for status in _statuses(path) if not stat.S_ISDIR(status.st_mode))


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Yield what the system says of a path and of all below it, as long as it is there."""
    below = (
        Path(folder, name)
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )
    for each in chain([path], below):
        with suppress(FileNotFoundError):
            yield each.lstat()


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
