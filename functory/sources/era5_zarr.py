"""ERA5 without an account, from cloud-optimised Zarr: which store, and what of it."""

import hashlib
import json
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from functory.configuration import Config

__all__ = ["ZarrSource", "record_id", "request_of"]


class ZarrSource(Config):
    """One variable of ERA5 from a public Zarr store, such as ARCO-ERA5 or WeatherBench 2.

    It is read anonymously. Preliminary data (ERA5T) are not taken: the record ends where its
    `valid_time_stop` says.
    """

    kind: Literal["zarr"] = "zarr"
    url: str = Field(min_length=1)
    """Where the store is: https://, gs:// (with gcsfs), s3:// (with s3fs), or a folder."""
    variable: str = Field("2m_temperature", min_length=1)
    """Long or short name (2m_temperature or t2m) of a variable without levels."""
    years: tuple[Annotated[int, Field(ge=1940, le=9999)], ...] = Field(min_length=1)
    """Calendar years, each one file."""
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(
        tuple(range(1, 13)), min_length=1
    )
    """Months of each year, 1 to 12."""
    hours: tuple[Annotated[int, Field(ge=0, le=23)], ...] | None = Field(None, min_length=1)
    """Hours of the day in UTC, 0 to 23; all that the record has if absent."""
    monthly: bool = True
    """Means of each month by hour of day; otherwise the fields as they are."""
    on_gaps: Literal["refuse", "skip"] = "refuse"
    """What to do about days without values and months not complete: `skip` leaves them out."""

    @field_validator("years", "months", "hours")
    @classmethod
    def _in_order(cls, values: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if values is None else tuple(sorted(set(values)))

    @field_validator("url")
    @classmethod
    def _is_public(cls, url: str) -> str:
        parts = urlsplit(url)
        # The address goes into messages, provenance and files.
        if parts.scheme and ("@" in parts.netloc or parts.query):
            raise ValueError(
                "url has a user, a password or a query, which would be published: "
                "give the plain address of a public store"
            )
        return url.rstrip("/")


def record_id(source: ZarrSource) -> str:
    """Return a short hash of what a file of one year depends on except the months."""
    return hashlib.sha256(json.dumps(request_of(source), sort_keys=True).encode()).hexdigest()[:16]


def request_of(source: ZarrSource) -> dict[str, Any]:
    """Return what the values of a year depend on."""
    return source.model_dump(mode="json", exclude={"years", "months", "on_gaps"})
