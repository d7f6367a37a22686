"""Small images and archives of them, made for tests."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from functory.errors import InputError

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels


def noise(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return values of all kinds, the lowest and the highest among them."""
    top = np.iinfo(dtype).max
    values = np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)
    values.flat[0], values.flat[-1] = 0, top
    return values


def smooth(height: int, width: int) -> np.ndarray:
    """Return an RGB image that JPEG keeps nearly as it is."""
    y, x = np.mgrid[:height, :width]
    channels = [255 * x / width, 255 * y / height, 127 * (x / width + y / height)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(
    values: np.ndarray, form: str = "PNG", mode: str | None = None, **options: Any
) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(
        values[..., 0] if values.ndim == 3 and values.shape[-1] == 1 else values
    )
    (picture.convert(mode) if mode else picture).save(file, form, **options)
    return file.getvalue()


def png_16(values: np.ndarray, *chunks: bytes) -> bytes:
    """Return a PNG of 16 bits, whose rows are filtered in all the ways there are."""
    height, width, channels = values.shape
    header = struct.pack(">2I5B", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    step, above, content = 2 * channels, np.zeros_like(rows[0]), b""
    for index, row in enumerate(rows):
        left = np.concatenate([np.zeros(step, int), row[:-step]])
        guess = [0 * row, left, above, (left + above) // 2][index % 4]
        content += bytes([index % 4]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    body = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(content))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a part of a PNG."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def values_or_sentence(read: Callable[[], np.ndarray]) -> np.ndarray | str:
    """Return what is read, or the one sentence that refuses it; other errors pass."""
    try:
        return read()
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return str(error)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path
