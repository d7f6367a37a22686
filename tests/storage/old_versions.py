"""Versions that were published some time ago, for tests of garbage collection."""

import multiprocessing
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from provenance import PROVENANCE

from storage.garbage import Garbage
from storage.references import Provenance, Reference
from storage.retention import Retention
from storage.uses import release
from storage.versions import Store

DAYS = 86400
NOW = time.time()
LATEST = Retention(keep=1)
FORK = multiprocessing.get_context("fork")


def aged(path: Path, days: float) -> Path:
    """Make a file, or a folder and all below it, as old as it would be by then."""
    for each in [path, *path.rglob("*")]:
        os.utime(each, (NOW - days * DAYS,) * 2)
    return path


def old_provenance(days: float) -> Provenance:
    """Return a provenance from some time ago."""
    created = datetime.now(UTC) - timedelta(days=days)
    return PROVENANCE.model_copy(update={"created": created})


def publish(
    store: Store,
    name: str,
    text: str,
    days: float = 60,
    parents: Mapping[str, Reference] = {},
    shared: Path | None = None,
    ended: bool = True,
) -> Reference:
    """Publish two files, some time ago; share a file of another version."""
    folder = store.root.parent / f"work-{time.time_ns()}"
    (folder / "part").mkdir(parents=True)
    (folder / "zarr.json").write_text(text)
    (folder / "part" / "0").write_text(text * 100)
    if shared is not None:
        os.link(shared, folder / "part" / "shared")
    provenance = old_provenance(days).model_copy(update={"parents": dict(parents)})
    kind, _, name = name.rpartition("/")
    reference = store.publish(kind or "raw", name, folder, provenance)
    if ended:  # the process
        release(store.root)
    for each in sorted(folder.rglob("*"), reverse=True):
        each.unlink() if each.is_file() else each.rmdir()
    for each in [store.path(reference), *store.path(reference).rglob("*")]:
        if each.is_dir():
            os.utime(each, (NOW - days * DAYS,) * 2)
    return reference


def left(store: Store) -> list[str]:
    return [str(record.reference) for record in store.records()]


def went(found: list[Garbage]) -> list[str]:
    return [garbage.what for garbage in found]
