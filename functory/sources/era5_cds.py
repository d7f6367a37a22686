"""ERA5 from the Climate Data Store (CDS): one checked file a year, kept once downloaded."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.cds_client import check_credentials, fetch
from functory.sources.era5_answer import Expected, require_expected, unpack

__all__ = [
    "CdsRequest",
    "CdsSource",
    "check_credentials",
    "download_record",
    "download_year",
    "kept_year",
    "request_id",
]

LOGGER = logging.getLogger(__name__)

LEFTOVER_AGE = 24 * 3600
"""Seconds after which what a killed download left behind is removed."""


class CdsRequest(Config):
    """What is asked for of every month, less the credentials, which the client finds by itself."""

    kind: Literal["cds"] = "cds"
    dataset: str = Field(
        "reanalysis-era5-single-levels-monthly-means", pattern=r"^[a-z0-9][a-z0-9-]*$"
    )
    """Name of a data set of monthly means in the catalogue."""
    product_type: str = Field("monthly_averaged_reanalysis_by_hour_of_day", min_length=1)
    """One of the data set's products; by hour of day, a year has months x hours fields."""
    variables: tuple[str, ...] = Field(("2m_temperature",), min_length=1)
    """Long names of the catalogue; values come in the archive's units (K for 2m_temperature)."""
    hours: tuple[Annotated[int, Field(ge=0, le=23)], ...] = Field(tuple(range(24)), min_length=1)
    """Hours of the day in UTC, 0 to 23; [0] for a product without hours."""
    area: tuple[float, float, float, float] | None = None
    """North, west, south, east in degrees, the globe if absent; east may go past 180."""
    # GRIB is what the archive holds: nothing is converted or zipped on the way, variables of
    # several step types share one file, and the CDS calls the layout of its NetCDF unstable.
    data_format: Literal["grib", "netcdf"] = "grib"
    """Format of the files."""

    @field_validator("hours")
    @classmethod
    def _hours_in_order(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(values)))

    @field_validator("variables")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        if not all(values) or len(set(values)) < len(values):
            raise ValueError("name each variable once, none of them empty")
        return values

    @field_validator("area")
    @classmethod
    def _on_the_globe(
        cls, area: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if area is None:
            return None
        north, west, south, east = area
        if not (90 >= north > south >= -90 and -180 <= west < east <= west + 360 <= 540):
            raise ValueError(
                "area is north, west, south, east in degrees, with 90 >= north > south >= -90 and "
                "-180 <= west < east <= west + 360"
            )
        return area

    @model_validator(mode="after")
    def _hours_exist(self) -> Self:
        if not self.by_hour and self.hours != (0,):
            raise ValueError(
                f"{self.product_type} has one field a month: set hours to [0], or take a "
                "product_type that ends in by_hour_of_day"
            )
        return self

    @property
    def by_hour(self) -> bool:
        """Whether the product has a mean for each hour of the day."""
        return self.product_type.endswith("by_hour_of_day")


class CdsSource(CdsRequest):
    """Monthly ERA5 fields, requested year by year from the Climate Data Store."""

    years: tuple[Annotated[int, Field(ge=1940, le=9999)], ...] = Field(min_length=1)
    """Calendar years, each one request and one file."""
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(
        tuple(range(1, 13)), min_length=1
    )
    """Months of each year, 1 to 12."""

    @field_validator("years", "months")
    @classmethod
    def _in_order(cls, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(values)))


def request_id(source: CdsSource) -> str:
    """Return a short hash of everything that is asked for except the years."""
    asked = [source.dataset, _request(source, 0) | {"year": []}]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def kept_year(source: CdsSource, year: int, folder: Path) -> Path | None:
    """Return a year's file if it is in the folder, whole, unchanged and of this request."""
    path = _path(source, year, folder)
    sidecar = _sidecar(path)
    if not (path.is_file() and sidecar.is_file()):
        return None
    try:
        record = json.loads(sidecar.read_bytes())
    except ValueError:  # torn by a power cut: it vouches for nothing
        return None
    record.pop("preliminary", None)
    return path if record == _record(source, year, path) else None


def download_record(path: Path) -> dict[str, Any]:
    """Return what is recorded of a downloaded file.

    Returns
    -------
    dict
        `dataset`, `request`, `size` and `sha256`; and `preliminary`, if any: the months that hold
        preliminary values (ERA5T).
    """
    found: dict[str, Any] = json.loads(_sidecar(path).read_bytes())
    return found


def download_year(source: CdsSource, year: int, folder: Path, renew: bool = False) -> Path:
    """Download one year, check it against the request, and keep it.

    Parameters
    ----------
    source
        What to ask for.
    year
        The calendar year; the source's own `years` are not looked at.
    folder
        Where the file goes, `<year>.grib` or `<year>.nc`, beside `<file>.json` with the request,
        the size and the SHA-256. Each `request_id` needs a folder of its own.
    renew
        Ask again for a kept year that holds preliminary values.

    Returns
    -------
    Path
        The file. Where it is kept already, there is no request and no need of credentials.

    Raises
    ------
    SourceUnavailable
        What may pass: trying again is up to the caller.
    InputError
        What will not: credentials, licences, data that do not exist or are not those asked for.
    """
    kept = kept_year(source, year, folder)
    if kept is not None and not (renew and "preliminary" in download_record(kept)):
        return kept
    check_credentials()
    path = _path(source, year, folder)
    expected = _expected(source, year)
    LOGGER.info("asking the CDS for %s of %d", source.dataset, year)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, year)
        with tempfile.TemporaryDirectory(prefix=f".{year}-", dir=folder) as temporary:
            answer = Path(temporary, "answer")
            fetch(source.dataset, _request(source, year), answer)
            data = unpack(answer, expected)
            preliminary = require_expected(data, expected)
            record = Path(temporary, "record")
            described = _record(source, year, data)
            if preliminary:
                described["preliminary"] = preliminary
            record.write_text(json.dumps(described, indent=1))
            # The data first: without a record that fits, they do not count as kept.
            os.replace(data, path)
            os.replace(record, _sidecar(path))
    except OSError as error:
        raise InputError(
            f"the ERA5 data of {year} cannot be written to {folder} ({error.strerror or error}): "
            "make room and allow writing there, or choose another folder"
        ) from error
    return path


def _path(source: CdsSource, year: int, folder: Path) -> Path:
    return folder / f"{year}.{'grib' if source.data_format == 'grib' else 'nc'}"


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _record(source: CdsSource, year: int, data: Path) -> dict[str, Any]:
    with data.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "dataset": source.dataset,
        "request": _request(source, year),
        "size": data.stat().st_size,
        "sha256": digest,
    }


def _request(source: CdsSource, year: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "product_type": [source.product_type],
        "variable": list(source.variables),
        "year": [f"{year:04d}"],
        "month": [f"{month:02d}" for month in source.months],
        "time": [f"{hour:02d}:00" for hour in source.hours],
        "data_format": source.data_format,
        "download_format": "unarchived",
    }
    if source.area is not None:
        request["area"] = list(source.area)
    return request


def _expected(source: CdsSource, year: int) -> Expected:
    return Expected(
        year=year,
        months=source.months,
        hours=source.hours if source.by_hour else None,
        variables=source.variables,
        area=source.area,
        data_format=source.data_format,
    )


def _remove_leftovers(folder: Path, year: int) -> None:
    """Remove what killed downloads left; a young folder may be a download under way."""
    for leftover in folder.glob(f".{year}-*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
            shutil.rmtree(leftover, ignore_errors=True)
