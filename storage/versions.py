"""Versioned results: published once, never changed, never half seen, none lost.

Layout of a store, on a local disk or, but for HEAD and the last three, in a bucket:

    <kind>/<name>/v<N>/                  the files of version N
    <kind>/<name>/records/<digest>.json  its record: the version exists once this file does
    <kind>/<name>/HEAD                   the newest version, for people; readers derive it
    .keys/<key>.json                     which version a stage's key led to
    .digests/                            digests of raw files that have been read
    .work/<key>/                         unfinished work: checkpoints, results not yet published
    .uses/<process>                      what running processes have used

Garbage collection (storage/garbage.py) leaves alone what a process has published, found or recalled
here, for as long as it lives. What a store stands on is told by storage/backing.py.

Decisions: docs/decisions/0001-storage.md and 0007-object-stores.md.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from functory.errors import DivergenceError, InputError, StoreError
from storage.backing import Backing
from storage.bucket import Bucket
from storage.disk import Disk
from storage.files import digest_of, file_digest, locked, scan, write_new
from storage.references import (
    Provenance,
    Record,
    Reference,
    parse_name,
    parse_record,
    record_name,
)

__all__ = ["SCHEMA", "Store"]

SCHEMA = 1


class Store:
    """Versioned results in a folder, or at any URL at which fsspec can create files exclusively."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        self.backing = _backing(os.fspath(place))
        self._check_schema()

    @classmethod
    def default(cls) -> "Store":
        """Open the store that FUNCTORY_STORE names by a path or URL, else ./store."""
        return cls(os.environ.get("FUNCTORY_STORE", "store"))

    def __str__(self) -> str:
        return str(self.backing)

    @property
    def root(self) -> Path:
        """The folder of work, locks and downloads; of a local store, also of all else."""
        return self.backing.root

    @property
    def bucket(self) -> Bucket | None:
        """What the store stands on, if that is no local disk."""
        return self.backing if isinstance(self.backing, Bucket) else None

    def _check_schema(self) -> None:
        try:
            found = self.backing.read("SCHEMA").decode().strip()
        except (FileNotFoundError, NotADirectoryError):
            return
        if found != str(SCHEMA):
            raise StoreError(
                f"The store {self} has schema {found}, but this Functory reads schema "
                f"{SCHEMA}: upgrade Functory, or name another store by FUNCTORY_STORE."
            )

    def path(self, reference: Reference) -> Path:
        """Return the folder of a version; of a remote store, that of a copy with its digests."""
        return self.backing.fetch(reference)

    def location(self, reference: Reference) -> str:
        """Return the path or URL of a version."""
        return self.backing.location(reference)

    def hold(self, reference: Reference) -> None:
        """Keep garbage collection from a version while this process runs."""
        self.backing.hold(reference)

    def publish(self, kind: str, name: str, folder: Path, provenance: Provenance) -> Reference:
        """Publish the files of a folder as a new version, or find the version that has them.

        Nothing is visible before the record is created, which happens at once and exclusively.
        """
        backing = self.backing
        if all(backing.create("SCHEMA", f"{SCHEMA}\n") for _ in range(2)):
            raise StoreError(
                f"Nothing can be published to {self}: the server creates a file where there is one "
                "already; use one that minds If-None-Match."
            )
        records = self.records(kind, name)
        newest = records[-1] if records else None
        files = (
            scan(folder)
            if newest is None
            else scan(folder, backing.folder(newest.reference), newest.files)
        )
        digest = digest_of(files)
        there = self._kept(f"{kind}/{name}/records/{digest}.json")
        if there is not None:
            return self._restore(there, folder)
        number = backing.claim(f"{kind}/{name}", 0 if newest is None else newest.reference.version)
        reference = Reference(kind=kind, name=name, version=number, digest=digest)
        record = Record(reference=reference, files=files, **dict(provenance))
        backing.hold(reference)
        try:
            backing.put(folder, reference, files, newest)
            first = backing.create(record_name(reference), record.model_dump_json(indent=1))
        except OSError:
            backing.withdraw(reference)
            raise
        there = record if first else self.record(reference)
        # one with our number is our own, created by a request whose answer was lost
        if there is None or there.reference != reference:
            # someone published the same content in the meantime
            backing.withdraw(reference)
            return self.publish(kind, name, folder, provenance)
        backing.settle(record, folder)
        return reference

    def _kept(self, name: str) -> Record | None:
        """Return a record, if it exists; its version stays while this process runs."""
        with contextlib.suppress(FileNotFoundError):
            self.hold(self._read_record(name).reference)
            return self._read_record(name)  # it may have gone before it was held
        return None

    def _restore(self, record: Record, folder: Path) -> Reference:
        """Return a version that exists; give back what of it, or after it, was lost."""
        same = self.backing.unchanged(record.reference)
        damaged = {n: e for n, e in record.files.items() if not same(n, e)}
        self.backing.put(folder, record.reference, damaged, None)
        self.backing.settle(record, folder)  # its process may have died before it was
        return record.reference

    def record(self, reference: Reference) -> Record | None:
        """Return the record of a version, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            return self._read_record(record_name(reference))
        return None

    def _read_record(self, name: str) -> Record:
        return parse_record(f"{self}/{name}", self.backing.read(name))

    def records(self, kind: str | None = None, name: str | None = None) -> list[Record]:
        """Return the records of all versions, or of a kind or name, by kind, name and version."""
        files = self.backing.records(kind, name)
        found = [parse_record(f"{self}/{file}", text) for file, text in files]
        return sorted(
            found, key=lambda r: (r.reference.kind, r.reference.name, r.reference.version)
        )

    def find(self, text: str) -> list[Record]:
        """Return what `[KIND/]NAME[@vN]` names: the newest version of each kind, or version N.

        Raises
        ------
        InputError
            If there is no such version; lists what there is.
        """
        kind, name, version = parse_name(text)
        records = self.records(kind, name)
        if version is not None:
            found = [r for r in records if r.reference.version == version]
        else:
            found = list({r.reference.kind: r for r in records}.values())
        if not found:
            there = sorted({f"{r.reference.kind}/{r.reference.name}" for r in self.records()})
            raise InputError(
                f"The store {self} has no {text}; it has {', '.join(there) or 'nothing yet'}."
            )
        return found

    def intact(self, record: Record) -> bool:
        """Tell whether all files of a version are there with their recorded contents."""
        same = self.backing.unchanged(record.reference)
        return all(same(name, entry) for name, entry in record.files.items())

    def recall(self, key: str) -> Reference | None:
        """Return the version that a stage's key led to, if it is there and intact."""
        try:
            text = self.backing.read(f".keys/{key}.json")
            reference = Reference.model_validate_json(text)
        except (FileNotFoundError, ValidationError):  # a torn note vouches for nothing
            return None
        record = self._kept(record_name(reference))
        # the record's own: what was collected and made again has another number
        return record.reference if record is not None and self.intact(record) else None

    def remember(self, key: str, reference: Reference) -> None:
        """Note which version a stage's key led to."""
        self.backing.replace(f".keys/{key}.json", reference.model_dump_json())

    def content_digest(self, path: Path) -> str:
        """Return the digest of a raw file or folder, read again only where it was touched."""
        path = path.absolute()
        status = path.stat()
        if path.is_dir():
            return digest_of(scan(path))
        stamp = [str(path), status.st_size, status.st_mtime_ns]
        name = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()
        known = self.root / ".digests" / name
        if not known.exists():
            write_new(known, file_digest(path))
        return known.read_text()

    def unfinished(self, key: str) -> bool:
        """Tell whether a process is at work on a key, or has died at it."""
        return (self.root / ".work" / key).exists()

    @contextlib.contextmanager
    def workspace(self, key: str) -> Iterator[Path]:
        """Hold the folder for unfinished work on a key, alone.

        What a dead process left there is still there: that is how work is resumed. The folder goes
        when the work is done, or has failed in a way that doing it again would not mend.
        """
        folder = self.root / ".work" / key
        with locked(folder):
            try:
                yield folder
            except (InputError, DivergenceError):
                shutil.rmtree(folder)
                raise
            shutil.rmtree(folder)


def _backing(place: str) -> Backing:
    scheme, is_url, path = place.partition("://")
    if not is_url:
        return Disk(Path(place).absolute())
    if scheme in ("file", "local"):
        return Disk(Path(path).absolute())
    return Bucket(place)
