"""Versioned results: published once, never changed, never half seen, none lost.

Layout of a store:

    <kind>/<name>/v<N>/                  the files of version N
    <kind>/<name>/records/<digest>.json  its record: the version exists once this file does
    <kind>/<name>/HEAD                   the newest version, for people; readers derive it
    .keys/<key>.json                     which version a stage's key led to
    .digests/                            digests of raw files that have been read
    .work/<key>/                         unfinished work: checkpoints, results not yet published
    .uses/<process>                      what running processes have used

Garbage collection (storage/garbage.py) leaves alone what a process has published, found or recalled
here, for as long as it lives.

Decisions: docs/decisions/0001-storage.md.
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
from storage.files import digest_of, file_digest, link_tree, locked, scan, unchanged, write_new
from storage.references import Provenance, Record, Reference, parse_name
from storage.uses import hold

__all__ = ["SCHEMA", "Store"]

SCHEMA = 1


class Store:
    """A folder of versioned results."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self._check_schema()

    @classmethod
    def default(cls) -> "Store":
        """Open the store that FUNCTORY_STORE names, else ./store."""
        return cls(os.environ.get("FUNCTORY_STORE", "store"))

    def _check_schema(self) -> None:
        marker = self.root / "SCHEMA"
        if not marker.exists():
            return
        found = marker.read_text().strip()
        if found != str(SCHEMA):
            raise StoreError(
                f"The store {self.root} has schema {found}, but this Functory reads schema "
                f"{SCHEMA}: upgrade Functory, or name another store by FUNCTORY_STORE."
            )

    def path(self, reference: Reference) -> Path:
        """Return the folder of a version."""
        return self.root / reference.kind / reference.name / f"v{reference.version}"

    def publish(self, kind: str, name: str, folder: Path, provenance: Provenance) -> Reference:
        """Publish the files of a folder as a new version, or find the version that has them.

        Nothing is visible before the record is created, which happens at once and exclusively.
        """
        write_new(self.root / "SCHEMA", f"{SCHEMA}\n")
        home = self.root / kind / name
        newest = max(_records(home), key=lambda record: record.reference.version, default=None)
        files = (
            scan(folder)
            if newest is None
            else scan(folder, self.path(newest.reference), newest.files)
        )
        digest = digest_of(files)
        published = home / "records" / f"{digest}.json"
        there = self._kept(published)
        if there is not None:
            return self._restore(there, folder)
        number = self._claim(home)
        reference = Reference(kind=kind, name=name, version=number, digest=digest)
        record = Record(reference=reference, files=files, **dict(provenance))
        target = self.path(reference)
        try:
            link_tree(folder, target, files)
            first = write_new(published, record.model_dump_json(indent=1))
        except OSError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        if not first:  # someone published the same content in the meantime
            shutil.rmtree(target)
            return self.publish(kind, name, folder, provenance)
        self._advance(home)
        return reference

    def _claim(self, home: Path) -> int:
        """Take the next free number by creating its folder, which only one process can."""
        home.mkdir(parents=True, exist_ok=True)
        number = max((int(p.name[1:]) for p in home.glob("v[0-9]*")), default=0)
        for record in _records(home):
            number = max(number, record.reference.version)
        while True:
            number += 1
            hold(self.root, f"{home.parent.name}/{home.name}@v{number}")  # before it can be seen
            with contextlib.suppress(FileExistsError):
                (home / f"v{number}").mkdir()
                return number

    def _kept(self, published: Path) -> Record | None:
        """Return a record, if it exists; its version stays while this process runs."""
        with contextlib.suppress(FileNotFoundError):
            hold(self.root, str(_read_record(published).reference))
            return _read_record(published)  # it may have gone before it was held
        return None

    def _restore(self, record: Record, folder: Path) -> Reference:
        """Return a version that exists; give back what of it, or after it, was lost."""
        target = self.path(record.reference)
        damaged = {n: e for n, e in record.files.items() if not unchanged(target / n, e)}
        link_tree(folder, target, damaged)
        self._advance(target.parent)  # its process may have died before HEAD moved
        return record.reference

    def _advance(self, home: Path) -> None:
        with locked(home / "records"):
            newest = max(record.reference.version for record in _records(home))
            partial = home / f".HEAD.{os.getpid()}"
            partial.write_text(f"v{newest}\n")
            partial.replace(home / "HEAD")

    def record(self, reference: Reference) -> Record | None:
        """Return the record of a version, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            return _read_record(self._record_path(reference))
        return None

    def _record_path(self, reference: Reference) -> Path:
        return self.path(reference).parent / "records" / f"{reference.digest}.json"

    def records(self, kind: str | None = None, name: str | None = None) -> list[Record]:
        """Return the records of all versions, or of a kind or name, by kind, name and version."""
        homes = self.root.glob(f"{kind or '[!.]*'}/{name or '*'}")
        found = [record for home in homes for record in _records(home)]
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
                f"The store {self.root} has no {text}; it has {', '.join(there) or 'nothing yet'}."
            )
        return found

    def intact(self, record: Record) -> bool:
        """Tell whether all files of a version are there with their recorded contents."""
        folder = self.path(record.reference)
        return all(unchanged(folder / name, entry) for name, entry in record.files.items())

    def recall(self, key: str) -> Reference | None:
        """Return the version that a stage's key led to, if it is there and intact."""
        try:
            text = (self.root / ".keys" / f"{key}.json").read_text()
        except FileNotFoundError:
            return None
        record = self._kept(self._record_path(Reference.model_validate_json(text)))
        # the record's own: what was collected and made again has another number
        return record.reference if record is not None and self.intact(record) else None

    def remember(self, key: str, reference: Reference) -> None:
        """Note which version a stage's key led to."""
        path = self.root / ".keys" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(reference.model_dump_json())
        partial.replace(path)

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


def _records(home: Path) -> Iterator[Record]:
    for path in sorted(home.glob("records/[!.]*.json")):
        with contextlib.suppress(FileNotFoundError):  # collected in the meantime
            yield _read_record(path)


def _read_record(path: Path) -> Record:
    try:
        return Record.model_validate_json(path.read_bytes())
    except (ValidationError, json.JSONDecodeError):
        raise StoreError(
            f"The record {path} cannot be read; restore the file, or delete it and the version "
            "that it names, and run again."
        ) from None
