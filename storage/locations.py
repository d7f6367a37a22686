"""From the path or URL of a version, or of all versions of a name, to its files."""

import os
import re
from pathlib import Path

from functory.errors import InputError
from storage.versions import Store

__all__ = ["is_url", "version_folder"]


def is_url(location: str | os.PathLike[str]) -> bool:
    """Tell whether a location is a URL, not a path."""
    return "://" in os.fspath(location)


def version_folder(
    location: str | os.PathLike[str], version: str | int | None = None
) -> tuple[Path, str]:
    """Return the folder of a version, and what it is called; it stays while this process runs.

    Parameters
    ----------
    location
        `STORE/KIND/NAME`, or `STORE/KIND/NAME/vN`; a path or a URL. The path of a Zarr group that
        is in no store does as well.
    version
        `"v3"` or 3; the newest where neither says.

    Raises
    ------
    InputError
        If there is no such version, or two are named.
    """
    place = os.fspath(location).rstrip("/")
    if not is_url(place) and (Path(place) / "zarr.json").exists():
        _refuse_two(place, version)
        return Path(place).absolute(), str(Path(place).absolute())
    if is_url(place) and (found := re.fullmatch(r"(.+)/v(\d+)", place)):
        _refuse_two(place, version)
        place, version = found[1], found[2]
    place = place if is_url(place) else str(Path(place).absolute())
    where, kind, name = place.rsplit("/", 2)
    store = Store(where)
    wanted = "" if version is None else f"@v{str(version).removeprefix('v')}"
    (record,) = store.find(f"{kind}/{name}{wanted}")
    store.hold(record.reference)  # it is read as long as the Dataset lives
    return store.path(record.reference), store.location(record.reference)


def _refuse_two(place: str, version: str | int | None) -> None:
    if version is not None:
        raise InputError(f"{place} is a version itself: give its parent, or no version.")
