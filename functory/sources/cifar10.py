"""CIFAR-10, in its own binary batches or as PNG files of one image a row."""

import itertools
import re
import tarfile
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.finding import absolute, natural_order
from functory.sources.image_arrays import files_of, pictures_of, row_of, unpacked
from functory.sources.image_reading import read_image
from functory.sources.pictures import Picture

__all__ = ["Cifar10", "find_cifar10", "list_cifar10"]

FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
BATCH = re.compile(r"((?:data_batch_[0-9]+|test_batch)\.bin|cifar10_batch_[0-9]+\.png)")
NAMES = "batches.meta.txt"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
RECORD = 1 + 3 * 32 * 32
"""Bytes: the class, and then red, green and blue, each of 32 rows of 32."""
LARGEST_BATCH = 2**26
"""Bytes; those of CIFAR-10 have 30,730,000."""


class Cifar10(Config):
    """CIFAR-10 in its own binary batches, or as PNG files of one image a row."""

    kind: Literal["cifar10"] = "cifar10"
    path: str
    """`cifar-10-binary.tar.gz`; a folder with it or with what it unpacks to; or a folder with
    `cifar10_batch_<n>.png`, whose rows of 1024 pixels are images in raster order, of no class."""


def find_cifar10(source: Cifar10) -> list[Path]:
    """Return the batches of a source and the names of its classes, absolute, in natural order.

    Raises
    ------
    InputError
        If there are none.
    """
    path = absolute(source.path)
    if path.is_file():
        return [path]
    for folder in (path, path / FOLDER):
        found = [file for file in files_of(folder) if BATCH.fullmatch(file.name)]
        # Where both are there, they are the same images, and those of PNG have no classes.
        chosen = [file for file in found if file.suffix == ".bin"] or found
        if chosen:
            return chosen + [file for file in files_of(folder) if file.name == NAMES]
    if (path / ARCHIVE).is_file():
        return [path / ARCHIVE]
    raise InputError(
        f"no CIFAR-10 found in {path}: it is to have {ARCHIVE}, data_batch_<n>.bin or "
        "cifar10_batch_<n>.png (the version for Python is of pickles, which are not read)"
    )


def list_cifar10(source: Cifar10, paths: Sequence[Path]) -> list[Picture]:
    """Return the images of the batches, as `data_batch_1/17`, in the order of the files.

    Raises
    ------
    InputError
        If a file is damaged, or a class has no name.
    """
    classes = CLASSES
    batches: list[tuple[Path, str, NDArray[np.uint8]]] = []
    for path in paths:
        content = _batches(path)
        if NAMES in content:
            classes = content.pop(NAMES).tobytes().decode("latin-1").split()
        batches += [(path, name, content[name]) for name in sorted(content, key=natural_order)]
    if not batches:
        raise InputError(f"{source.path} has no batch of CIFAR-10, as data_batch_1.bin")
    both = len({name.startswith("test") for _, name, _ in batches}) == 2
    pictures = []
    for path, name, rows in batches:
        split = ("test" if name.startswith("test") else "train") if both else ""
        labelled = rows.shape[1] == RECORD
        if labelled and rows[:, 0].max(initial=0) >= len(classes):
            row = int(np.argmax(rows[:, 0] >= len(classes)))
            raise InputError(
                f"{path} has the class {rows[row, 0]} in row {row} of {name}, but there are "
                f"{len(classes)} names of classes"
            )
        labels = [classes[index] for index in rows[:, 0]] if labelled else [""] * len(rows)
        read = partial(_read_cifar10, path, name)
        pictures += pictures_of(name.split(".")[0], read, labels, split)
    return pictures


def _read_cifar10(path: Path, name: str, row: int) -> NDArray[np.uint8]:
    values = row_of(_batches(path).get(name), row, path)
    if values.size == RECORD:
        return values[1:].reshape(3, 32, 32).transpose(1, 2, 0).copy()
    return values.reshape(32, 32, 3).copy()


def _batches(path: Path) -> dict[str, NDArray[np.uint8]]:
    """Return each batch of a file by its name, (row, byte), and the names of classes."""
    return dict(unpacked(_unpack_cifar10, path))


@lru_cache(maxsize=64)  # 3 MB each as PNG, 31 MB as batches, of which there are six
def _unpack_cifar10(path: Path, changed: int) -> dict[str, NDArray[np.uint8]]:
    if path.suffix == ".png":
        return {path.name: _rows_of_png(path)}
    if not path.name.endswith(".tar.gz"):
        with path.open("rb") as file:
            return {path.name: _records(path.name, file.read(LARGEST_BATCH + 1), path)}
    found = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in itertools.islice(archive, 32):  # of CIFAR-10, there are nine
            name = member.name.split("/")[-1]
            if member.size > LARGEST_BATCH:
                raise InputError(f"{path} is no {ARCHIVE}: {member.name!r} is too large")
            content = archive.extractfile(member) if member.isfile() else None
            if content and (name == NAMES or BATCH.fullmatch(name)):
                found[name] = _records(name, content.read(), path)
    return found


def _records(name: str, content: bytes, path: Path) -> NDArray[np.uint8]:
    values = np.frombuffer(content, np.uint8)
    if name == NAMES:
        return values
    if values.size % RECORD or not 0 < values.size <= LARGEST_BATCH:
        raise InputError(
            f"{path} is damaged: {name} has {values.size:,} bytes, not some records of {RECORD:,}"
        )
    return values.reshape(-1, RECORD)


def _rows_of_png(path: Path) -> NDArray[np.uint8]:
    values = read_image(path, str(path))
    if values.shape[1:] != (1024, 3) or values.dtype != np.uint8:
        height, width, channels = values.shape
        raise InputError(
            f"{path} has {width}×{height} pixels of {channels} channels: of CIFAR-10, a row is an "
            "image of 1024 pixels, each of 3 channels of 8 bits"
        )
    return values.reshape(len(values), -1)
