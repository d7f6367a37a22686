"""Years of ERA5 from Zarr: read month by month, reduced, and each kept as a file."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from functory.errors import InputError
from functory.progress import progress
from functory.sources.era5_zarr import ZarrSource, request_of
from functory.sources.monthly_means import fields_as_they_are, monthly_means
from functory.sources.zarr_record import Record, open_record

__all__ = ["left_out", "read_years"]

LOGGER = logging.getLogger(__name__)

LEFTOVER_AGE = 24 * 3600
"""Seconds after which what a killed run was writing is removed."""
NAMED = 3
"""Days or months that a sentence names before it counts."""


def read_years(source: ZarrSource, folder: Path) -> list[Path]:
    """Read the record year by year, reduce it, and keep each year as a file.

    Parameters
    ----------
    source
        What to read.
    folder
        Where the files go, `<year>.nc`, beside `<year>.nc.json` with the request, what was left
        out, the size and the SHA-256. Each `record_id` needs a folder of its own. A year
        under way keeps its months in `.<year>`; whatever is there is not read again.

    Returns
    -------
    list of Path
        The files, fewer than years only where `on_gaps` is `skip`. Where all are kept already and
        complete, the store is not opened.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again, up to the caller, goes on where this broke off.
    InputError
        What will not: addresses, names, months that are not complete, days without values.
    """
    kept = [_kept_year(source, year, source.months, folder) for year in source.years]
    if all(kept):
        return [path for path in kept if path is not None]
    record = open_record(source.url, source.variable)
    hours = record.hours if source.hours is None else source.hours
    if not set(hours) <= set(record.hours):
        raise InputError(
            f"{record.name} has the hours {', '.join(map(str, record.hours))} only: choose `hours` "
            "among them"
        )
    months = _complete_months(source, record, hours)
    try:
        return [_read_year(source, record, hours, year, months[year], folder) for year in months]
    except (OSError, RuntimeError) as error:  # of writing alone; RuntimeError is the NetCDF's
        raise InputError(
            f"the fields of {record.name} cannot be written to {folder} ({error}): make room and "
            "allow writing there, or choose another folder"
        ) from error


def left_out(paths: Iterable[Path]) -> dict[str, str]:
    """Return what the files of a record say was left out of them, as attributes."""
    found: dict[str, list[str]] = {}
    for path in paths:
        with xr.open_dataset(path) as year:
            for name in ("skipped_days", "skipped_months"):
                found.setdefault(name, []).extend(str(year.attrs.get(name, "")).split())
    return {name: " ".join(labels) for name, labels in found.items() if labels}


def _complete_months(
    source: ZarrSource, record: Record, hours: tuple[int, ...]
) -> dict[int, tuple[int, ...]]:
    """Return the months of each year that can be read; refuse or leave out the others."""
    complete = {
        year: tuple(m for m in source.months if record.positions(year, m, hours) is not None)
        for year in source.years
    }
    missing = [
        f"{year:04d}-{month:02d}"
        for year in source.years
        for month in source.months
        if month not in complete[year]
    ]
    if missing:
        said = (
            f"{record.name} goes from {record.first:%Y-%m-%d} to {record.last:%Y-%m-%d} and lacks "
            f"all or a part of {_naming(missing, 'month')}"
        )
        if source.on_gaps == "refuse" or not any(complete.values()):
            raise InputError(
                f"{said}: choose `years` and `months` within it, or set on_gaps to skip to leave "
                "out what is missing"
            )
        LOGGER.warning("%s, left out", said)
    return {year: months for year, months in complete.items() if months}


def _read_year(
    source: ZarrSource,
    record: Record,
    hours: tuple[int, ...],
    year: int,
    months: tuple[int, ...],
    folder: Path,
) -> Path:
    kept = _kept_year(source, year, months, folder)
    if kept is not None:
        return kept
    LOGGER.info("reading %d of %s", year, record.name)
    parts = folder / f".{year}"
    parts.mkdir(parents=True, exist_ok=True)
    for leftover in parts.glob(".*"):  # a young one may be in use
        if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
            shutil.rmtree(leftover, ignore_errors=True)
    spans = [span for month in months for span in _spans(source, record, year, month, hours)]
    with progress(len(spans), f"reading {year}", "part") as bar:
        for span in spans:
            _keep_part(source, record, span, _part(record, span, parts))
            bar.update()
    files = [_part(record, span, parts) for span in spans]
    gaps = left_out(files).get("skipped_days", "").split()
    _judge(source, record, year, gaps)
    left = {
        "skipped_days": " ".join(gaps),
        "skipped_months": " ".join(f"{year}-{m:02d}" for m in source.months if m not in months),
    }
    path = _join(source, year, months, folder, files, {k: v for k, v in left.items() if v})
    if len(months) == 12:  # else others will follow
        shutil.rmtree(parts)
    return path


def _judge(source: ZarrSource, record: Record, year: int, gaps: Sequence[str]) -> None:
    """Refuse days without values, or say that they are left out."""
    if not gaps:
        return
    said = (
        f"{record.name} has no values, although it calls them complete, on "
        f"{_naming(gaps, 'day')} of {year}"
    )
    if source.on_gaps == "refuse":
        raise InputError(
            f"{said}: run again once that is mended there, or set on_gaps to skip to leave "
            "out what is missing"
        )
    LOGGER.warning("%s, left out", said)


def _spans(
    source: ZarrSource, record: Record, year: int, month: int, hours: tuple[int, ...]
) -> list[NDArray[np.intp]]:
    """Return the positions of what becomes one part: a month, or as many days as fit."""
    positions = record.positions(year, month, hours)
    assert positions is not None  # the month is complete
    return [positions] if source.monthly else record.blocks(positions)


def _part(record: Record, span: NDArray[np.intp], folder: Path) -> Path:
    first, last = (record.times[span[day, 0]] for day in (0, -1))
    return folder / f"{first:%Y-%m-%d}_{last:%Y-%m-%d}.nc"


def _keep_part(source: ZarrSource, record: Record, span: NDArray[np.intp], path: Path) -> None:
    """Read and reduce some days, unless it has been done; gaps are looked at again every time."""
    try:
        if not left_out([path]):
            return
    except (OSError, RuntimeError):  # not there, or torn by a power cut
        pass
    reduced = monthly_means(record, span) if source.monthly else fields_as_they_are(record, span)
    _write(reduced, path, path.parent)


def _join(
    source: ZarrSource,
    year: int,
    months: Sequence[int],
    folder: Path,
    parts: Sequence[Path],
    left: dict[str, str],
) -> Path:
    """Write the parts of a year as one file, and vouch for it."""
    path = folder / f"{year}.nc"
    with xr.open_mfdataset(parts, combine="nested", concat_dim="time", chunks={}) as joined:
        if not joined.sizes["time"]:
            raise InputError(
                f"{source.url} has no values at all in {year}: leave it out of `years`"
            )
        joined.attrs = {"source": source.url, **left}
        _write(joined, path, parts[0].parent)
    record = _record(source, months, "skipped_days" in left, path)
    _sidecar(path).write_text(json.dumps(record, indent=1))
    return path


def _write(dataset: xr.Dataset, path: Path, beside: Path) -> None:
    """Write a file that is there whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".", dir=beside) as temporary:
        whole = Path(temporary, path.name)
        times = {"units": "hours since 1900-01-01", "dtype": "int32"}
        dataset.to_netcdf(whole, engine="netcdf4", encoding={"time": times})
        os.replace(whole, path)


def _kept_year(source: ZarrSource, year: int, months: Sequence[int], folder: Path) -> Path | None:
    """Return a year's file if it is in the folder, unchanged, and has these months as asked."""
    path = folder / f"{year}.nc"
    try:
        found = json.loads(_sidecar(path).read_bytes())
        gaps = bool(found["gaps"])
        if found == _record(source, months, gaps, path) and not (
            gaps and source.on_gaps == "refuse"
        ):
            return path
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, or torn by a power cut: it vouches for nothing
    return None


def _record(source: ZarrSource, months: Sequence[int], gaps: bool, path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "request": request_of(source),
        "asked": list(source.months),
        "months": list(months),
        "gaps": gaps,
        "size": path.stat().st_size,
        "sha256": digest,
    }


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _naming(labels: Sequence[str], kind: str) -> str:
    named = ", ".join(labels[:NAMED])
    several = "s" if len(labels) > 1 else ""
    return f"{len(labels)} {kind}{several} ({named}{', …' if len(labels) > NAMED else ''})"
