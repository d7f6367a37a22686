"""Reading files that may be damaged: what is said of them, and zips that stay open."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from functory.errors import InputError

__all__ = ["explained", "open_zip"]

DAMAGED = (OSError, EOFError, ValueError, RuntimeError, KeyError, zlib.error, zipfile.BadZipFile)
"""What libraries raise. Of zips, a RuntimeError is of encrypted members and unknown compression,
a KeyError of absent members."""


@contextmanager
def explained(path: Path, kind: str) -> Iterator[None]:
    """Turn what the libraries raise on a damaged file of some kind into one sentence."""
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as {kind}: {reason}") from error


def open_zip(path: Path) -> zipfile.ZipFile:
    """Return an open zip, the same to all threads for as long as the file does not change.

    Listing what a zip has takes seconds where it has 100,000 members: too long for every read.
    """
    return _open_zip(path, os.getpid(), path.stat().st_mtime_ns)


# Threads may share an open zip; processes may not, hence their number.
@lru_cache(maxsize=8)
def _open_zip(path: Path, process: int, changed: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)
