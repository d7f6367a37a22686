"""What names a published version, and what is recorded about it."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from functory.errors import InputError, StoreError

__all__ = [
    "FileEntry",
    "Name",
    "Provenance",
    "Record",
    "Reference",
    "parse_name",
    "parse_record",
    "record_name",
]

NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]


class Reference(BaseModel):
    """A published version: what travels between stages instead of arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Name
    name: Name
    version: PositiveInt
    digest: str
    """SHA-256 over the paths and contents of the version's files."""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}@v{self.version}"


class FileEntry(BaseModel):
    """One file of a version: enough to see cheaply that it has not changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    modified_ns: int
    sha256: str


class Provenance(BaseModel):
    """Where a version comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: datetime
    stage: str
    """Name and version of the stage, as in `prepare@1`."""
    key: str
    configuration: dict[str, Any]
    parents: dict[str, Reference]
    """The versions that it was made from, by the stage's names for them."""
    summary: dict[str, Any]
    """Quality and sizes that people ask for first."""
    licence: str
    software: dict[str, str]


class Record(Provenance):
    """The record whose exclusive creation makes a version exist."""

    reference: Reference
    files: dict[str, FileEntry]

    @property
    def bytes(self) -> int:
        """Total size of the version's files."""
        return sum(entry.size for entry in self.files.values())


def record_name(reference: Reference) -> str:
    """Return the name of the file, in a store, that makes a version exist."""
    return f"{reference.kind}/{reference.name}/records/{reference.digest}.json"


def parse_record(name: str, text: bytes) -> Record:
    """Return the record that a file of this name has.

    Raises
    ------
    StoreError
        If it is damaged.
    """
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        raise StoreError(
            f"The record {name} cannot be read; restore the file, or delete it and the version "
            "that it names, and run again."
        ) from None


def parse_name(text: str) -> tuple[str | None, str, int | None]:
    """Split `[KIND/]NAME[@vN]` into its parts.

    Raises
    ------
    InputError
        If the text has another form.
    """
    match = re.fullmatch(
        r"(?:([a-z0-9][a-z0-9._-]*)/)?([a-z0-9][a-z0-9._-]*?)(?:@v([1-9]\d*))?", text
    )
    if match is None:
        raise InputError(f"'{text}' names no version: write NAME, NAME@vN or KIND/NAME@vN.")
    kind, name, version = match.groups()
    return kind, name, None if version is None else int(version)
