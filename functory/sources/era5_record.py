"""A record of ERA5 that grows by months: what the service has of it, and what is downloaded."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.cds_client import valid_values
from functory.sources.era5_cds import (
    CdsRequest,
    CdsSource,
    download_record,
    download_year,
    request_id,
)

__all__ = [
    "CdsRecord",
    "Month",
    "Piece",
    "available_months",
    "months_of",
    "pieces_for",
    "update_record",
    "without_holes",
]

LOGGER = logging.getLogger(__name__)

Month = tuple[int, int]
"""Year, and month from 1 to 12."""

SETTLED = 6
"""Months after which a year is taken as final, and asked for as a whole; ERA5T is replaced sooner.
"""


class CdsRecord(CdsRequest):
    """All months of ERA5 from January of a year on, as far as the Climate Data Store has them."""

    first_year: int = Field(ge=1940, le=9999)
    """Calendar year in which the record begins."""

    def part(self, year: int, months: Iterable[int]) -> CdsSource:
        """Return the request of some months of a year."""
        asked = self.model_dump(exclude={"first_year"})
        return CdsSource(**asked, years=(year,), months=tuple(months))


class Piece(Config):
    """A downloaded file of a record."""

    year: int
    """Calendar year."""
    months: tuple[int, ...]
    """Its months, 1 to 12, ascending."""
    file: str
    """Where it lies among the downloads."""
    sha256: str
    """Digest of its bytes."""
    preliminary: tuple[int, ...] = ()
    """The months that hold preliminary values (ERA5T)."""

    @property
    def label(self) -> str:
        """The year, with the month where it is one: 2024 or 2024-03."""
        return f"{self.year}" if len(self.months) > 1 else _text((self.year, self.months[0]))


def months_of(pieces: Iterable[Piece]) -> list[Month]:
    """Return the months of some pieces, in order."""
    return sorted((piece.year, month) for piece in pieces for month in piece.months)


def update_record(source: CdsRecord, known: Sequence[Piece], downloads: Path) -> tuple[Piece, ...]:
    """Bring a record up to date: ask which months there are, and download what is new.

    Parameters
    ----------
    known
        What the record consists of. Pieces with preliminary values are asked for again; without any
        of these, and where the service has no new month, no data are asked for.
    downloads
        Where files are kept, in a folder for each kind of request.

    Returns
    -------
    tuple
        The pieces of the record, in order; the new ones follow the known ones without a hole.

    Raises
    ------
    SourceUnavailable, InputError
        As `download_year`; also where the service has nothing of the record.
    """
    there = months_of(known)
    since = _next(there[-1]) if there else (source.first_year, 1)
    found = available_months(source, since)
    new = without_holes(found, since)
    if found and not new:
        LOGGER.warning(
            "the CDS has %s, but not %s, which it waits for", _text(found[0]), _text(since)
        )
    elif len(new) < len(found):
        waiting = _text(_next(new[-1]))
        LOGGER.warning("what follows %s waits for it: the CDS does not have it yet", waiting)
    if not there and not new:
        raise InputError(
            f"the CDS has no {' and '.join(source.variables)} of {_text(since)} in "
            f"{source.dataset}: choose a first_year that it has"
        )
    wanted = [(piece.year, piece.months, piece) for piece in known]
    asked = [*wanted, *((year, months, None) for year, months in pieces_for(new, not there))]
    return tuple(
        piece if piece and not piece.preliminary else _download(source, year, months, downloads)
        for year, months, piece in asked
    )


def available_months(source: CdsRecord, since: Month) -> list[Month]:
    """Ask the service which months it has, from one on, of all variables; in order, each once."""
    request: dict[str, Any] = {
        "product_type": [source.product_type],
        "time": [f"{hour:02d}:00" for hour in source.hours],
    }
    # of several variables in one request, the service names what any of them has
    requests = [request | {"variable": [variable]} for variable in source.variables]
    years = _common(valid_values(source.dataset, requests), "year")
    found: list[Month] = []
    for year in sorted(year for year in years if year >= since[0]):
        of_year = [asked | {"year": [f"{year:04d}"]} for asked in requests]
        months = _common(valid_values(source.dataset, of_year), "month")
        found += [(year, month) for month in sorted(months) if (year, month) >= since]
    return found


def without_holes(months: Sequence[Month], since: Month) -> list[Month]:
    """Return the months that follow one another from `since` on, up to the first that lacks."""
    there, followed = set(months), []
    while since in there:
        followed.append(since)
        since = _next(since)
    return followed


def pieces_for(months: Sequence[Month], first: bool) -> list[tuple[int, tuple[int, ...]]]:
    """Return how months are asked for: whole settled years at once at first, others one by one.

    Returns
    -------
    list
        Year and months of each request, in order.
    """
    pieces: list[tuple[int, tuple[int, ...]]] = []
    for year in dict.fromkeys(year for year, _ in months):
        of_year = tuple(month for y, month in months if y == year)
        behind = (months[-1][0] - year - 1) * 12 + months[-1][1]
        if first and len(of_year) == 12 and behind >= SETTLED:
            pieces.append((year, of_year))
        else:
            pieces += [(year, (month,)) for month in of_year]
    return pieces


def _download(source: CdsRecord, year: int, months: tuple[int, ...], downloads: Path) -> Piece:
    part = source.part(year, months)
    path = download_year(part, year, downloads / request_id(part), renew=True)
    recorded = download_record(path)
    return Piece(
        year=year,
        months=months,
        file=path.relative_to(downloads).as_posix(),
        sha256=recorded["sha256"],
        preliminary=recorded.get("preliminary", ()),
    )


def _common(answers: Sequence[dict[str, Any]], name: str) -> set[int]:
    """Return the values of a part of the request that all answers have."""
    return set.intersection(*({int(value) for value in a.get(name, ())} for a in answers))


def _next(month: Month) -> Month:
    return (month[0], month[1] + 1) if month[1] < 12 else (month[0] + 1, 1)


def _text(month: Month) -> str:
    return f"{month[0]}-{month[1]:02d}"
