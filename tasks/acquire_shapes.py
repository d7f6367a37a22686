"""Acquire shapes: find or download the raw files, and record their contents."""

from typing import Any

from functory.configuration import Config
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shapenet_hub import ShapeNetHub, download_class
from functory.sources.shapes import ShapeSource, licence_of
from storage.versions import Store
from tasks.acquire import PATIENCE, keep, listed, write_manifest
from tasks.stage import Outcome, Work, stage

__all__ = ["ShapeAcquisition", "acquire_shapes"]


class ShapeAcquisition(Config):
    """Where shapes come from."""

    source: ShapeSource
    """The source, chosen by its `kind`: demo, files or hub."""


def contents(store: Store, config: ShapeAcquisition) -> list[dict[str, Any]] | None:
    """Return the digests of the user's own files: when a file changes, so does the key."""
    if not isinstance(config.source, ShapeFiles):
        return None
    return listed(store, find_shape_files(config.source))


@stage("raw", version=1, content=contents, **PATIENCE)
def acquire_shapes(work: Work, config: ShapeAcquisition) -> Outcome:
    """Find or download the raw files; files of the user's own are listed, not copied."""
    source = config.source
    work.result.mkdir(parents=True)
    files = contents(work.store, config) or []
    if isinstance(source, ShapeFiles):
        list_models(source, find_shape_files(source))  # what cannot be used is not published either
    if isinstance(source, ShapeNetHub):
        origin = f"{source.repository}-{source.revision}".replace("/", "-")
        kept = work.store.root / "downloads" / origin
        for synset in source.classes:
            files.append(keep(work, download_class(source, synset, kept)))
    return write_manifest(work, source.kind, files, licence_of(source))
