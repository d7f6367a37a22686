"""MNIST, and data sets in its format (idx)."""

import gzip
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.finding import absolute, natural_order
from functory.sources.image_arrays import files_of, pictures_of, row_of, unpacked
from functory.sources.pictures import Picture

__all__ = ["Mnist", "find_mnist", "list_mnist"]

FILE = re.compile(r"(train|t10k)-(images[-.]idx3|labels[-.]idx1)-ubyte(\.gz)?")
LARGEST_SIDE = 2**10
DEFLATE_RATIO = 1032
"""What deflate can shrink bytes by, at most."""


class Mnist(Config):
    """MNIST, or a data set in its format, as Fashion-MNIST."""

    kind: Literal["mnist"] = "mnist"
    path: str
    """A folder with `train-images-idx3-ubyte`, `t10k-images-idx3-ubyte` or both, and the labels;
    with or without `.gz`."""


def find_mnist(source: Mnist) -> list[Path]:
    """Return the files of images and labels, absolute; of the same as `.gz` and not, the latter.

    Raises
    ------
    InputError
        If there are no images.
    """
    folder = absolute(source.path)
    found: dict[tuple[str, str], Path] = {}
    for path in files_of(folder):
        match = FILE.fullmatch(path.name)
        if match:
            found.setdefault((match[1], match[2][:6]), path)
    if not any(what == "images" for _, what in found):
        raise InputError(
            f"no MNIST found in {folder}: it is to have train-images-idx3-ubyte or "
            "t10k-images-idx3-ubyte, perhaps with .gz, and the labels beside it"
        )
    return sorted(found.values(), key=lambda path: natural_order(path.name))


def list_mnist(source: Mnist, paths: Sequence[Path]) -> list[Picture]:
    """Return the images, as `train/17`, those of training first.

    Raises
    ------
    InputError
        If a file is damaged, or there are not as many labels as images.
    """
    files = {(path.name.split("-")[0], path.name.split("-")[1][:6]): path for path in paths}
    parts = [part for part in ("train", "t10k") if (part, "images") in files]
    pictures = []
    for part in parts:
        path = files[part, "images"]
        count = len(unpacked(_unpack_idx, path))
        labels = [""] * count
        if (part, "labels") in files:
            values = unpacked(_unpack_idx, files[part, "labels"])
            if len(values) != count:
                raise InputError(
                    f"{files[part, 'labels']} has {len(values)} labels, but {path.name} beside it "
                    f"has {count} images"
                )
            labels = [str(value) for value in values]
        split = {"train": "train", "t10k": "test"}[part] if len(parts) == 2 else ""
        pictures += pictures_of(part, partial(_read_digit, path), labels, split)
    return pictures


def _read_digit(path: Path, row: int) -> NDArray[np.uint8]:
    return row_of(unpacked(_unpack_idx, path), row, path)[..., None].copy()


@lru_cache(maxsize=4)
def _unpack_idx(path: Path, changed: int) -> NDArray[np.uint8]:
    """Return images (row, y, x) or labels (row), of 8 bits."""
    packed = path.name.endswith(".gz")
    with cast(BinaryIO, gzip.open(path)) if packed else path.open("rb") as file:
        axes = 3 if "images" in path.name else 1
        header = np.frombuffer(file.read(4 * (1 + axes)), ">u4")
        shape = tuple(int(length) for length in header[1:])
        if len(shape) != axes or header[0] != 0x800 + axes or 0 in shape:
            raise InputError(f"{path} is damaged, or no idx file of {axes} axes and 8 bits")
        size = int(np.prod(shape, dtype=object))
        ratio = DEFLATE_RATIO if packed else 1
        if max(shape[1:], default=1) > LARGEST_SIDE or size > path.stat().st_size * ratio:
            raise InputError(f"{path} is truncated: its header tells of an array {shape}")
        content = file.read(size + 1)  # to the end, where gzip checks its sum
    if len(content) != size:
        raise InputError(f"{path} is damaged: it has not the bytes of the array {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)
