"""Acquire: find or download the raw files, and record their contents."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from functory.configuration import Config
from functory.errors import SourceUnavailable
from functory.sources.climate_files import FilesSource, find_files
from functory.sources.era5 import Source, licence_of, open_raw
from functory.sources.era5_cds import CdsSource, download_year, request_id
from functory.sources.era5_zarr import ZarrSource, record_id
from functory.sources.era5_zarr_years import read_years
from storage.versions import Store
from tasks.stage import Outcome, Work, stage

__all__ = ["PATIENCE", "Acquisition", "acquire", "keep", "listed", "raw_files", "write_manifest"]


class Acquisition(Config):
    """Where raw data come from."""

    source: Source
    """The source, chosen by its `kind`: demo, files, cds or zarr."""


def contents(store: Store, config: Acquisition) -> list[dict[str, Any]] | None:
    """Return the digests of the user's own files: when a file changes, so does the key."""
    if not isinstance(config.source, FilesSource):
        return None
    return listed(store, find_files(config.source))


def listed(store: Store, paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the paths and digests of files that are used where they lie."""
    return [{"path": str(p.absolute()), "sha256": store.content_digest(p)} for p in paths]


def is_worth_retrying(task: Any, run: Any, state: Any) -> bool:
    """Tell Prefect to retry only what may go better later."""
    return isinstance(state.result(raise_on_failure=False), SourceUnavailable)


PATIENCE: dict[str, Any] = {
    "retries": 4,
    "retry_delay_seconds": [10, 60, 300, 900],
    "retry_jitter_factor": 0.3,
    "retry_condition_fn": is_worth_retrying,
}


@stage("raw", version=1, content=contents, **PATIENCE)
def acquire(work: Work, config: Acquisition) -> Outcome:
    """Find or download the raw files; files of the user's own are listed, not copied."""
    source = config.source
    work.result.mkdir(parents=True)
    files = contents(work.store, config) or []
    if isinstance(source, FilesSource):
        open_raw(source, find_files(source))  # what cannot be used is not published either
    if isinstance(source, CdsSource):
        kept = work.store.root / "downloads" / request_id(source)
        kept.mkdir(parents=True, exist_ok=True)
        for year in source.years:
            files.append(keep(work, download_year(source, year, kept)))
    if isinstance(source, ZarrSource):
        kept = work.store.root / "downloads" / record_id(source)
        kept.mkdir(parents=True, exist_ok=True)
        files += [keep(work, path) for path in read_years(source, kept)]
    return write_manifest(work, source.kind, files, licence_of(source))


def keep(work: Work, path: Path, root: Path | None = None) -> dict[str, Any]:
    """Put a downloaded file into the result without taking its space again, and describe it.

    It keeps the folders that it lies in below `root`, if that is given.
    """
    name = path.relative_to(path.parent if root is None else root)
    (work.result / name).parent.mkdir(parents=True, exist_ok=True)
    os.link(path, work.result / name)
    return {"path": str(name), "sha256": work.store.content_digest(path)}


def write_manifest(work: Work, source: str, files: list[dict[str, Any]], licence: str) -> Outcome:
    """Write which files a source of some kind has given."""
    manifest = {"source": source, "files": files}
    (work.result / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return Outcome(licence, {"source": source, "files": len(files)})


def raw_files(folder: Path) -> list[Path]:
    """Return the raw files that a version of kind `raw` names."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return [folder / file["path"] for file in manifest["files"]]
