"""A store in a folder of a local disk: hard links, and locks that die with their process."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from storage.files import file_digest, link_tree, locked, unchanged, write_new
from storage.references import FileEntry, Record, Reference, parse_record
from storage.uses import hold

__all__ = ["Disk"]


class Disk:
    """See `storage.backing.Backing`, and "Versions" in the layout of storage/versions.py."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def location(self, reference: Reference) -> str:
        """Return the path of a version."""
        return str(self.folder(reference))

    def read(self, name: str) -> bytes:
        """Return the contents of a file."""
        return (self.root / name).read_bytes()

    def create(self, name: str, text: str) -> bool:
        """Create a file with all of its text at once; return False where it exists already."""
        return write_new(self.root / name, text)

    def replace(self, name: str, text: str) -> None:
        """Create a file, or give it another text, at once."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(text)
        partial.replace(path)

    def records(self, kind: str | None, name: str | None) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of records."""
        for path in sorted(self.root.glob(f"{kind or '[!.]*'}/{name or '*'}/records/[!.]*.json")):
            with contextlib.suppress(FileNotFoundError):  # collected in the meantime
                yield path.relative_to(self.root).as_posix(), path.read_bytes()

    def claim(self, home: str, above: int) -> int:
        """Take the next number by creating its folder, which only one process can."""
        folder = self.root / home
        folder.mkdir(parents=True, exist_ok=True)
        number = max((int(path.name[1:]) for path in folder.glob("v[0-9]*")), default=0)
        number = max(number, above)
        while True:
            number += 1
            hold(self.root, f"{home}@v{number}")  # before it can be seen
            with contextlib.suppress(FileExistsError):
                (folder / f"v{number}").mkdir()
                return number

    def put(
        self,
        folder: Path,
        reference: Reference,
        files: Mapping[str, FileEntry],
        like: Record | None,
    ) -> None:
        """Link the files of a version."""
        link_tree(folder, self.folder(reference), files)

    def withdraw(self, reference: Reference) -> None:
        """Remove the folder of a version that has not been published."""
        shutil.rmtree(self.folder(reference), ignore_errors=True)

    def settle(self, record: Record, folder: Path) -> None:
        """Move HEAD to the newest version."""
        home = self.folder(record.reference).parent
        with locked(home / "records"):
            records = self.records(record.reference.kind, record.reference.name)
            newest = max(
                parse_record(f"{self}/{name}", text).reference.version for name, text in records
            )
            partial = home / f".HEAD.{os.getpid()}"
            partial.write_text(f"v{newest}\n")
            partial.replace(home / "HEAD")

    def hold(self, reference: Reference) -> None:
        """Keep a version until this process ends."""
        hold(self.root, str(reference))

    def folder(self, reference: Reference) -> Path:
        """Return the folder of a version."""
        return self.root / reference.kind / reference.name / f"v{reference.version}"

    def fetch(self, reference: Reference) -> Path:
        """Return the folder of a version: its files are there."""
        return self.folder(reference)

    def names(self, reference: Reference) -> set[str]:
        """Return the paths of all files in the folder of a version."""
        folder = self.folder(reference)
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}

    def unchanged(self, reference: Reference) -> Callable[[str, FileEntry], bool]:
        """Return a test by sizes and times, and by digests of what was touched."""
        folder = self.folder(reference)
        return lambda name, entry: unchanged(folder / name, entry)

    def digests(self) -> Callable[[Reference, str], str]:
        """Return a function that gives digests; what versions share by hard links is read once."""
        known: dict[tuple[int, int], str] = {}

        def digest(reference: Reference, name: str) -> str:
            path = self.folder(reference) / name
            status = path.stat()
            inode = (status.st_dev, status.st_ino)
            if inode not in known:
                known[inode] = file_digest(path)
            return known[inode]

        return digest
