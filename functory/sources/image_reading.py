"""One image file as an array: what Pillow decodes, without loss and without surprises."""

import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION, TiffImageFile

from functory.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "LARGEST_IMAGE", "read_image"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
"""No others: they are rare among photographs, and their decoders less tried on hostile files."""
LARGEST_IMAGE = 2**26
"""Pixels; below the limit at which Pillow warns, so that no global setting has to change."""

ORIENTATION = 0x0112  # tag of EXIF
GREY_16 = ("I;16", "I;16B", "I;16L")
COLOUR_16 = re.compile(r"(RGB|RGBA|RGBX);16([BLN])")
HIGH_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Per byte order, the one in which Pillow finds the low byte where it looks for the high one."""


def read_image(file: BinaryIO | Path, where: str) -> NDArray[Any]:
    """Return an image as (y, x, channel) of uint8 or uint16, with one channel (grey) or three.

    Palettes and CMYK become RGB, what is transparent is laid on white, and the orientation that
    EXIF tells of is applied. Colour profiles are not: the values are those of the file.

    Parameters
    ----------
    file
        A path, or bytes that can be read from any place.
    where
        What errors call the file.

    Raises
    ------
    InputError
        If the file is damaged, is no image, or is animated, of more than `LARGEST_IMAGE` pixels,
        one pixel wide or high, or of values other than whole numbers of 8 or 16 bits.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            _check(image, where)
            values = _decode(image, file, where)
            # Asked for after decoding: PNG may have it at the end, and TIFF is turned by Pillow.
            orientation = image.getexif().get(ORIENTATION, 1)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(_too_large(where)) from error
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise InputError(f"{where} is damaged, or no image of these formats: {kinds}") from error
    except Exception as error:  # on damaged files, Pillow raises nearly every exception there is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{where} cannot be read as an image: {reason}") from error
    return np.ascontiguousarray(_turn(_on_white(values), orientation))


def _too_large(where: str) -> str:
    return f"{where} has more than {LARGEST_IMAGE:,} pixels: make it smaller or leave it out"


def _check(image: ImageFile, where: str) -> None:
    """Refuse by the header alone, before anything is decoded."""
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise InputError(_too_large(where))
    if min(width, height) < 2:
        raise InputError(f"{where} has {width}×{height} pixels, which is no picture: leave it out")
    # Phones keep depth or a second exposure behind the photograph, in what Pillow calls MPO.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InputError(f"{where} is animated or has several pages: save one of them as an image")


def _decode(image: ImageFile, file: BinaryIO | Path, where: str) -> NDArray[Any]:
    """Return (y, x, channel): grey or RGB, each perhaps with alpha as its last channel."""
    raw = {_raw_mode(tile.args) for tile in image.tile}
    key = image.info.get("transparency")
    if raw == {"LA;16B"}:  # grey with alpha in PNG, as four channels of 8 bits
        _set_raw_mode(image, "RGBA")
        return np.asarray(image).view(">u2").astype(np.uint16)
    if image.mode in GREY_16 and raw != {"I;12"}:
        return _with_alpha(np.asarray(image).astype(np.uint16)[..., None], key)
    colour = COLOUR_16.fullmatch(raw.pop()) if len(raw) == 1 else None
    if colour and not _is_planar(image):
        return _with_alpha(_decode_colour_16(image, file, *colour.groups()), key)
    if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr") and (
        _bits(image) <= 8
    ):
        grey, alpha = image.mode in ("1", "L", "LA"), image.has_transparency_data
        values = np.asarray(image.convert(("L" if grey else "RGB") + ("A" if alpha else "")))
        return values.reshape(*values.shape[:2], -1)
    raise InputError(
        f"{where} has values of a kind that is not read (mode {image.mode}, {_bits(image)} bits): "
        "save it as grey or RGB of 8 or 16 bits"
    )


def _decode_colour_16(
    image: ImageFile, file: BinaryIO | Path, raw: str, order: str
) -> NDArray[np.uint16]:
    """Return all 16 bits of each channel, of which Pillow keeps the high byte.

    It is decoded again with the two bytes taken for one another, which keeps the low one.
    """
    high = np.asarray(image).astype(np.uint16)
    with Image.open(file, formats=FORMATS) as again:
        _set_raw_mode(again, f"{raw};16{HIGH_BYTE[order]}")
        return high << 8 | np.asarray(again)


def _raw_mode(args: Any) -> str:
    return str(args[0] if isinstance(args, tuple) else args)


def _set_raw_mode(image: ImageFile, raw: str) -> None:
    """Tell the decoder to take the file's values for those of another raw mode."""
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]


def _bits(image: ImageFile) -> int:
    """Return the bits of a value."""
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    return 32 if image.mode in ("I", "F") else 8


def _is_planar(image: ImageFile) -> bool:
    """Tell whether each channel has a place of its own in the file."""
    return isinstance(image, TiffImageFile) and image.tag_v2.get(PLANAR_CONFIGURATION) == 2


def _with_alpha(values: NDArray[np.uint16], key: Any) -> NDArray[np.uint16]:
    """Add an alpha that is none where the values are those that PNG calls transparent."""
    if key is None or values.shape[-1] not in (1, 3):
        return values
    seen = (values != np.asarray(key)).any(axis=-1, keepdims=True)
    return np.concatenate([values, np.where(seen, np.uint16(65535), np.uint16(0))], axis=-1)


def _on_white(values: NDArray[Any]) -> NDArray[Any]:
    if values.shape[-1] in (1, 3):
        return values
    top = np.uint32(np.iinfo(values.dtype).max)
    # Not more than 65535² + 32767, which is just within 32 bits.
    colour, alpha = values[..., :-1].astype(np.uint32), values[..., -1:].astype(np.uint32)
    return ((colour * alpha + top * (top - alpha) + top // 2) // top).astype(values.dtype)


def _turn(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn and mirror what a camera stored into what it saw (EXIF 2.32, orientation)."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[rows, columns]
