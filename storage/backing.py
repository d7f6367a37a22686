"""What a store stands on: a folder of a local disk, or a place that fsspec reaches."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from storage.references import FileEntry, Record, Reference

__all__ = ["Backing"]


class Backing(Protocol):
    """Records, keys and the files of versions; all names are relative, as in `kind/name/HEAD`."""

    root: Path
    """The folder, on a local disk, of work, locks, downloads, and copies of what is remote."""

    def __str__(self) -> str:
        """Return where the store is, as people name it."""

    def location(self, reference: Reference) -> str:
        """Return where the files of a version are, as people and other programs name it."""

    def read(self, name: str) -> bytes:
        """Return the contents of a file; raises FileNotFoundError."""

    def create(self, name: str, text: str) -> bool:
        """Create a file with all of its text at once; return False where it exists already."""

    def replace(self, name: str, text: str) -> None:
        """Create a file, or give it another text, at once."""

    def records(self, kind: str | None, name: str | None) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of records: all, or those of a kind or name."""

    def claim(self, home: str, above: int) -> int:
        """Take the next number of `kind/name`, above all that were taken; only one process can."""

    def put(
        self,
        folder: Path,
        reference: Reference,
        files: Mapping[str, FileEntry],
        like: Record | None,
    ) -> None:
        """Give a version its files; what is as in the version `like` is not sent again."""

    def withdraw(self, reference: Reference) -> None:
        """Remove the files of a version that has not been published."""

    def settle(self, record: Record, folder: Path) -> None:
        """Do what is left once a version exists; `folder` has what was published."""

    def hold(self, reference: Reference) -> None:
        """Keep garbage collection from a version: first hold it, then look whether it is there."""

    def folder(self, reference: Reference) -> Path:
        """Return the folder where the files of a version lie, or would lie, on a local disk."""

    def fetch(self, reference: Reference) -> Path:
        """Return that folder with all files in it."""

    def names(self, reference: Reference) -> set[str]:
        """Return the names of the files that a version has, whatever its record says."""

    def unchanged(self, reference: Reference) -> Callable[[str, FileEntry], bool]:
        """Return a quick test of whether a file of a version is as recorded."""

    def digests(self) -> Callable[[Reference, str], str]:
        """Return a function that reads a file and gives its SHA-256."""
