"""A store in a place that fsspec reaches, with copies of versions on the local disk.

Layout there, beside what storage/versions.py says (there is no HEAD: readers derive it):

    <kind>/<name>/v<N>.claim        the number N was taken; it is never taken again
    .uses/<kind>/<name>@v<N>        written whenever a process begins to use a version

and in the folder of copies, whose other folders are those of a local store:

    <kind>/<name>/<digest>/         the files of a version
    <kind>/<name>/<digest>.json     its record: the folder was filled whole once
    <kind>/<name>/records/          records that were read, by digest and what a listing says

Decisions: docs/decisions/0007-object-stores.md.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from functory.errors import StoreError
from storage.files import digest_of, file_digest, link_tree, locked, unchanged, write_new
from storage.objects import Denied, Objects
from storage.references import NAME, FileEntry, Record, Reference, parse_record, record_name
from storage.uses import hold

__all__ = ["USES", "Bucket", "copies_of", "copy_of", "files_of", "note_of"]

USES = ".uses"
"""Folder of the files that are written when a process begins to use a version."""


def copies_of(url: str) -> Path:
    """Return the folder of what is kept here of a remote store, below FUNCTORY_CACHE."""
    place = Path(os.environ.get("FUNCTORY_CACHE", "~/.cache/functory")).expanduser().absolute()
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", url)
    return place / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


class Bucket:
    """See `storage.backing.Backing`."""

    def __init__(self, url: str) -> None:
        self.objects = Objects(url)
        self.root = copies_of(self.objects.url)
        self._verified: set[Path] = set()
        self._held: set[Reference] = set()

    def __str__(self) -> str:
        return self.objects.url

    def location(self, reference: Reference) -> str:
        """Return the URL of a version."""
        return self.objects.address(files_of(reference))

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        return self.objects.read(name)

    def create(self, name: str, text: str) -> bool:
        """Create a file by a conditional put; return False where it exists already."""
        return self.objects.create(name, text.encode())

    def replace(self, name: str, text: str) -> None:
        """Create a file, or give it another text, at once."""
        self.objects.write(name, text.encode())

    def claim(self, home: str, above: int) -> int:
        """Take the next number by a conditional put."""
        taken = (re.fullmatch(r"v(\d+)(\.claim)?", name) for name in self.objects.within(home))
        number = max((int(found[1]) for found in taken if found), default=0)
        number = max(number, above)
        while True:
            number += 1
            if self.objects.create(f"{home}/v{number}.claim", b""):
                return number

    # Records

    def records(self, kind: str | None, name: str | None) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of records; what has not changed is not sent again."""
        for home in self.homes(kind, name):
            known = {
                f"{home}/records/{file}": self._known(home, file, entry)
                for file, entry in self.objects.listing(f"{home}/records").items()
                if file.endswith(".json")
            }
            new = self.objects.read_all([f for f, path in known.items() if not path.exists()])
            for file, content in new.items():
                for path in known[file].parent.glob(f"{PurePosixPath(file).stem}.*"):
                    path.unlink(missing_ok=True)  # outdated
                write_new(known[file], content.decode(errors="replace"))
            for file, path in sorted(known.items()):
                with contextlib.suppress(FileNotFoundError):  # collected in the meantime
                    yield file, new[file] if file in new else path.read_bytes()

    def homes(self, kind: str | None, name: str | None) -> list[str]:
        """Return what has versions, as `kind/name`."""
        within = self.objects.within
        return [
            f"{of_kind}/{named}"
            for of_kind in ([kind] if kind else within(""))
            if re.fullmatch(NAME, of_kind)
            for named in ([name] if name else within(of_kind))
        ]

    def _known(self, home: str, file: str, entry: Mapping[str, Any]) -> Path:
        stamp = hashlib.sha256(repr(sorted(entry.items())).encode()).hexdigest()[:16]
        return self.root / home / "records" / f"{file.removesuffix('.json')}.{stamp}.json"

    # Files of versions

    def put(
        self,
        folder: Path,
        reference: Reference,
        files: Mapping[str, FileEntry],
        like: Record | None,
    ) -> None:
        """Upload the files of a version; what `like` has is copied on the server.

        The group's own metadata comes last, so that a URL opened too early is no Zarr group yet.
        """
        target = files_of(reference)
        shared = {} if like is None else self._shared(like)
        copies = {n: shared[e.sha256] for n, e in files.items() if e.sha256 in shared}
        try:
            self.objects.copy({f"{target}/{name}": source for name, source in copies.items()})
        except FileNotFoundError:  # collected in the meantime
            copies = {}
        rest = {f"{target}/{name}": folder / name for name in files if name not in copies}
        last = {name: rest.pop(name) for name in [f"{target}/zarr.json"] if name in rest}
        self.objects.upload(rest)
        self.objects.upload(last)

    def _shared(self, record: Record) -> dict[str, str]:
        """Return the names of a version's files that seem whole, by digest."""
        same, folder = self.unchanged(record.reference), files_of(record.reference)
        return {e.sha256: f"{folder}/{n}" for n, e in record.files.items() if same(n, e)}

    def withdraw(self, reference: Reference) -> None:
        """Remove the files of a version that has not been published."""
        folder = files_of(reference)
        self.objects.remove([f"{folder}/{name}" for name in self.objects.listing(folder)])

    def settle(self, record: Record, folder: Path) -> None:
        """Keep a copy of what was published, without downloading it."""
        copy = self.folder(record.reference)
        with locked(copy):
            lost = {n: e for n, e in record.files.items() if not unchanged(copy / n, e)}
            link_tree(folder, copy, lost)
            self._note(record)

    def hold(self, reference: Reference) -> None:
        """Say that a version is in use, on whatever machine collection runs."""
        if reference not in self._held:
            # who may only read a store reads it all the same
            with contextlib.suppress(Denied):
                self.objects.write(f"{USES}/{reference}", b"")
            self._held.add(reference)

    def names(self, reference: Reference) -> set[str]:
        """Return the names of all files of a version."""
        return set(self.objects.listing(files_of(reference)))

    def unchanged(self, reference: Reference) -> Callable[[str, FileEntry], bool]:
        """Return a test by sizes, of one listing: what servers call an etag is no digest."""
        found = self.objects.listing(files_of(reference))
        return lambda name, entry: name in found and found[name]["size"] == entry.size

    def digests(self) -> Callable[[Reference, str], str]:
        """Return a function that reads a file and gives its digest."""
        return lambda reference, name: self.objects.digest(f"{files_of(reference)}/{name}")

    # Copies on the local disk

    def folder(self, reference: Reference) -> Path:
        """Return the folder of the copy of a version; it may not be there."""
        return self.root / reference.kind / reference.name / reference.digest

    def fetch(self, reference: Reference) -> Path:
        """Return the folder of a version's copy; what of it is missing or damaged is downloaded.

        Raises
        ------
        StoreError
            If the store does not have the version, or has it damaged.
        """
        folder = self.folder(reference)
        if folder not in self._verified:
            hold(self.root, copy_of(reference))
            record = self._noted(reference)
            with locked(folder):
                self._fill(record, folder)
            self._verified.add(folder)
        return folder

    def _noted(self, reference: Reference) -> Record:
        with contextlib.suppress(FileNotFoundError):
            path = note_of(self.folder(reference))
            record = parse_record(str(path), path.read_bytes())
            if record.reference == reference:  # the same content may have got another number
                return record
        name = record_name(reference)
        try:
            record = parse_record(f"{self}/{name}", self.read(name))
        except FileNotFoundError:
            raise StoreError(f"{reference} is not in the store {self}; run again.") from None
        if digest_of(record.files) != reference.digest or not all(map(_inside, record.files)):
            raise StoreError(f"The record {self}/{name} is damaged: restore it, or delete it.")
        return record

    def _note(self, record: Record) -> None:
        folder = self.folder(record.reference)
        note_of(folder).unlink(missing_ok=True)
        write_new(note_of(folder), record.model_dump_json())
        os.utime(folder)  # collection of copies asks when it was used last

    def _fill(self, record: Record, folder: Path) -> None:
        wanted = {n: e for n, e in record.files.items() if not unchanged(folder / n, e)}
        if wanted:
            partial = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            self._gather(record.reference, wanted, partial)
            link_tree(partial, folder, wanted)
            shutil.rmtree(partial)
        self._note(record)

    def _gather(self, reference: Reference, wanted: Mapping[str, FileEntry], partial: Path) -> None:
        """Put files into a folder: those of copies of other versions, else the store's."""
        here = dict(self._copies(reference))
        remote: dict[str, Path] = {}
        for name, entry in wanted.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            copy = here.get((entry.sha256, entry.modified_ns))
            if copy is not None and unchanged(copy, entry):
                os.link(copy, path)
            else:
                remote[name] = path
        try:
            self.objects.download({f"{files_of(reference)}/{n}": p for n, p in remote.items()})
        except FileNotFoundError:
            raise StoreError(
                f"{reference} has lost files in the store {self}: run its deployment again."
            ) from None
        for name, path in remote.items():
            entry = wanted[name]
            if path.stat().st_size != entry.size or file_digest(path) != entry.sha256:
                raise StoreError(
                    f"{self.location(reference)}/{name} is damaged: delete it there, and run its "
                    "deployment again."
                )
            os.utime(path, ns=(entry.modified_ns, entry.modified_ns))

    def _copies(self, reference: Reference) -> Iterator[tuple[tuple[str, int], Path]]:
        """Yield the files of all copies of versions of a name, by digest and time."""
        for note in self.folder(reference).parent.glob("[!.]*.json"):
            with contextlib.suppress(FileNotFoundError):
                for name, entry in parse_record(str(note), note.read_bytes()).files.items():
                    yield (entry.sha256, entry.modified_ns), note.with_suffix("") / name


def files_of(reference: Reference) -> str:
    """Return the name of the folder of a version in the store."""
    return f"{reference.kind}/{reference.name}/v{reference.version}"


def copy_of(reference: Reference) -> str:
    """Return by which name this machine's processes hold a copy of a version."""
    return f"{reference.kind}/{reference.name}@{reference.digest}"


def note_of(folder: Path) -> Path:
    """Return the file that says that a folder of a copy was filled."""
    return folder.with_name(f"{folder.name}.json")


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
