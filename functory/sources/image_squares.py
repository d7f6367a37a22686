"""From a picture of any size to square images: crops, sizes and colours."""

from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from functory.configuration import Config

__all__ = ["Centre", "Crop", "Tiles", "coloured", "squares"]

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


class Centre(Config):
    """The largest square in the middle, brought to the size with antialiasing."""

    kind: Literal["centre"] = "centre"


class Tiles(Config):
    """Squares side by side at full resolution; what remains at the right and below is left out."""

    kind: Literal["tiles"] = "tiles"


Crop = Annotated[Centre | Tiles, Field(discriminator="kind")]


def squares(pixels: np.ndarray, crop: Centre | Tiles, size: int | None) -> np.ndarray:
    """Return the images of a picture, (row, column, y, x, channel); without a size, the whole."""
    if size is None:
        return pixels[None, None]
    if isinstance(crop, Tiles):
        return _tiles(pixels, size)
    return _resized(_centre(pixels), size)[None, None]


def coloured(images: np.ndarray, colour: Literal["rgb", "grey"] | None) -> np.ndarray:
    """Bring images to a colour; the grey of a colour is its luma (ITU-R 601)."""
    channels = images.shape[-1]
    if colour == "rgb" and channels == 1:
        return images.repeat(3, axis=-1)
    if colour == "grey" and channels == 3:
        return _rounded(images @ LUMA[:, None], images.dtype)
    return images


def _centre(pixels: np.ndarray) -> np.ndarray:
    """Return the largest square in the middle."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def _tiles(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return the tiles of a picture, (row, column, y, x, channel)."""
    rows, columns, channels = pixels.shape[0] // size, pixels.shape[1] // size, pixels.shape[2]
    whole = pixels[: rows * size, : columns * size]
    return whole.reshape(rows, size, columns, size, channels).swapaxes(1, 2)


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bring a square to another size, with the Lanczos window that is as wide as the new pixels."""
    if len(pixels) == size:
        return pixels

    def resized(values: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.LANCZOS))

    if pixels.dtype == np.uint8 and pixels.shape[-1] == 3:
        return resized(pixels)
    # Pillow has no 16 bits that it resizes, but float32, a channel at a time, holds them.
    channels = [resized(pixels[..., c].astype(np.float32)) for c in range(pixels.shape[-1])]
    return _rounded(np.stack(channels, axis=-1), pixels.dtype)


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(np.clip(values, 0, np.iinfo(dtype).max)).astype(dtype)
