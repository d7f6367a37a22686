"""What can be wrong with a store: records, contents, HEADs, and what dead processes left."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from functory.progress import progress
from storage.files import digest_of
from storage.references import Record, Reference, record_name
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


def read_records(store: Store) -> tuple[list[Record], list[str]]:
    """Return the records that can be trusted, and the names in the store of those that cannot.

    A record is named by the digest of the files that it lists, so a changed one shows.
    """
    trusted: list[Record] = []
    wrong = []
    for name, text in store.backing.records(None, None):
        try:
            record = Record.model_validate_json(text)
        except ValidationError:
            wrong.append(name)
            continue
        reference = record.reference
        if record_name(reference) == name and digest_of(record.files) == reference.digest:
            trusted.append(record)
        else:
            wrong.append(name)
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
        size or time has changed is read, which does not see a disk that forgets; of a remote
        store, sizes are compared.
    """
    found = []
    digest = store.backing.digests()
    total = sum(len(record.files) for record in records)
    with progress(total, "digests", "file", disable=not digests) as bar:
        for record in records:
            reference = record.reference
            there = store.backing.names(reference)
            unchanged = store.backing.unchanged(reference)
            missing, changed = [], []
            for name, entry in record.files.items():
                try:
                    same = (
                        digest(reference, name) == entry.sha256
                        if digests and name in there
                        else unchanged(name, entry)
                    )
                except OSError:
                    same = False
                if name not in there:
                    missing.append(name)
                elif not same:
                    changed.append(name)
                bar.update()
            foreign = sorted(there - record.files.keys())
            # else it was collected since
            if (missing or changed or foreign) and store.record(reference) is not None:
                found.append(Damage(reference, tuple(missing), tuple(changed), tuple(foreign)))
    return found


def lagging_heads(store: Store, records: Sequence[Record]) -> dict[Path, int]:
    """Return every HEAD that does not name the newest version, with the number that it should.

    A remote store has none.
    """
    if store.bucket is not None:
        return {}
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
    """Return the folders, on a local disk, that were taken but not published (or not yet)."""
    if store.bucket is not None:
        return []
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
