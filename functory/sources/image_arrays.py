"""Files that thousands of small images are packed in: unpacked once, read row by row."""

import tarfile
import threading
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from functory.errors import InputError
from functory.sources.finding import natural_order
from functory.sources.pictures import Picture

__all__ = ["files_of", "pictures_of", "row_of", "unpacked"]


def files_of(folder: Path) -> list[Path]:
    """Return the files that are in a folder itself, in natural order; none if it is no folder."""
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return sorted(files, key=lambda path: natural_order(path.name))


def pictures_of(
    group: str, read: Callable[..., NDArray[Any]], labels: Iterable[str], split: str
) -> list[Picture]:
    """Return a picture for each row of a file, as `group/17`, each read by its row."""
    return [
        Picture(f"{group}/{row}", partial(read, row), label, split)
        for row, label in enumerate(labels)
    ]


UNPACKING = threading.Lock()
Unpacked = TypeVar("Unpacked")


def unpacked(unpack: Callable[[Path, int], Unpacked], path: Path) -> Unpacked:
    """Unpack a file, or return what it was unpacked to if it has not changed since.

    `unpack` keeps its results, and also takes the time of the last change in nanoseconds.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        # One thread unpacks while the others wait, instead of each unpacking for itself.
        with UNPACKING:
            return unpack(path, path.stat().st_mtime_ns)
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read: {reason}") from error


def row_of(rows: NDArray[np.uint8] | None, row: int, path: Path) -> NDArray[np.uint8]:
    """Return a row, if the file still has it."""
    if rows is None or row >= len(rows):
        raise InputError(f"{path} has changed and has no row {row} any more")
    return rows[row]
