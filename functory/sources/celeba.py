"""CelebA and CelebA-HQ: images of faces, with the attributes and partitions that come along."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.finding import absolute, find_files, natural_order
from functory.sources.image_files import IMAGE_FILES, open_pictures
from functory.sources.pictures import Picture

__all__ = ["CelebA", "find_celeba_files", "list_celeba"]

PLACES = (".", "Img", "Anno", "Eval")
"""Folders of the original download."""
IMAGES = ("img_align_celeba", "img_align_celeba.zip", "CelebA-HQ-img")
ATTRIBUTES = (
    "list_attr_celeba.txt",
    "list_attr_celeba.csv",
    "CelebAMask-HQ-attribute-anno.txt",
)
PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
SPLITS = {"0": "train", "1": "validation", "2": "test"}
VALUES = {"1": True, "-1": False}


class CelebA(Config):
    """CelebA-HQ at any size, or the aligned CelebA, as they are downloaded."""

    kind: Literal["celeba"] = "celeba"
    path: str
    """A folder with images, or with `img_align_celeba` and the lists of attributes and
    partitions; or a zip of images, with the lists beside it."""


def find_celeba_files(source: CelebA) -> list[Path]:
    """Return the lists, where there are any, and then the images or their zip.

    Raises
    ------
    InputError
        If there is no image.
    """
    path = absolute(source.path)
    folder = path if path.is_dir() else path.parent
    lists = [file for names in (ATTRIBUTES, PARTITIONS) if (file := _first(folder, names))]
    return [*lists, *find_files((str(_images(path)),), IMAGE_FILES, "images")]


def list_celeba(source: CelebA, paths: Sequence[Path]) -> list[Picture]:
    """Return the images with their attributes and partitions, in the order of their numbers.

    Images and rows belong together by their names but for the suffix, since the lists say `.jpg`
    of the images that are `.png` too. No image is decoded.

    Raises
    ------
    InputError
        If a list is malformed or does not match the images, or two images have the same name.
    """
    lists = [path for path in paths if path.name in (*ATTRIBUTES, *PARTITIONS)]
    files = [path for path in paths if path not in lists]
    images = _images(absolute(source.path))
    found: dict[str, Picture] = {}
    for path, name, read in open_pictures((str(images),), files):
        key = _key(name)
        if key in found:
            raise InputError(f"two images have the name {key!r}, one is {name!r} in {path}")
        found[key] = Picture(PurePosixPath(name).name, read)
    attributes: dict[str, dict[str, bool]] = {}
    splits: dict[str, str] = {}
    for path in lists:
        if path.name in ATTRIBUTES:
            attributes = _read_attributes(path, found)
        else:
            splits = _read_partitions(path, found)
    pictures = [
        replace(picture, split=splits.get(key, ""), attributes=attributes.get(key, {}))
        for key, picture in found.items()
    ]
    return sorted(pictures, key=lambda picture: natural_order(picture.name))


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    paths = (folder / place / name for name in names for place in PLACES)
    return next((path for path in paths if path.exists()), None)


def _images(path: Path) -> Path:
    """Return the folder or zip that has the images."""
    return (_first(path, IMAGES) if path.is_dir() else None) or path


def _key(name: str) -> str:
    return PurePosixPath(name).stem


# The lists


def _read_attributes(path: Path, images: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return the attributes of each image: a row of 1 and -1, below a row of their names."""
    rows = _rows(path)
    header = next(rows, (1, []))[1]
    if path.suffix == ".txt":  # has the number of images first, which the rows tell too
        if len(header) != 1 or not header[0].isdecimal():
            raise InputError(f"{path}, line 1: the number of images is expected")
        header = ["image", *next(rows, (2, []))[1]]
    names = header[1:]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path} does not start with the names of attributes, each once")
    attributes = {}
    for line, key, cells in _matching(path, rows, images):
        if len(cells) != len(names) or not VALUES.keys() >= set(cells):
            raise InputError(f"{path}, line {line}: {len(names)} values of 1 or -1 are expected")
        attributes[key] = {name: VALUES[cell] for name, cell in zip(names, cells, strict=True)}
    return attributes


def _read_partitions(path: Path, images: Collection[str]) -> dict[str, str]:
    """Return the split of each image: a row of 0, 1 or 2; as CSV, below a header."""
    rows = _rows(path)
    if path.suffix == ".csv":
        next(rows, None)
    splits = {}
    for line, key, cells in _matching(path, rows, images):
        if len(cells) != 1 or cells[0] not in SPLITS:
            raise InputError(f"{path}, line {line}: one value is expected, of 0, 1 or 2")
        splits[key] = SPLITS[cells[0]]
    return splits


def _matching(
    path: Path, rows: Iterable[tuple[int, list[str]]], images: Collection[str]
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line, image and values of each row; every image must have one, and no other."""
    seen = set[str]()
    for line, (name, *cells) in rows:
        key = _key(name)
        if key not in images:
            raise InputError(f"{path}, line {line}: there is no image {name!r}")
        if key in seen:
            raise InputError(f"{path}, line {line}: the image {name!r} has a row already")
        seen.add(key)
        yield line, key, cells
    missing = sorted(set(images) - seen, key=natural_order)
    if missing:
        raise InputError(
            f"{path} has no row for {len(missing)} of the {len(images)} images, the first of which "
            f"is {missing[0]!r}"
        )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, each with its number and its cells."""
    between = re.compile(r"\s*,\s*" if path.suffix == ".csv" else r"\s+")
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, between.split(line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error
