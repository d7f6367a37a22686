import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from image_samples import noise, write

from functory.errors import InputError
from functory.sources.mnist import Mnist, find_mnist, list_mnist
from functory.sources.pictures import Picture

PARTS = ("train", "t10k")


def pictures(path: Path) -> list[Picture]:
    source = Mnist(path=str(path))
    return list_mnist(source, find_mnist(source))


def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pictures(path)
    assert "\n" not in str(caught.value)


def idx(values: np.ndarray) -> bytes:
    return (
        struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()
    )


def digits(part: str) -> np.ndarray:
    return noise(5, 4, 6, seed=PARTS.index(part))


def mnist(folder: Path, packed: bool = True, dot: bool = False, parts: tuple = PARTS) -> Path:
    for part in parts:
        for kind, values in (
            ("images-idx3", digits(part)),
            ("labels-idx1", np.arange(5, dtype=np.uint8)),
        ):
            name = (
                f"{part}-{kind.replace('-', '.') if dot else kind}-ubyte{'.gz' if packed else ''}"
            )
            write(folder / name, gzip.compress(idx(values)) if packed else idx(values))
    return folder


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", [True, False])
def test_both_parts(tmp_path: Path, packed: bool, dot: bool) -> None:
    found = pictures(mnist(tmp_path, packed, dot))
    assert [picture.name for picture in found] == [
        f"{part}/{i}" for part in PARTS for i in range(5)
    ]
    assert [picture.label for picture in found] == [*"01234"] * 2
    assert [picture.split for picture in found] == ["train"] * 5 + ["test"] * 5
    for picture in found:
        part, row = picture.name.split("/")
        np.testing.assert_array_equal(picture.read()[..., 0], digits(part)[int(row)])


def test_one_part_has_no_split(tmp_path: Path) -> None:
    found = pictures(mnist(tmp_path, parts=("t10k",)))
    assert {picture.split for picture in found} == {""}


def test_images_without_labels(tmp_path: Path) -> None:
    (mnist(tmp_path) / "train-labels-idx1-ubyte.gz").unlink()
    labels = [picture.label for picture in pictures(tmp_path)]
    assert labels == [""] * 5 + [*"01234"]


def test_unpacked_beside_packed(tmp_path: Path) -> None:
    mnist(mnist(tmp_path), packed=False)
    assert {path.suffix for path in find_mnist(Mnist(path=str(tmp_path)))} == {""}


def test_a_row_is_the_readers_own_and_can_be_read_elsewhere(tmp_path: Path) -> None:
    read = pictures(mnist(tmp_path))[2].read
    read()[:] = 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read))()[..., 0], digits("train")[2])


# Damaged files


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("what", ["images-idx3", "labels-idx1"])
def test_files_cut_anywhere(tmp_path: Path, packed: bool, what: str) -> None:
    end = ".gz" if packed else ""
    path = mnist(tmp_path, packed) / f"train-{what}-ubyte{end}"
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        os.utime(path, ns=(length, length))
        assert_refused(tmp_path, f"^{path} ")


@pytest.mark.parametrize(
    "content",
    [
        idx(noise(5, 4, 6)) + b"\0",
        idx(noise(5, 24)),
        struct.pack(">4I", 0x803, 5, 0, 6),
        struct.pack(">4I", 0xD03, 5, 4, 6) + bytes(4 * 120),  # of floating point
        struct.pack(">4I", 0x803, 2**31, 2**31, 2**31),
        struct.pack(">4I", 0x803, 1, 60_000, 60_000),
    ],
)
def test_other_arrays(tmp_path: Path, content: bytes) -> None:
    path = mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(content))
    assert_refused(tmp_path, f"^{path} is ")


def test_more_labels_than_images(tmp_path: Path) -> None:
    path = mnist(tmp_path) / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(6, np.uint8))))
    assert_refused(tmp_path, rf"^{path} has 6 labels, but t10k-images-idx3-ubyte\.gz .* 5 images")


@pytest.mark.parametrize("name", [".", "absent"])
def test_no_images(tmp_path: Path, name: str) -> None:
    (mnist(tmp_path, parts=("train",)) / "train-images-idx3-ubyte.gz").unlink()
    assert_refused(tmp_path / name, "^no MNIST found in")


# Real files


def test_real_digits(data: Path) -> None:
    found = pictures(data / "images" / "mnist")
    assert [picture.label for picture in found[:10]] == [*"7210414959"]
    assert len(found) == 10_000
    values = np.stack([picture.read() for picture in found[:1000]])
    assert values.shape == (1000, 28, 28, 1)
    labels = np.array([picture.label for picture in found[:1000]])
    # A one has less ink than any other digit, and a zero none in its centre.
    ink = {label: values[labels == label].mean() for label in "0123456789"}
    assert min(ink, key=lambda label: ink[label]) == "1"
    centre = {label: values[labels == label, 12:16, 12:16].mean() for label in "0123456789"}
    assert min(centre, key=lambda label: centre[label]) == "0"
