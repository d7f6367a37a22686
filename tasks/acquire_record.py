"""Acquire a record: what the service has more of than before, and what has become final."""

import json
import os
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from functory.configuration import Config
from functory.errors import StoreError
from functory.sources.era5 import licence_of
from functory.sources.era5_record import CdsRecord, Piece, update_record
from storage.references import Reference
from storage.versions import Store
from tasks.acquire import PATIENCE, write_manifest
from tasks.stage import Outcome, Work, stage

__all__ = ["Holdings", "keep_pieces", "look", "pieces_in", "pieces_of"]


class Holdings(Config):
    """What a record consists of."""

    source: CdsRecord
    """What is asked for of every month."""
    pieces: tuple[Piece, ...]
    """The downloaded files, in order."""


@task(name="look", cache_policy=NO_CACHE, task_run_name="look for months", **PATIENCE)
def look(source: CdsRecord, known: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """Ask which months there are, and download what is new or was preliminary."""
    return update_record(source, known, Store.default().root / "downloads")


@stage("raw", version=1)
def keep_pieces(work: Work, config: Holdings, known: Reference | None = None) -> Outcome:
    """Put the files of a record into a version; those that an earlier one has are shared."""
    work.result.mkdir(parents=True)
    there = {} if known is None else {p.sha256: p for p in pieces_in(work.path(known))}
    files = []
    for piece in config.pieces:
        path = work.store.root / "downloads" / piece.file
        if known is not None and piece.sha256 in there:
            path = work.path(known) / _name(there[piece.sha256])
        elif not path.exists() or work.store.content_digest(path) != piece.sha256:
            raise StoreError(f"{path} has gone or changed since it was downloaded; run again.")
        os.link(path, work.result / _name(piece))
        described = piece.model_dump(mode="json")
        files.append({"path": _name(piece), "sha256": piece.sha256, "piece": described})
    first = config.pieces[0]
    licence = licence_of(config.source.part(first.year, first.months))
    return write_manifest(work, config.source.kind, files, licence)


def pieces_in(folder: Path) -> tuple[Piece, ...]:
    """Return the pieces of a version of kind `raw`."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return tuple(Piece.model_validate(file["piece"]) for file in manifest["files"])


def pieces_of(raw: Reference) -> tuple[Piece, ...]:
    """Return the pieces of a version in the default store."""
    return pieces_in(Store.default().path(raw))


def _name(piece: Piece) -> str:
    return f"{piece.label}{Path(piece.file).suffix}"
