"""Acquire and prepare images that people have: files, known data sets, and what is no picture."""

import gzip
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from image_samples import chunk, encoded, noise, smooth, write, write_zip
from PIL import Image
from pydantic import TypeAdapter

from functory.errors import InputError
from functory.sources.image_preparation import ImagePreparation
from functory.sources.images import ImageSource
from functory.sources.signal_sets import open_signals
from storage.references import Reference
from storage.versions import Store
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.prepare_images import PrepareImages, prepare_signals_of_images

COUNT = 60
DAMAGED = "face-17.jpg"
SHARES = {"method": "random", "validation": 0.2, "test": 0.3, "seed": 1}
FEW = {"method": "random-sizes", "train": 3, "test": 1}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    return Store.default()


def acquisition(source: dict[str, Any]) -> ImageAcquisition:
    return ImageAcquisition(source=TypeAdapter(ImageSource).validate_python(source))


def prepared(source: dict[str, Any], **preparation: Any) -> Reference:
    chosen = acquisition(source)
    raw = acquire_images.plain("test", chosen)
    made = ImagePreparation.model_validate({"size": 8, "split": SHARES} | preparation)
    config = PrepareImages(source=chosen.source, preparation=made)
    return prepare_signals_of_images.plain("test", config, raw=raw)


def signals(store: Store, reference: Reference) -> xr.Dataset:
    return open_signals(store.path(reference))


def summary(store: Store, reference: Reference) -> dict[str, Any]:
    record = store.record(reference)
    assert record is not None
    return record.summary


def jpeg(number: int) -> bytes:
    """Return a photograph, another one for each number."""
    tint = np.random.default_rng(number).integers(0, 128, 3)
    return encoded((smooth(16, 12) // 2 + tint).astype(np.uint8), "JPEG")


def assert_refused(
    store: Store, source: dict[str, Any], *messages: str, **preparation: Any
) -> None:
    with pytest.raises(InputError) as refused:
        prepared(source, **preparation)
    sentence = str(refused.value)
    assert "\n" not in sentence
    for message in messages:
        assert message in sentence
    assert not store.records("signals")
    assert not list(store.root.glob("signals/*/v*"))


# Many files, and one that is damaged


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write JPEG files, the last bytes of one of which are missing."""
    for number in range(COUNT):
        name = f"face-{number}.jpg"
        content = jpeg(number)[: -80 if name == DAMAGED else None]
        write(tmp_path / "faces" / name, content)
    return tmp_path / "faces"


def test_a_truncated_file_stops_all_and_is_named(store: Store, folder: Path) -> None:
    source = {"kind": "files", "paths": [str(folder)]}
    assert_refused(store, source, str(folder / DAMAGED), "truncated")
    write(folder / DAMAGED, jpeg(17))
    assert signals(store, prepared(source)).sizes["sample"] == COUNT  # mended, it goes on


def test_a_truncated_file_is_left_out_and_counted_where_asked(store: Store, folder: Path) -> None:
    reference = prepared({"kind": "files", "paths": [str(folder)]}, on_error="skip")
    dataset, found = signals(store, reference), summary(store, reference)
    assert dataset["name"].values.tolist() == [
        name for number in range(COUNT) if (name := f"face-{number}.jpg") != DAMAGED
    ]
    assert found["skipped"] == dataset.attrs["pictures_skipped"] == 1
    assert found["signals"] == found["pictures"] == COUNT - 1
    assert found["repeated"] == 0
    assert sum(found["splits"].values()) == COUNT - 1
    assert np.isfinite(dataset["image"]).all()


def test_the_bytes_of_files_are_in_the_key(store: Store, tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", encoded(noise(8, 8, 3, seed=number)))
    source = {"kind": "files", "paths": [str(tmp_path / "images")]}
    config = acquisition(source)
    key, first = acquire_images.key(store, config, {}), prepared(source, split=FEW)
    write(tmp_path / "images" / "1.png", encoded(noise(8, 8, 3, seed=1)))  # touched, not changed
    assert acquire_images.key(store, config, {}) == key
    assert prepared(source, split=FEW) == first
    write(tmp_path / "images" / "1.png", encoded(noise(8, 8, 3, seed=9)))
    assert acquire_images.key(store, config, {}) != key
    second = prepared(source, split=FEW)
    assert second.version == 2
    changed = [signals(store, each)["image"].values for each in (first, second)]
    assert (changed[0] == changed[1]).all((1, 2, 3)).tolist() == [True, False, True, True]


# What is no picture


def animation() -> bytes:
    """Return a GIF of two pictures."""
    frames = [Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in (0, 1)]
    return encoded(np.asarray(frames[0]), "GIF", save_all=True, append_images=frames[1:])


def bomb() -> bytes:
    """Return a PNG of a few bytes that says it has 40,000 pixels each way."""
    header = struct.pack(">2I5B", 40_000, 40_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b.gif", animation, "is animated"),
        ("b.png", lambda: encoded(noise(1, 1, 3)), "has 1×1 pixels"),
        ("b.png", bomb, "has more than 67,108,864 pixels"),
        ("b.jpg", lambda: b"no picture", "is damaged, or no image"),
        ("b.png", lambda: b"", "is damaged, or no image"),
    ],
    ids=["animation", "one pixel", "bomb", "text", "empty"],
)
def test_what_is_no_picture(
    store: Store, tmp_path: Path, name: str, content: Callable[[], bytes], message: str
) -> None:
    folder = tmp_path / "images"
    for number in range(4):
        write(folder / f"a{number}.png", encoded(noise(8, 8, 3, seed=number)))
    bad = write(folder / name, content())
    source = {"kind": "files", "paths": [str(folder)]}
    assert_refused(store, source, str(bad), message, split=FEW)
    left = prepared(source, split=FEW, on_error="skip")
    assert signals(store, left)["name"].values.tolist() == [f"a{i}.png" for i in range(4)]
    bad_alone = {"kind": "files", "paths": [str(bad)]}
    with pytest.raises(InputError, match="None of 1 pictures can be used") as refused:
        prepared(bad_alone, on_error="skip")
    assert message in str(refused.value)


@pytest.mark.parametrize("member", ["../b.png", "a/../../b.png", "/b.png"])
def test_a_zip_that_leads_out_of_its_folder(store: Store, tmp_path: Path, member: str) -> None:
    members = {"a.png": encoded(noise(8, 8, 3)), member: encoded(noise(8, 8, 3, seed=1))}
    path = write_zip(tmp_path / "images" / "all.zip", members)
    before = sorted(tmp_path.rglob("*.png"))
    for named in (path, path.parent):
        source = {"kind": "files", "paths": [str(named)]}
        assert_refused(store, source, str(path), repr(member), "do not trust it", on_error="skip")
    assert not store.records()
    assert sorted(tmp_path.rglob("*.png")) == before == []


ROWS = ["1.jpg  1 -1", "2.jpg -1 -1", "3.jpg -1  1", "4.jpg  1  1"]


def celeba(folder: Path, rows: list[str], partitions: str = "0010") -> dict[str, Any]:
    """Write four images of CelebA with the given rows of attributes."""
    for number in range(4):
        path = folder / "img_align_celeba" / f"{number + 1}.jpg"
        write(path, encoded(noise(12, 10, 3, seed=number), "JPEG"))
    attributes = "\n".join([str(len(rows)), "Smiling Young", *rows])
    write(folder / "list_attr_celeba.txt", attributes.encode())
    listed = "\n".join(f"{i}.jpg {mark}" for i, mark in enumerate(partitions, 1))
    write(folder / "list_eval_partition.txt", listed.encode())
    return {"kind": "celeba", "path": str(folder)}


@pytest.mark.parametrize(
    ("rows", "messages"),
    [
        (ROWS[:3], ["no row for 1 of the 4 images", "'4'"]),
        ([*ROWS, "5.jpg 1 1"], ["line 7", "no image '5.jpg'"]),
        ([*ROWS[:3], "4.jpg 1"], ["line 6", "2 values"]),
        ([*ROWS[:3], "4.jpg 1 0"], ["line 6", "1 or -1"]),
        ([*ROWS, ROWS[0]], ["line 7", "a row already"]),
    ],
    ids=["missing", "unknown", "short", "other values", "repeated"],
)
def test_attributes_whose_rows_do_not_match(
    store: Store, tmp_path: Path, rows: list[str], messages: list[str]
) -> None:
    source = celeba(tmp_path / "celeba", rows)
    assert_refused(store, source, str(tmp_path / "celeba/list_attr_celeba.txt"), *messages)
    assert not store.records()


# Data sets in known layouts


def test_celeba_has_its_attributes_and_partitions(store: Store, tmp_path: Path) -> None:
    source = celeba(tmp_path / "celeba", ROWS, partitions="0122")
    reference = prepared(source, split={"method": "source"})
    dataset = signals(store, reference)
    assert dataset["attribute"].values.tolist() == ["Smiling", "Young"]
    attributes = [[True, False], [False, False], [False, True], [True, True]]
    assert dataset["attributes"].values.tolist() == attributes
    assert dataset["split"].values.tolist() == ["train", "validation", "test", "test"]
    assert dataset["image"].shape == (4, 8, 8, 3)
    record = store.record(reference)
    assert record is not None
    assert record.licence.startswith("CelebA")
    assert record.summary["attributes"] == ["Smiling", "Young"]
    write(tmp_path / "celeba/list_attr_celeba.txt", b"")
    with pytest.raises(InputError, match="line 1: the number of images"):
        prepared(source, split={"method": "source"})
    assert len(store.records("signals")) == 1  # what was there is there


def test_cifar10_as_it_is_at_hand(data: Path, store: Store) -> None:
    source = {"kind": "cifar10", "path": str(data / "images/cifar10")}
    split = {"method": "random-sizes", "train": 3500, "test": 500}
    reference = prepared(source, size=None, split=split)
    dataset, found = signals(store, reference), summary(store, reference)
    assert found["grid"] == [32, 32, 3]
    assert found["splits"] == {"test": 500, "train": 3500}
    assert found["repeated"] == found["skipped"] == 0
    assert dataset["name"].values[[0, -1]].tolist() == [
        "cifar10_batch_0/0",
        "cifar10_batch_3/999",
    ]
    assert "label" not in dataset.coords
    one = dataset["image"].isel(sample=1234)
    with Image.open(data / "images/cifar10/cifar10_batch_1.png") as batch:
        row = np.asarray(batch)[234].reshape(32, 32, 3)
    np.testing.assert_allclose(one, row / 255)


def test_mnist_as_it_is_at_hand(data: Path, store: Store) -> None:
    source = {"kind": "mnist", "path": str(data / "images/mnist")}
    reference = prepared(source, size=None)
    dataset, found = signals(store, reference), summary(store, reference)
    assert found["grid"] == [28, 28, 1]
    assert found["signals"] == 10_000 - found["repeated"]
    assert list(found["classes"]) == list("0123456789")
    assert min(found["classes"].values()) > 850
    labels = dataset["label"].values.astype("U1")
    for split, share in (("train", 0.5), ("validation", 0.2), ("test", 0.3)):
        counts = np.unique(labels[dataset["split"].values == split], return_counts=True)[1]
        shares = counts / np.array(list(found["classes"].values()))
        np.testing.assert_allclose(shares, share, atol=0.01)  # of every class
    (images,) = (data / "images/mnist").glob("*images*.gz")
    with gzip.open(images) as file:
        first = np.frombuffer(file.read(16 + 784)[16:], np.uint8).reshape(28, 28, 1)
    assert dataset["name"].values[0] == "t10k/0"
    np.testing.assert_allclose(dataset["image"].isel(sample=0), first / 255)
