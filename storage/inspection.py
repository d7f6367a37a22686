"""What can be wrong with a store: records, contents, HEADs, and what dead processes left."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from functory.progress import progress
from storage.files import digest_of, file_digest, unchanged
from storage.references import FileEntry, Record, Reference
from storage.uses import seized
from storage.versions import Store

__all__ = [
    "Damage",
    "abandoned_workspaces",
    "damages",
    "lagging_heads",
    "read_records",
    "unrecorded_versions",
]


@dataclass(frozen=True)
class Damage:
    """How the files of a version differ from its record; paths are relative to its folder."""

    reference: Reference
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    """Files with other contents than recorded, or that cannot be read."""
    foreign: tuple[str, ...]
    """Files that were never published."""


def read_records(store: Store) -> tuple[list[Record], list[Path]]:
    """Return the records that can be trusted, and the paths of those that cannot.

    A record is named by the digest of the files that it lists, so a changed one shows.
    """
    trusted: list[Record] = []
    wrong = []
    for path in sorted(store.root.glob("[!.]*/*/records/[!.]*.json")):
        try:
            record = Record.model_validate_json(path.read_bytes())
        except ValidationError:
            wrong.append(path)
            continue
        except FileNotFoundError:  # collected since we looked
            continue
        home = store.path(record.reference).parent
        names = {path.stem, record.reference.digest, digest_of(record.files)}
        if path.parent.parent == home and len(names) == 1:
            trusted.append(record)
        else:
            wrong.append(path)
    trusted.sort(key=lambda r: (r.reference.kind, r.reference.name, r.reference.version))
    return trusted, wrong


def damages(store: Store, records: Sequence[Record], digests: bool) -> list[Damage]:
    """Compare versions with their records.

    Parameters
    ----------
    store
        Where the versions are.
    records
        The versions to look at.
    digests
        Read every file and compare its digest, with a progress bar. Otherwise only a file whose
        size or time has changed is read, which does not see a disk that forgets.
    """
    found = []
    same = functools.partial(_same, known={}) if digests else _untouched
    total = sum(len(record.files) for record in records)
    with progress(total, "digests", "file", disable=not digests) as bar:
        for record in records:
            folder = store.path(record.reference)
            there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
            missing, changed = [], []
            for name, entry in record.files.items():
                if name not in there:
                    missing.append(name)
                elif not same(folder / name, entry):
                    changed.append(name)
                bar.update()
            foreign = sorted(there - record.files.keys())
            record_file = folder.with_name("records") / f"{record.reference.digest}.json"
            if (missing or changed or foreign) and record_file.exists():  # else collected since
                found.append(
                    Damage(record.reference, tuple(missing), tuple(changed), tuple(foreign))
                )
    return found


def _same(path: Path, entry: FileEntry, known: dict[tuple[int, int], str]) -> bool:
    """Compare a file's digest; one that versions share by hard links is read once."""
    try:
        status = path.stat()
        inode = (status.st_dev, status.st_ino)
        if inode not in known:
            known[inode] = file_digest(path)
    except OSError:
        return False
    return known[inode] == entry.sha256


def _untouched(path: Path, entry: FileEntry) -> bool:
    try:
        return unchanged(path, entry)
    except OSError:
        return False


def lagging_heads(store: Store, records: Sequence[Record]) -> dict[Path, int]:
    """Return every HEAD that does not name the newest version, with the number that it should."""
    newest: dict[Path, int] = {}
    for record in records:
        head = store.path(record.reference).with_name("HEAD")
        newest[head] = max(newest.get(head, 0), record.reference.version)
    return {
        head: number
        for head, number in newest.items()
        if not head.is_file() or head.read_text().strip() != f"v{number}"
    }


def unrecorded_versions(store: Store, records: Sequence[Record]) -> list[Path]:
    """Return the folders of numbers that were taken, but not published (or not yet)."""
    published = {store.path(record.reference) for record in records}
    folders = store.root.glob("[!.]*/*/v[0-9]*")
    return sorted(folder for folder in folders if folder.is_dir() and folder not in published)


def abandoned_workspaces(store: Store) -> list[Path]:
    """Return the folders of unfinished work that no process is at."""
    left = []
    for folder in sorted(store.root.glob(".work/[!.]*")):
        with seized(folder) as free:
            if free:
                left.append(folder)
    return left
