"""Acquire images: find or download the raw files, and record their contents."""

from typing import Any

from functory.configuration import Config
from functory.sources.images import ImageSource, find_images, licence_of, pictures_of
from functory.sources.images_hub import ImagesHub, download_images
from storage.versions import Store
from tasks.acquire import PATIENCE, keep, listed, write_manifest
from tasks.stage import Outcome, Work, stage

__all__ = ["ImageAcquisition", "acquire_images"]


class ImageAcquisition(Config):
    """Where images come from."""

    source: ImageSource
    """The source, chosen by its `kind`: demo, files, celeba, cifar10, mnist, parquet or hub."""


def contents(store: Store, config: ImageAcquisition) -> list[dict[str, Any]] | None:
    """Return the digests of the user's own files: when a file changes, so does the key."""
    found = find_images(config.source)
    return None if found is None else listed(store, found)


@stage("raw", version=1, content=contents, **PATIENCE)
def acquire_images(work: Work, config: ImageAcquisition) -> Outcome:
    """Find or download the raw files; files of the user's own are listed, not copied."""
    source = config.source
    work.result.mkdir(parents=True)
    files = contents(work.store, config) or []
    if own := find_images(source):
        pictures_of(source, own)  # what cannot be used is not published either
    if isinstance(source, ImagesHub):
        kept = work.store.root / "downloads" / source.repository.replace("/", "-")
        for path in download_images(source, kept):
            commit = kept / path.relative_to(kept).parts[0]
            files.append(keep(work, path, root=commit))
    return write_manifest(work, source.kind, files, licence_of(source))
