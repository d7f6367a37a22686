"""Image files: 8 or 16 bits a channel, grey or RGB, as shares of white."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image

from functory.errors import InputError
from functory.formats.pieces import PIECE, gather, only_variable, whole_numbers
from functory.sources.file_reading import explained
from functory.sources.image_reading import LARGEST_IMAGE, read_image

__all__ = ["IMAGE_FORMATS", "read_image_file", "write_image_file"]

IMAGE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".ppm": "PPM",
}
# What was decoded is to be seen, not what another codec makes of it.
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
CHANNELS = {1: ["grey"], 3: ["red", "green", "blue"]}


def read_image_file(path: Path) -> xr.Dataset:
    """Read an image as `image(sample, y, x, channel)`, float32 in [0, 1], turned as EXIF says.

    The coordinates y and x are the centres of pixels as shares of the height and the width. The
    attribute `bits` is 8 or 16.

    Raises
    ------
    InputError
        If the file is no image that `read_image` reads, or has transparency.
    """
    portable = path.suffix.lower() == ".ppm"
    values = _read_ppm(path) if portable else read_image(path, str(path))
    if not portable:
        _refuse_transparency(path)
    height, width, channels = values.shape
    # As floats an image takes up to four times as much, hence a part at a time.
    rows = max(1, PIECE // (width * channels))
    stored = xr.DataArray(values[None], dims=("sample", "y", "x", "channel")).chunk(y=rows)
    top = np.iinfo(values.dtype).max
    image = (stored.astype(np.float32) / np.float32(top)).assign_attrs(long_name="image", units="1")
    down = {"long_name": "distance from the top edge, as a share of the height", "units": "1"}
    across = {"long_name": "distance from the left edge, as a share of the width", "units": "1"}
    return xr.Dataset(
        {"image": image},
        {
            "y": ("y", (np.arange(height) + 0.5) / height, down),
            "x": ("x", (np.arange(width) + 0.5) / width, across),
            "channel": np.array(CHANNELS[channels], object),
        },
        {
            "modality": "image",
            "sample_dimension": "sample",
            "mask": "none",
            "bits": 8 * values.itemsize,
        },
    )


def write_image_file(dataset: xr.Dataset, path: Path) -> None:
    """Write an image; with 16 bits a channel if the attribute `bits` says so, as PNG or TIFF."""
    array = only_variable(dataset, "image", ("y", "x", "channel"), path)[0]
    if array.sizes["channel"] not in CHANNELS:
        raise InputError(
            f"{path.name} can hold one channel or three, but there are {array.sizes['channel']}: "
            "write them to .nc or .zarr."
        )
    form = IMAGE_FORMATS[path.suffix.lower()]
    deep = dataset.attrs.get("bits") == 16 and form in ("PNG", "TIFF")
    dtype = np.uint16 if deep else np.uint8
    top = np.float32(np.iinfo(dtype).max)
    values = gather(array, "y", lambda part: whole_numbers(part * top, dtype), dtype)
    if deep and form == "PNG":
        path.write_bytes(_png_16(values))
    elif deep:  # Pillow writes no colours of 16 bits
        import tifffile

        tifffile.imwrite(path, values, photometric="rgb" if values.shape[-1] == 3 else "minisblack")
    else:
        _write_8(values, path, form)


def _write_8(values: NDArray[Any], path: Path, form: str) -> None:
    if form == "PPM" and values.shape[-1] == 1:
        values = values.repeat(3, axis=-1)  # grey would be another format, PGM
    picture = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    try:
        picture.save(path, form, **OPTIONS.get(form, {}))
    except ValueError as error:
        sides = "×".join(map(str, values.shape[:2]))
        raise InputError(
            f"{path.name} cannot hold an image of {sides} pixels ({error}): write it to .png."
        ) from error


def _read_ppm(path: Path) -> NDArray[np.uint8]:
    """Return a PPM image (y, x, channel), which `read_image` leaves to others."""
    try:
        with explained(path, "PPM"), Image.open(path, formats=("PPM",)) as image:
            if image.width * image.height > LARGEST_IMAGE:
                raise Image.DecompressionBombError
            decoder, *_, args = image.tile[0]
            args_of_ppm: Any = args if decoder == "ppm" else (255,)
            if image.mode not in ("L", "RGB") or args_of_ppm[-1] > 255:  # its greatest value
                raise InputError(f"{path} has not 8 bits a channel: save it as PNG.")
            values = np.asarray(image)
    except Image.DecompressionBombError as error:
        sentence = f"{path} has more than {LARGEST_IMAGE:,} pixels: make it smaller."
        raise InputError(sentence) from error
    return values.reshape(*values.shape[:2], -1)


def _refuse_transparency(path: Path) -> None:
    """Refuse an image whose alpha hides anything; `read_image` has checked the file."""
    with explained(path, "an image"), Image.open(path) as image:
        keyed = image.mode != "P" and "transparency" in image.info
        hidden = image.has_transparency_data and (
            keyed or np.asarray(image.convert("RGBA"))[..., 3].min() < 255
        )
    if hidden:
        raise InputError(f"{path} has transparency, which is not coded: save it without.")


def _png_16(values: NDArray[np.uint16]) -> bytes:
    """Return a PNG of 16 bits a channel: Pillow writes none of colours.

    References
    ----------
    Portable Network Graphics (third edition), W3C 2023: sections 5.3, 11.2.1 and 9.2 (filter 2).
    """
    height, width, channels = values.shape
    colour_type = 2 if channels == 3 else 0
    header = struct.pack(">2I5B", width, height, 16, colour_type, 0, 0, 0)
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    filtered = np.full((height, rows.shape[1] + 1), 2, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
