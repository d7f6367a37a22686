"""Images in Parquet shards, as data hubs serve them."""

import io
import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.finding import find_files, name_files
from functory.sources.image_reading import read_image
from functory.sources.pictures import Picture

if TYPE_CHECKING:  # it takes long to import
    import pyarrow as pa

__all__ = ["ParquetImages", "find_shards", "list_shards"]

LARGEST_GROUP = 2**30
"""Bytes of images in a row group; two of them are held."""
SPLIT = re.compile(r"(train|validation|valid|test)(?![A-Za-z0-9])")


class ParquetImages(Config):
    """Images in Parquet files that the user has."""

    kind: Literal["parquet"] = "parquet"
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders or globs. A file `train-00000-of-00003.parquet`, or any in a folder `train`,
    is of that split; so with `validation` and `test`."""
    image_column: str | None = None
    """The column with encoded images; null finds it."""
    label_column: str | None = None
    """The column with classes; null takes the one that the file calls a class label, if any."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def find_shards(source: ParquetImages) -> list[Path]:
    """Return the Parquet files of a source, absolute, in natural order.

    Raises
    ------
    InputError
        If one of the source's paths has none.
    """
    return find_files(source.paths, (".parquet",), "Parquet files")


def list_shards(source: ParquetImages, paths: Sequence[Path]) -> list[Picture]:
    """Return the images in the given files, as `train-00000-of-00003/17`, in their order.

    Columns of true and false become attributes. No image is read.

    Raises
    ------
    InputError
        If a file is damaged, its columns are not as asked for or need to be named, or two files
        have the same name.
    """
    origins: dict[str, Path] = {}
    pictures = list[Picture]()
    for path, name in zip(paths, name_files(source.paths, paths), strict=True):
        if name in origins:
            raise InputError(
                f"two files have the name {name!r}, {origins[name]} and {path}: leave one out or "
                "name the folder above them"
            )
        origins[name] = path
        with _explained(path):
            pictures += _pictures(source, path, name[: -len(".parquet")])
    return pictures


def _pictures(source: ParquetImages, path: Path, name: str) -> Iterator[Picture]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        image = _image_column(source, schema, path)
        label = _label_column(source, schema, path)
        marks = [f.name for f in schema if pa.types.is_boolean(f.type) and f.name != label]
        split = _split(path)
        classes = _features(schema).get(label or "", {}).get("names")
        row = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            table = file.read_row_group(group, columns=[label, *marks] if label else marks)
            labels = table[label].to_pylist() if label else [None] * count
            flags = {mark: table[mark].to_pylist() for mark in marks}
            for within in range(count):
                read = partial(_read_cell, path, image, group, within, row)
                kind = _label(labels[within], classes, f"row {row} of {path}")
                known = {m: values[within] for m, values in flags.items()}
                attributes = {m: value for m, value in known.items() if value is not None}
                yield Picture(f"{name}/{row}", read, kind, split, attributes)
                row += 1


def _read_cell(path: Path, column: str, group: int, within: int, row: int) -> NDArray[Any]:
    where = f"row {row} of {path}"
    with _explained(path), LOADING:  # one thread loads while the others wait for the same
        cells = _load(path, path.stat().st_mtime_ns, column, group)
    if within >= len(cells):
        raise InputError(f"{path} has changed and has no row {row} any more")
    cell = cells[within].as_py()
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None:
        raise InputError(f"{where} has no image in column {column!r}, which may have paths alone")
    return read_image(io.BytesIO(content), where)


LOADING = threading.Lock()


# Two, since threads that read side by side are at both sides of a border for a while.
@lru_cache(maxsize=2)
def _load(path: Path, changed: int, column: str, group: int) -> "pa.ChunkedArray":
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if group >= file.num_row_groups:
            raise ValueError("it has changed and has fewer row groups")
        metadata = file.metadata.row_group(group)
        parts = (metadata.column(index) for index in range(metadata.num_columns))
        size = sum(
            part.total_uncompressed_size
            for part in parts
            if part.path_in_schema.split(".")[0] == column
        )
        if size > LARGEST_GROUP:
            raise InputError(
                f"{path} has {size:,} bytes of images in row group {group}, more than "
                f"{LARGEST_GROUP:,}: write it anew with fewer rows in a group"
            )
        return file.read_row_group(group, columns=[column])[column]


# What a file says of its columns


def _image_column(source: ParquetImages, schema: "pa.Schema", path: Path) -> str:
    import pyarrow as pa

    columns = {field.name: field.type for field in schema if _holds_images(field.type)}
    if source.image_column is not None and source.image_column in columns:
        return source.image_column
    features = _features(schema)
    declared = [name for name in columns if features.get(name, {}).get("_type") == "Image"]
    structs = [name for name, kind in columns.items() if pa.types.is_struct(kind)]
    if source.image_column is None:
        for names in (declared, structs, list(columns)):
            if len(names) == 1:
                return names[0]
            if names:
                raise InputError(
                    f"{path} has several columns that may have images: set image_column to one of "
                    f"{', '.join(names)}"
                )
    asked = "" if source.image_column is None else f" {source.image_column!r}"
    raise InputError(
        f"{path} has no column{asked} of encoded images: its columns are {', '.join(schema.names)}"
    )


def _holds_images(kind: "pa.DataType") -> bool:
    """Tell whether a column is of bytes, alone or as `bytes` beside a path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_images(field.type) for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _label_column(source: ParquetImages, schema: "pa.Schema", path: Path) -> str | None:
    import pyarrow as pa

    name = source.label_column
    if name is None:
        features = _features(schema)
        found = [n for n in schema.names if features.get(n, {}).get("_type") == "ClassLabel"]
        return found[0] if len(found) == 1 else None
    if name not in schema.names or pa.types.is_nested(schema.field(name).type):
        raise InputError(
            f"{path} has no column {name!r} of classes: its columns are {', '.join(schema.names)}"
        )
    return name


def _features(schema: "pa.Schema") -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's library noted of the columns, where it wrote the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: noted for name, noted in features.items() if isinstance(noted, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _label(value: Any, classes: Any, where: str) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(classes, list) or not isinstance(value, int):
        return str(value)
    if value >= len(classes):
        raise InputError(f"{where} has the class {value}, but {len(classes)} classes have names")
    return str(classes[value]) if value >= 0 else ""  # -1 is what a hub gives where none is known


def _split(path: Path) -> str:
    """Return the split that the name of a file starts with, or that its folder is called."""
    match = SPLIT.match(path.stem) or SPLIT.fullmatch(path.parent.name)
    split = match[1] if match else ""
    return "validation" if split == "valid" else split


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises on damaged files into one sentence."""
    import pyarrow as pa

    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as Parquet: {reason}") from error
