"""From pictures of any origin to a signal set of images."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import xarray as xr
import zarr
from pydantic import Field, model_validator

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.sources.image_squares import Centre, Crop, Tiles, coloured, squares
from functory.sources.pictures import Picture
from functory.sources.signal_sets import open_signals
from functory.sources.splits import (
    RandomShares,
    RandomSizes,
    SourceSplit,
    draw,
    draw_by_class,
    given,
)

__all__ = ["ImagePreparation", "prepare_images"]

LOG = logging.getLogger("functory.sources")
SCHEMA = 1
CHUNK_BYTES = 2**20  # of a chunk: what one random image costs to read
BLOCK_BYTES = 2**26  # of the images that are held at once while pictures are read side by side
BLOCK = 256  # pictures that are read at once, at most
COLOURS = {1: "grey", 3: "RGB"}


class ImagePreparation(Config):
    """How pictures become a signal set."""

    size: Annotated[int, Field(ge=2, le=4096)] | None = 64
    """Pixels a side; null keeps the pictures whole, which must all have the same size."""
    crop: Crop = Centre()
    """Which squares of a picture become images."""
    colour: Literal["rgb", "grey"] | None = None
    """What all are brought to; null keeps that of the pictures, which must all have the same."""
    split: Annotated[RandomShares | RandomSizes | SourceSplit, Field(discriminator="method")] = (
        RandomShares()
    )
    """Which pictures train, validate and test, with all their tiles."""
    on_error: Literal["stop", "skip"] = "stop"
    """Whether a picture that cannot be used stops the preparation or is left out and counted."""

    @model_validator(mode="after")
    def _tiles_have_a_size(self) -> Self:
        if self.size is None and isinstance(self.crop, Tiles):
            raise ValueError("tiles need a size")
        return self


@dataclass
class _Kept:
    """The pictures that are used, where their images are from, and what is left out."""

    pictures: list[Picture] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)  # of each image, the place of its picture
    names: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    repeated: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def prepare_images(
    pictures: Sequence[Picture],
    config: ImagePreparation,
    folder: Path,
    attributes: dict[str, Any],
) -> xr.Dataset:
    """Write a signal set as Zarr, some pictures at a time, and return it opened.

    All but the first of equal images are left out and counted: an equal image in another split
    would be known from training. Pixels are uint8, or uint16 if those of the first picture are.

    Raises
    ------
    InputError
        If a picture cannot be used (where `on_error` is not `skip`), is of another size, colour or
        depth than the first, or the split cannot be made.
    """
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    kept = _Kept()
    images = _write(pictures, config, group, kept)
    described = _describe(kept, _splits(kept.pictures, config), images.shape[1:])
    described.attrs = {
        "functory_schema": SCHEMA,
        "modality": "image",
        "sample_dimension": "sample",
        "mask": "none",
        "pictures": len(kept.pictures),
        "pictures_repeated": len(kept.repeated),
        "pictures_skipped": len(kept.skipped),
        **attributes,
    }
    described.to_zarr(folder, mode="a", zarr_format=3, consolidated=False)
    return open_signals(folder, consolidated=False)


def _write(
    pictures: Sequence[Picture], config: ImagePreparation, group: zarr.Group, kept: _Kept
) -> zarr.Array:
    """Write every image that is not there already."""
    stored: zarr.Array | None = None
    waiting: list[np.ndarray] = []
    reason = "there is none."
    for picture, images in _read(pictures, config):
        if isinstance(images, InputError):
            if config.on_error == "stop":
                raise images
            reason = str(images)
            LOG.warning("%s is left out: %s", picture.name, reason)
            kept.skipped.append(picture.name)
            continue
        if stored is None:
            stored = _create(group, images)
        images, tiled = _fitting(picture, images, stored), isinstance(config.crop, Tiles)
        waiting += _new(kept, picture, images, tiled)
        ready = len(waiting) - len(waiting) % stored.chunks[0]
        if ready:
            stored.append(np.stack(waiting[:ready]))
            waiting = waiting[ready:]
    if stored is None:
        raise InputError(f"None of {len(pictures)} pictures can be used: {reason}")
    if waiting:
        stored.append(np.stack(waiting))
    if kept.repeated:
        LOG.warning(
            "%d repeated images are left out (first: %s)", len(kept.repeated), kept.repeated[0]
        )
    return stored


def _read(
    pictures: Sequence[Picture], config: ImagePreparation
) -> Iterator[tuple[Picture, np.ndarray | InputError]]:
    """Yield the images of every picture, in order, and read not far ahead."""
    threads = os.cpu_count() or 1
    prepare, ahead, start = partial(_prepared, config=config), 2 * threads, 0
    with (
        progress(len(pictures), "preparing", "picture") as bar,
        ThreadPoolExecutor(threads) as pool,
    ):
        while start < len(pictures):
            block = pictures[start : start + ahead]
            prepared = list(pool.map(prepare, block))
            yield from zip(block, prepared, strict=True)
            bar.update(len(block))
            start += len(block)
            largest = max(p.nbytes if isinstance(p, np.ndarray) else 1 for p in prepared)
            ahead = max(2 * threads, min(BLOCK, BLOCK_BYTES // largest))


def _prepared(picture: Picture, config: ImagePreparation) -> np.ndarray | InputError:
    """Return a picture's images, (row, column, y, x, channel), or why it has none."""
    try:
        pixels = picture.read()
    except InputError as error:
        return error
    height, width = pixels.shape[:2]
    least = config.size if isinstance(config.crop, Tiles) and config.size else 2
    if min(height, width) < least:
        return InputError(
            f"{picture.name} has {height}×{width} pixels, but needs {least} each way at least; "
            "leave it out, or set preparation.on_error to 'skip'."
        )
    return coloured(squares(pixels, config.crop, config.size), config.colour)


def _create(group: zarr.Group, images: np.ndarray) -> zarr.Array:
    """Create the array of images from those of the first picture."""
    shape, dtype = images.shape[2:], images.dtype
    return group.create_array(
        "image",
        shape=(0, *shape),
        chunks=(max(1, CHUNK_BYTES // images[0, 0].nbytes), *shape),
        dtype=dtype,
        dimension_names=("sample", "y", "x", "channel"),
        attributes={
            "long_name": "image",
            "units": "1",
            "scale_factor": 1 / np.iinfo(dtype).max,  # whole numbers as stored, [0, 1] as opened
            "normalisation_offset": 0.0,
            "normalisation_scale": 1.0,
            "normalisation_over": "none",
        },
    )


def _fitting(picture: Picture, images: np.ndarray, stored: zarr.Array) -> np.ndarray:
    """Return images as they are stored, or refuse those that are of another kind."""
    size, expected = images.shape[2:4], stored.shape[1:3]
    if size != expected:
        raise InputError(
            f"{picture.name} has {size[0]}×{size[1]} pixels, but the first picture has "
            f"{expected[0]}×{expected[1]}; set preparation.size to bring all to one size."
        )
    if images.shape[-1] != stored.shape[-1]:
        raise InputError(
            f"{picture.name} is {COLOURS[images.shape[-1]]}, but the first picture is "
            f"{COLOURS[stored.shape[-1]]}; set preparation.colour to bring all to one."
        )
    if images.dtype == stored.dtype:
        return images
    if images.dtype == np.uint16:
        raise InputError(
            f"{picture.name} has 16 bits a channel, but the first picture has 8; bring all "
            "pictures to one depth."
        )
    return images.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535


def _new(kept: _Kept, picture: Picture, images: np.ndarray, tiled: bool) -> list[np.ndarray]:
    """Return the images that are not there already, and take note of them."""
    new = []
    for row, column in np.ndindex(images.shape[:2]):
        image = images[row, column]
        name = f"{picture.name}/{row}-{column}" if tiled else picture.name
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if digest in kept.digests:
            kept.repeated.append(name)
            continue
        kept.digests.add(digest)
        kept.names.append(name)
        kept.rows.append(len(kept.pictures))
        new.append(image)
    if new:
        kept.pictures.append(picture)
    return new


def _splits(pictures: Sequence[Picture], config: ImagePreparation) -> np.ndarray:
    """Return the split of every picture."""
    names, labels = [p.name for p in pictures], [p.label for p in pictures]
    if any(labels) and not all(labels):
        raise InputError(
            f"{names[labels.index('')]} has no class although others have one; give it one, or "
            "leave it out."
        )
    if isinstance(config.split, SourceSplit):
        return given(names, [p.split for p in pictures])
    if all(labels):
        return draw_by_class(names, labels, config.split, "pictures")
    return draw(names, config.split)


def _describe(kept: _Kept, marks: np.ndarray, shape: tuple[int, ...]) -> xr.Dataset:
    """Return all of a signal set but its pixels."""
    height, width, channels = shape
    down = {"long_name": "distance from the top edge, as a share of the height", "units": "1"}
    across = {"long_name": "distance from the left edge, as a share of the width", "units": "1"}
    colours = ["grey"] if channels == 1 else ["red", "green", "blue"]
    coordinates: dict[str, Any] = {
        "y": ("y", (np.arange(height) + 0.5) / height, down),
        "x": ("x", (np.arange(width) + 0.5) / width, across),
        "channel": np.array(colours, object),
        "split": ("sample", marks.astype(object)[kept.rows]),
        "name": ("sample", np.array(kept.names, object)),
    }
    labels = np.array([p.label for p in kept.pictures], object)
    if all(labels):
        coordinates["label"] = ("sample", labels[kept.rows])
    known = sorted(kept.pictures[0].attributes)
    if known and all(sorted(p.attributes) == known for p in kept.pictures):
        table = np.array([[p.attributes[k] for k in known] for p in kept.pictures], bool)
        coordinates["attribute"] = np.array(known, object)
        coordinates["attributes"] = (("sample", "attribute"), table[kept.rows])
    return xr.Dataset(coords=coordinates)
