"""Files of versions: digests, hard links, locks that die with their process."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from storage.references import FileEntry

__all__ = ["digest_of", "file_digest", "link_tree", "locked", "scan", "unchanged", "write_new"]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scan(
    folder: Path, shared: Path | None = None, known: Mapping[str, FileEntry] | None = None
) -> dict[str, FileEntry]:
    """Return an entry for every file below a folder, by its relative path, sorted.

    A file that is the same one (a hard link) as in the version at `shared`, whose entries are
    `known`, is not read again: what extends a version costs what is new.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    kept = {
        name: entry
        for name, entry in (known or {}).items()
        if name in files and shared is not None and _same_file(files[name], shared / name, entry)
    }
    new = [path for name, path in files.items() if name not in kept]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # digests are computed outside of Python
        read = dict(zip(new, pool.map(_entry, new), strict=True))
    return {name: kept[name] if name in kept else read[path] for name, path in files.items()}


def _same_file(path: Path, published: Path, entry: FileEntry) -> bool:
    status = path.stat()
    try:
        same = os.path.samestat(status, published.stat())
    except FileNotFoundError:
        return False
    return same and (status.st_size, status.st_mtime_ns) == (entry.size, entry.modified_ns)


def _entry(path: Path) -> FileEntry:
    status = path.stat()
    return FileEntry(size=status.st_size, modified_ns=status.st_mtime_ns, sha256=file_digest(path))


def digest_of(files: Mapping[str, FileEntry]) -> str:
    """Return the digest of a version: of the paths and contents of its files, not their times."""
    lines = "".join(f"{files[name].sha256} {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def unchanged(path: Path, entry: FileEntry) -> bool:
    """Tell whether a file still has its recorded contents; only a touched file is read."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if status.st_size != entry.size:
        return False
    return status.st_mtime_ns == entry.modified_ns or file_digest(path) == entry.sha256


def link_tree(source: Path, target: Path, files: Mapping[str, FileEntry]) -> None:
    """Give a version its files: hard links where the file system has them, else copies.

    The group's own metadata comes last, so that a path opened too early is no Zarr group yet.
    """
    for name in sorted(files, key=lambda name: (name == "zarr.json", name)):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        # a link shares its contents with the source: neither may be written to any more
        (source / name).chmod(0o444)
        try:
            os.link(source / name, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP):
                raise
            shutil.copy2(source / name, path)


def write_new(path: Path, text: str) -> bool:
    """Create a file with all of its text at once; return False where it exists already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    partial = path.with_name(f".{path.name}.{writer}.partial")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike open("x"), never shows a file with half of its text
    except FileExistsError:
        return False
    finally:
        partial.unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder (created if needed); the kernel frees it on any death."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # whoever held the lock may have removed the folder while we waited
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                yield
                return
        finally:
            os.close(descriptor)
