"""Images in files and zips that people have, perhaps in a folder for each class."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.finding import absolute, find_files, name_files, natural_order
from functory.sources.image_reading import IMAGE_SUFFIXES, read_image
from functory.sources.image_zips import list_zipped_images, read_zipped_image
from functory.sources.pictures import Picture

__all__ = ["IMAGE_FILES", "ImageFiles", "find_image_files", "list_pictures", "open_pictures"]

IMAGE_FILES = (*IMAGE_SUFFIXES, ".zip")


class ImageFiles(Config):
    """Images in files that the user has."""

    kind: Literal["files"] = "files"
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs, or zips of images."""
    classes_from_folders: bool = False
    """Whether the name of the folder that an image is in is its class."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def find_image_files(source: ImageFiles) -> list[Path]:
    """Return the image files and zips of a source, absolute, in natural order.

    Raises
    ------
    InputError
        If one of the source's paths has no image.
    """
    return find_files(source.paths, IMAGE_FILES, "images")


def list_pictures(source: ImageFiles, paths: Sequence[Path]) -> list[Picture]:
    """Return the images in the given files, in the natural order of their names.

    A name is the path below the source's folder; a zip is as the folder that it would be
    unpacked to. No image is decoded.

    Raises
    ------
    InputError
        If a zip cannot be read, or two images have the same name.
    """
    origins: dict[str, Path] = {}
    pictures = list[Picture]()
    for path, name, read in open_pictures(source.paths, paths):
        if name in origins:
            raise InputError(
                f"two images have the name {name!r}, one in {origins[name]} and one in {path}: "
                "leave one of them out"
            )
        origins[name] = path
        folder = PurePosixPath(name).parent.name
        if not folder:
            folder = path.stem if path.suffix.lower() == ".zip" else path.parent.name
        pictures.append(Picture(name, read, folder if source.classes_from_folders else ""))
    return sorted(pictures, key=lambda picture: natural_order(picture.name))


def open_pictures(
    patterns: Sequence[str], paths: Sequence[Path]
) -> Iterator[tuple[Path, str, Callable[[], NDArray[Any]]]]:
    """Yield file, name and reader of each image in the given files."""
    named = {absolute(pattern) for pattern in patterns}
    for path, name in zip(paths, name_files(patterns, paths), strict=True):
        if path.suffix.lower() != ".zip":
            yield path, name, partial(read_image, path, str(path))
            continue
        folder = "" if path in named else PurePosixPath(name).with_suffix("")
        for member in list_zipped_images(path):
            read = partial(read_zipped_image, path, member)
            yield path, (PurePosixPath(folder) / member).as_posix(), read
