"""Files that paths, folders and globs name, and what each is called wherever it lies."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from functory.errors import InputError

__all__ = ["absolute", "find_files", "is_wanted", "name_files", "natural_order"]

MACOS = "__MACOSX"
NUMBER = re.compile("([0-9]+)")


def absolute(path: str) -> Path:
    """Return a path that starts at the root, `~` being the user's folder; links are kept."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a key that sorts names as people count: `2.png` before `10.png`."""
    digits = [part.lstrip("0") if i % 2 else part for i, part in enumerate(NUMBER.split(name))]
    # Of numbers, the longer one is the larger; no int, which refuses very long ones.
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(digits)], name


def find_files(
    patterns: Sequence[str], suffixes: tuple[str, ...], what: str, without: tuple[str, ...] = ()
) -> list[Path]:
    """Return the files of some suffixes that the patterns name, absolute, in natural order.

    A pattern is a file, a folder with all that is below it, or a glob; hidden files and
    folders, those that macOS adds to archives, and the suffixes `without` are left out.

    Raises
    ------
    InputError
        If a pattern names no such file.
    """
    found = set[Path]()
    for pattern in patterns:
        files = [file for path in _expand(pattern) for file in _files_in(path)]
        wanted = {file for file in files if is_wanted(file.name, suffixes)}
        matching = {file for file in wanted if not file.name.lower().endswith(without)}
        if not matching:
            raise InputError(
                f"no {what} found: nothing that {pattern!r} names in {Path.cwd()} is one of "
                f"{', '.join(suffixes)}"
            )
        found |= matching
    return sorted(found, key=lambda path: natural_order(path.as_posix()))


def name_files(patterns: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """Return each file's path below the folder that a pattern names, as `cat/1.png`.

    The name of a file of its own, and of a glob the part from its first wildcard on.
    """
    roots = [str(_root(pattern)).rstrip(os.sep) + os.sep for pattern in patterns]
    names = []
    for path in paths:
        whole = str(path)
        below = (whole[len(root) :] for root in roots if whole.startswith(root))
        names.append(next(below, path.name).replace(os.sep, "/"))
    return names


def is_wanted(name: str, suffixes: tuple[str, ...]) -> bool:
    """Tell whether a file is of the suffixes, and none that only machines look at."""
    return name.lower().endswith(suffixes) and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == MACOS


def _expand(pattern: str) -> list[Path]:
    expanded = os.path.expanduser(pattern)
    if os.path.exists(expanded):
        return [absolute(expanded)]
    matches = [absolute(name) for name in glob.glob(expanded, recursive=True)]
    return [path for path in matches if MACOS not in path.parts]


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = list[Path]()
    for folder, folders, inside in os.walk(path):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        files += [Path(folder, name) for name in inside]
    return files


def _root(pattern: str) -> Path:
    path = absolute(pattern)
    if path.is_dir():
        return path
    while path != path.parent and (not path.exists() or path.is_file()):
        path = path.parent
    return path
