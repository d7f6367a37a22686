"""Which versions running processes use: garbage collection leaves these alone.

    .uses/<host>-<process>-<random>      what one process uses, a version a line

A process holds a lock on its file for as long as it lives; the kernel frees it on any death.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from storage.files import locked

__all__ = ["held", "hold", "release", "seized"]

_ours: dict[Path, tuple[int, set[str]]] = {}


def hold(root: Path, version: str) -> None:
    """Keep garbage collection from a version, named as in `kind/name@v3`, until this process ends.

    Hold first and look second: a version that is there then will stay there. Waits while a garbage
    collection that does not know of it yet makes up its mind.
    """
    if version in _ours.get(root, (0, set()))[1]:
        return
    try:
        with locked(root):
            if root not in _ours:
                _ours[root] = _announce(root), set()
            descriptor, versions = _ours[root]
            os.write(descriptor, f"{version}\n".encode())
            versions.add(version)
    except OSError as error:
        # who may only read a store reads it all the same
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise


def release(root: Path) -> None:
    """Let go of all that this process holds in a store, as its end would."""
    if root in _ours:
        os.close(_ours.pop(root)[0])


def _announce(root: Path) -> int:
    """Create and lock the file of this process, and remove those of dead ones; `root` is locked."""
    folder = root / ".uses"
    folder.mkdir(exist_ok=True)
    for mark in folder.iterdir():
        with seized(mark) as free:
            if free:
                mark.unlink()
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def held(root: Path) -> set[str]:
    """Return the versions that living processes use; final only while `root` is locked."""
    versions: set[str] = set()
    for mark in root.glob(".uses/*"):
        with seized(mark) as free:
            if not free and mark.exists():
                versions.update(mark.read_text().split())
    return versions


@contextlib.contextmanager
def seized(path: Path) -> Iterator[bool]:
    """Lock a file or folder if nobody has; say whether it is ours for the moment.

    It is not where another process holds it, or has just removed it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _is_free(descriptor, path)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
