import io
import os
import pickle
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_samples import encoded, noise, values_or_sentence, write
from PIL import Image

from functory.errors import InputError
from functory.sources import cifar10
from functory.sources.cifar10 import CLASSES, Cifar10, find_cifar10, list_cifar10
from functory.sources.pictures import Picture

NAMES = "batches.meta.txt"


def pictures(path: Path) -> dict[str, Picture]:
    source = Cifar10(path=str(path))
    return {picture.name: picture for picture in list_cifar10(source, find_cifar10(source))}


def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pictures(path)
    assert "\n" not in str(caught.value)


def images(batch: int) -> np.ndarray:
    return noise(12, 32, 32, 3, seed=batch)


def records(batch: int) -> bytes:
    """Return a batch of one image a class, and two more of the first classes."""
    planes = images(batch).transpose(0, 3, 1, 2).reshape(12, -1)
    labels = (np.arange(12, dtype=np.uint8) % 10)[:, None]
    return np.concatenate([labels, planes], axis=1).tobytes()


BATCHES = {f"data_batch_{batch}.bin": records(batch) for batch in range(1, 6)}
WHOLE = {**BATCHES, "test_batch.bin": records(6), NAMES: "\n".join(CLASSES).encode() + b"\n\n"}


def unpacked(folder: Path, members: Mapping[str, bytes] = WHOLE) -> Path:
    for name, content in members.items():
        write(folder / name, content)
    return folder


def packed(path: Path, members: Mapping[str, bytes] = WHOLE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_is_cifar10(found: dict[str, Picture]) -> None:
    groups = [f"data_batch_{batch}" for batch in range(1, 6)] + ["test_batch"]
    assert list(found) == [f"{group}/{row}" for group in groups for row in range(12)]
    for batch, group in enumerate(groups, 1):
        for row in range(12):
            picture = found[f"{group}/{row}"]
            assert picture.label == CLASSES[row % 10]
            assert picture.split == ("test" if batch == 6 else "train")
            np.testing.assert_array_equal(picture.read(), images(batch)[row])


def test_binary_batches(tmp_path: Path) -> None:
    assert_is_cifar10(pictures(unpacked(tmp_path / "cifar-10-batches-bin")))
    assert_is_cifar10(pictures(tmp_path))


def test_the_archive(tmp_path: Path) -> None:
    path = packed(tmp_path / "cifar-10-binary.tar.gz")
    assert_is_cifar10(pictures(tmp_path))
    assert_is_cifar10(pictures(path))
    assert list(tmp_path.iterdir()) == [path]


def test_one_batch_has_no_split(tmp_path: Path) -> None:
    path = unpacked(tmp_path) / "test_batch.bin"
    found = pictures(path)
    assert len(found) == 12
    assert {picture.split for picture in found.values()} == {""}


def test_classes_of_other_names(tmp_path: Path) -> None:
    names = "\n".join("abcdefghij").encode()
    for path in (unpacked(tmp_path / "a", WHOLE | {NAMES: names}), tmp_path / "a.tar.gz"):
        if path.suffix == ".gz":
            packed(path, WHOLE | {NAMES: names})
        assert "".join(picture.label for picture in pictures(path).values())[:12] == "abcdefghijab"


@pytest.mark.parametrize("names", ["a\nb\nc", ""])
def test_classes_without_a_name(tmp_path: Path, names: str) -> None:
    unpacked(tmp_path, WHOLE | {NAMES: names.encode()})
    row = len(names.split())
    assert_refused(tmp_path, rf"data_batch_1\.bin has the class {row} in row {row} of data_batch_1")


def test_a_row_is_the_readers_own_and_can_be_read_elsewhere(tmp_path: Path) -> None:
    read = pictures(packed(tmp_path / "a.tar.gz"))["data_batch_2/3"].read
    read()[:] = 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(read))(), images(2)[3])


def test_an_archive_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, opened = tarfile.open, []
    path = packed(tmp_path / "a.tar.gz")
    monkeypatch.setattr(cifar10.tarfile, "open", lambda *args: opened.append(args) or real(*args))
    found = pictures(path)
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda picture: picture.read().size, found.values())) == 72 * 3072
    assert len(opened) == 1


# As PNG


def test_png(tmp_path: Path) -> None:
    for batch in (2, 10):
        content = encoded(images(batch).reshape(12, 1024, 3))
        write(tmp_path / f"cifar10_batch_{batch}.png", content)
    found = pictures(tmp_path)
    assert list(found) == [f"cifar10_batch_{b}/{row}" for b in (2, 10) for row in range(12)]
    assert {(picture.label, picture.split) for picture in found.values()} == {("", "")}
    np.testing.assert_array_equal(found["cifar10_batch_10/7"].read(), images(10)[7])


@pytest.mark.parametrize("values", [noise(12, 1000, 3), noise(12, 1024)])
def test_png_of_another_shape(tmp_path: Path, values: np.ndarray) -> None:
    path = write(tmp_path / "cifar10_batch_0.png", encoded(values))
    assert_refused(tmp_path, f"^{path} has {values.shape[1]}×12 pixels of [13] channels")


# Damaged files


@pytest.mark.parametrize("content", [b"", records(1)[:-1], records(1) + b"\0"])
def test_batches_of_another_length(tmp_path: Path, content: bytes) -> None:
    broken = WHOLE | {"data_batch_3.bin": content}
    match = f"is damaged: data_batch_3.bin has {len(content):,} bytes, not some records of 3,073"
    assert_refused(unpacked(tmp_path / "a", broken), match)
    assert_refused(packed(tmp_path / "a.tar.gz", broken), match)


def test_an_archive_cut_anywhere(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar.gz", {"data_batch_1.bin": records(1)})
    content = path.read_bytes()
    for end in range(0, len(content) - 64, 401):
        path.write_bytes(content[:end])
        os.utime(path, ns=(end, end))
        assert_refused(path, f"^{path} ")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    python = packed(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": b"pickle"})
    assert_refused(python, "has no batch of CIFAR-10, as data_batch_1.bin")
    assert_refused(
        tmp_path, rf"^no CIFAR-10 found in {tmp_path}: .* of pickles, which are not read"
    )


def test_members_are_measured_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "LARGEST_BATCH", len(records(1)) - 1)
    monkeypatch.setattr(tarfile.TarFile, "extractfile", lambda *_: pytest.fail("read"))
    assert_refused(packed(tmp_path / "a.tar.gz"), "'cifar-10-batches-bin/data_batch_1.bin' is too")


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "data_batch_1.bin", records(1))
    last = pictures(path)["data_batch_1/11"]
    last.read()
    path.write_bytes(records(1)[:3073])
    os.utime(path, ns=(1, 1))
    assert values_or_sentence(last.read) == f"{path} has changed and has no row 11 any more"
    path.unlink()
    assert f"{path} cannot be read: " in str(values_or_sentence(last.read))


# Real files


def test_real_images(data: Path) -> None:
    folder = data / "images" / "cifar10"
    found = pictures(folder)
    assert len(found) == 4000
    row = np.asarray(Image.open(folder / "cifar10_batch_2.png"))[17]
    np.testing.assert_array_equal(found["cifar10_batch_2/17"].read().reshape(-1, 3), row)


def test_real_images_are_smooth_both_ways(data: Path) -> None:
    """Neighbours above one another are as alike as those side by side, far more than others."""
    found = list(pictures(data / "images" / "cifar10").values())[:200]
    values = np.stack([picture.read() for picture in found]).astype(float)
    down, right = (np.abs(np.diff(values, axis=axis)).mean() for axis in (1, 2))
    assert 0.8 < down / right < 1.25
    assert max(down, right) < 0.25 * np.abs(values - values[:, ::-1, ::-1]).mean() + 5
