"""Images in zips, read in place."""

import io
import re
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from functory.errors import InputError
from functory.sources.file_reading import explained, open_zip
from functory.sources.finding import is_wanted
from functory.sources.image_reading import IMAGE_SUFFIXES, LARGEST_IMAGE, read_image

__all__ = ["list_zipped_images", "read_zipped_image"]

OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)")
"""Absolute names, also those of Windows, and names that lead out of the folder."""
LARGEST_MEMBER = 8 * LARGEST_IMAGE + 2**20
"""Bytes: the largest image that is read, of four channels of 16 bits, and its header."""


def list_zipped_images(path: Path) -> list[str]:
    """Return the members of a zip that are images, by their names.

    Raises
    ------
    InputError
        If the zip is damaged, has no image, or a member's name leads out of the zip.
    """
    with explained(path, "zip"):
        members = open_zip(path).namelist()
    for member in members:
        if OUTSIDE.match(member):
            raise InputError(
                f"{path} has a member {member!r}, outside of its folder: do not trust it"
            )
    images = [member for member in members if _is_image(member)]
    if not images:
        raise InputError(f"{path} has no image, that is, none of {', '.join(IMAGE_SUFFIXES)}")
    return images


def read_zipped_image(path: Path, member: str) -> NDArray[Any]:
    """Return an image of a zip as `read_image` does; nothing is unpacked on disk."""
    where = f"{member} in {path}"
    with explained(path, "zip"):
        archive = open_zip(path)
        if archive.getinfo(member).file_size > LARGEST_MEMBER:
            raise InputError(f"{where} has more than {LARGEST_MEMBER:,} bytes: leave it out")
        content = archive.read(member)
    return read_image(io.BytesIO(content), where)


def _is_image(member: str) -> bool:
    *folders, name = member.split("/")
    return is_wanted(name, IMAGE_SUFFIXES) and all(is_wanted(folder, ("",)) for folder in folders)
