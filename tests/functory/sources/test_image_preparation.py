"""Image preparation: squares, sizes, colours and depths, and splits that no picture straddles."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from functory.errors import InputError
from functory.sources import image_preparation
from functory.sources.image_preparation import ImagePreparation, prepare_images
from functory.sources.image_squares import Centre, Tiles, coloured, squares
from functory.sources.pictures import Picture
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomShares, RandomSizes, SourceSplit

Pixels = NDArray[Any]
DTYPES = pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
CHANNELS = pytest.mark.parametrize("channels", [1, 3])


def noise(
    seed: int, shape: tuple[int, int] = (16, 16), channels: int = 3, dtype: type = np.uint8
) -> Pixels:
    highest = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, highest + 1, (*shape, channels), dtype)


def pixels_of(pixels: Pixels) -> Pixels:
    return pixels


def picture(name: str, pixels: Pixels, **known: Any) -> Picture:
    return Picture(name, partial(pixels_of, pixels), **known)


def pictures(count: int = 20, **kind: Any) -> list[Picture]:
    return [picture(f"{i:03d}.png", noise(i, **kind)) for i in range(count)]


def broken(name: str) -> Picture:
    def read() -> Pixels:
        raise InputError(f"{name} is truncated; get it again.")

    return Picture(name, read)


# Squares, sizes and colours


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(2, 9), st.sampled_from([1, 3]))
def test_tiles_reassemble_the_picture(height: int, width: int, size: int, channels: int) -> None:
    pixels = noise(0, (height, width), channels)
    tiles = squares(pixels, Tiles(), size)
    rows, columns = height // size, width // size
    assert tiles.shape == (rows, columns, size, size, channels)
    if rows and columns:
        found = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles])
        np.testing.assert_array_equal(found, pixels[: rows * size, : columns * size])


@DTYPES
@CHANNELS
@pytest.mark.parametrize("shape", [(12, 12), (12, 17), (18, 12)])
def test_the_largest_square_of_the_size_keeps_its_pixels(
    shape: tuple[int, int], channels: int, dtype: type
) -> None:
    pixels = noise(1, shape, channels, dtype)
    top, left = ((n - 12) // 2 for n in shape)
    found = squares(pixels, Centre(), 12)[0, 0]
    np.testing.assert_array_equal(found, pixels[top : top + 12, left : left + 12])
    np.testing.assert_array_equal(squares(pixels, Centre(), None)[0, 0], pixels)


@DTYPES
@CHANNELS
@pytest.mark.parametrize("size", [9, 16, 31])
def test_smaller_images_keep_the_mean_of_each_channel(
    size: int, channels: int, dtype: type
) -> None:
    pixels = noise(2, (96, 96), channels, dtype)
    found = squares(pixels, Centre(), size)[0, 0]
    assert (found.shape, found.dtype) == ((size, size, channels), dtype)
    difference = found.mean((0, 1)) - pixels.mean((0, 1))
    assert (abs(difference) < 0.01 * np.iinfo(dtype).max).all()


@DTYPES
@CHANNELS
def test_what_is_finer_than_the_new_pixels_becomes_their_mean(channels: int, dtype: type) -> None:
    highest = np.iinfo(dtype).max
    board = np.indices((64, 64)).sum(0)[..., None].repeat(channels, -1) % 2 * highest
    found = squares(board.astype(dtype), Centre(), 16)
    np.testing.assert_allclose(found / highest, 0.5, atol=0.02)


@DTYPES
@CHANNELS
@pytest.mark.parametrize("size", [5, 16, 40])
def test_a_plain_picture_stays_plain_at_any_size(channels: int, dtype: type, size: int) -> None:
    value = np.iinfo(dtype).max - 3
    plain = np.full((20, 26, channels), value, dtype)
    assert (squares(plain, Centre(), size) == value).all()


def test_both_ways_of_resizing_agree() -> None:
    pixels = noise(3, (50, 50))
    colour = squares(pixels, Centre(), 16)[0, 0]
    for channel in range(3):
        grey = squares(pixels[..., [channel]], Centre(), 16)[0, 0, ..., 0]
        assert abs(colour[..., channel].astype(int) - grey).max() <= 1


def test_sixteen_bits_are_not_made_of_eight() -> None:
    ramp = np.broadcast_to(np.arange(128, dtype=np.uint16)[None, :, None] * 3, (128, 128, 3))
    found = squares(ramp, Centre(), 64)[0, 0]
    means = ramp.reshape(64, 2, 64, 2, 3).mean((1, 3))
    np.testing.assert_allclose(found[:, 4:-4], means[:, 4:-4], atol=0.51)
    fine = squares(noise(4, (64, 64), dtype=np.uint16), Centre(), 32)
    assert (fine % 257 != 0).mean() > 0.9


@DTYPES
def test_grey_as_colour_as_grey_is_the_same(dtype: type) -> None:
    grey = noise(5, (64, 64), 1, dtype)
    colour = coloured(grey, "rgb")
    assert colour.shape == (64, 64, 3)
    np.testing.assert_array_equal(coloured(colour, "grey"), grey)
    np.testing.assert_array_equal(coloured(colour, "rgb"), colour)
    np.testing.assert_array_equal(coloured(colour, None), colour)


def test_grey_is_luma() -> None:
    primaries = np.eye(3, dtype=np.uint8)[None] * 255
    np.testing.assert_array_equal(coloured(primaries, "grey").ravel(), [76, 150, 29])


# Signal sets


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., xr.Dataset]:
    """Return a function that prepares pictures into a folder of their own."""
    folders = iter(range(100))

    def prepare(pictures: Sequence[Picture], **config: Any) -> xr.Dataset:
        chosen = ImagePreparation(**({"size": 8} | config))
        return prepare_images(
            pictures, chosen, tmp_path / str(next(folders)), {"licence": "CC0-1.0"}
        )

    return prepare


def stored(found: xr.Dataset) -> np.ndarray:
    """Return the whole numbers that the images of a signal set are stored as."""
    dtype = found["image"].encoding["dtype"]
    return np.rint(found["image"].values * np.iinfo(dtype).max).astype(dtype)


def test_it_is_a_signal_set(prepared: Callable[..., xr.Dataset]) -> None:
    found = prepared(pictures(shape=(16, 20)))
    assert found["image"].dims == ("sample", "y", "x", "channel")
    assert found["image"].encoding["dtype"] == np.uint8
    assert found["image"].dtype.kind == "f"
    assert 0 <= found["image"].min() < 0.3 < 0.7 < found["image"].max() <= 1
    expected = [squares(p.read(), Centre(), 8)[0, 0] for p in pictures(shape=(16, 20))]
    np.testing.assert_array_equal(stored(found), expected)
    assert found["name"].values.tolist() == [p.name for p in pictures()]
    assert found["channel"].values.tolist() == ["red", "green", "blue"]
    assert set(found["split"].values) == {"train", "validation", "test"}
    assert not {"label", "attributes"} & set(found.coords)
    scaled = {"normalisation_offset": 0.0, "normalisation_scale": 1.0, "units": "1"}
    assert scaled.items() <= found["image"].attrs.items()
    described = {"sample_dimension": "sample", "mask": "none", "modality": "image"}
    counts = {"pictures": 20, "pictures_repeated": 0, "pictures_skipped": 0}
    assert found.attrs == {**described, **counts, "functory_schema": 1, "licence": "CC0-1.0"}


def test_coordinates_are_pixel_centres(prepared: Callable[..., xr.Dataset]) -> None:
    found = prepared(pictures(shape=(6, 10)), size=None)
    assert dict(found["image"].sizes) == {"sample": 20, "y": 6, "x": 10, "channel": 3}
    np.testing.assert_allclose(found["y"], [1 / 12, 3 / 12, 5 / 12, 7 / 12, 9 / 12, 11 / 12])
    np.testing.assert_allclose(found["x"], (np.arange(10) + 0.5) / 10)
    assert "top" in found["y"].attrs["long_name"]
    assert "left" in found["x"].attrs["long_name"]


def test_pictures_of_the_size_are_kept_bit_by_bit(prepared: Callable[..., xr.Dataset]) -> None:
    deep = pictures(dtype=np.uint16, channels=1)
    found = prepared(deep, size=16)
    np.testing.assert_array_equal(stored(found), [p.read() for p in deep])
    assert found["image"].encoding["dtype"] == np.uint16
    assert found["channel"].values.tolist() == ["grey"]


def test_it_can_be_opened_again(tmp_path: Path, prepared: Callable[..., xr.Dataset]) -> None:
    known = {"label": "bird", "attributes": {"Flying": True}}
    found = prepared([replace(p, **known) for p in pictures()]).load()
    xr.testing.assert_identical(open_signals(tmp_path / "0", consolidated=False).load(), found)


def test_threads_blocks_and_chunks_make_no_difference(
    prepared: Callable[..., xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [*pictures(40), broken("broken.png"), *pictures(3)]
    expected = prepared(several, on_error="skip").load()
    monkeypatch.setattr(image_preparation, "BLOCK", 7)
    monkeypatch.setattr(image_preparation, "CHUNK_BYTES", 6 * 8 * 8 * 3)
    for threads in (1, 5):
        monkeypatch.setattr("os.cpu_count", lambda n=threads: n)
        found = prepared(several, on_error="skip").load()
        assert found["image"].encoding["chunks"] == (6, 8, 8, 3)
        xr.testing.assert_identical(found, expected)


def test_chunks_are_of_about_a_megabyte(prepared: Callable[..., xr.Dataset]) -> None:
    for size, samples in ((8, 5461), (64, 85)):
        chunks = prepared(pictures(shape=(64, 64)), size=size)["image"].encoding["chunks"]
        assert chunks == (samples, size, size, 3)
    assert samples * 64 * 64 * 3 <= 2**20


def test_pictures_are_read_once_and_not_far_ahead(
    prepared: Callable[..., xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()

    def counted(one: Picture) -> Picture:
        def read() -> Pixels:
            reads[one.name] += 1
            return one.read()

        return replace(one, read=read)

    prepared([counted(p) for p in pictures(30)])
    assert set(reads.values()) == {1}
    assert len(reads) == 30

    reads.clear()
    monkeypatch.setattr(image_preparation, "BLOCK", 4)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    several = [counted(p) for p in pictures(30)]
    with pytest.raises(InputError):
        prepared([*several[:6], broken("broken.png"), *several[6:]])
    assert len(reads) == 7


# Tiles and splits


def test_tiles_are_named_after_their_place_and_stay_in_one_split(
    prepared: Callable[..., xr.Dataset],
) -> None:
    found = prepared(pictures(shape=(20, 26)), crop=Tiles())
    assert found.sizes["sample"] == 20 * 2 * 3
    assert found["name"].values[:6].tolist() == [f"000.png/{r}-{c}" for r in "01" for c in "012"]
    np.testing.assert_array_equal(stored(found)[4], noise(0, (20, 26))[8:16, 8:16])
    origins = [name.rsplit("/", 1)[0] for name in found["name"].values]
    places = set(zip(origins, found["split"].values, strict=True))
    assert len(places) == 20
    assert {split for _, split in places} == {"train", "validation", "test"}
    whole = prepared(pictures(shape=(20, 26)))
    assert places == set(zip(whole["name"].values, whole["split"].values, strict=True))


def test_sizes_of_a_split_are_of_pictures(prepared: Callable[..., xr.Dataset]) -> None:
    split = RandomSizes(train=17, test=3)
    counts = Counter(prepared(pictures(), split=split)["split"].values.tolist())
    assert counts == {"train": 17, "test": 3}
    tiles = prepared(pictures(), split=split, crop=Tiles())["split"].values
    assert Counter(tiles.tolist()) == {"train": 4 * 17, "test": 4 * 3}


def test_every_class_is_in_every_split(prepared: Callable[..., xr.Dataset]) -> None:
    labelled = [replace(p, label="cat" if i % 4 else "dog") for i, p in enumerate(pictures())]
    found = prepared(labelled)
    assert found["label"].values.tolist() == [p.label for p in labelled]
    for label in ("cat", "dog"):
        marks = found["split"].values[found["label"] == label]
        assert set(marks) == {"train", "validation", "test"}


def test_partitions_of_the_source_become_splits(prepared: Callable[..., xr.Dataset]) -> None:
    marks = ["train", "train", "test", "validation"] * 5
    parted = [replace(p, split=mark) for p, mark in zip(pictures(), marks, strict=True)]
    found = prepared(parted, split=SourceSplit())
    assert found["split"].values.tolist() == marks
    by_lot = prepared(parted, split=RandomShares())
    assert by_lot["split"].values.tolist() != marks


def test_attributes_are_a_table(prepared: Callable[..., xr.Dataset]) -> None:
    known = [{"Smiling": i % 2 == 0, "Hat": i < 3} for i in range(20)]
    said = [replace(p, attributes=k) for p, k in zip(pictures(), known, strict=True)]
    found = prepared(said, crop=Tiles())
    assert found["attributes"].dims == ("sample", "attribute")
    assert found["attributes"].dtype == bool
    for name in ("Smiling", "Hat"):
        expected = np.repeat([k[name] for k in known], 4)
        np.testing.assert_array_equal(found["attributes"].sel(attribute=name), expected)
    some = [replace(said[0], attributes={"Smiling": True}), *said[1:]]
    assert "attributes" not in prepared(some)


# What is left out


def test_repeated_images_are_left_out_and_counted(prepared: Callable[..., xr.Dataset]) -> None:
    sound = pictures()
    again = [picture(f"again-{i}.png", sound[i].read()) for i in (3, 5)]
    found = prepared([*sound[:10], *again, *sound[10:]])
    assert found.attrs["pictures"] == 20
    assert found.attrs["pictures_repeated"] == 2
    xr.testing.assert_equal(found, prepared(sound))


def test_images_may_become_equal_only_when_they_are_prepared(
    prepared: Callable[..., xr.Dataset],
) -> None:
    wide = noise(0, (16, 20))
    shifted = wide.copy()
    shifted[:, 0] = 0  # outside of the middle
    several = [*pictures(shape=(16, 20)), picture("shifted.png", shifted)]
    assert prepared(several, size=16).attrs["pictures_repeated"] == 1
    assert prepared(several, size=None).attrs["pictures_repeated"] == 0


def test_pictures_that_cannot_be_used_are_left_out_only_if_asked_for(
    prepared: Callable[..., xr.Dataset], caplog: pytest.LogCaptureFixture
) -> None:
    sound = pictures()
    several = [broken("a.png"), *sound[:9], picture("dot.png", noise(0, (1, 9))), *sound[9:]]
    with caplog.at_level(logging.WARNING, "functory.sources"):
        found = prepared(several, on_error="skip")
    assert found.attrs["pictures_skipped"] == 2
    assert "a.png is left out" in caplog.text
    assert "dot.png is left out" in caplog.text
    xr.testing.assert_equal(found, prepared(sound))
    assert "a.png is truncated" in refused(lambda: prepared(several))
    assert "dot.png has 1×9 pixels" in refused(lambda: prepared(several[1:]))


# What is refused


def refused(prepare: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        prepare()
    message = str(caught.value)
    assert "\n" not in message
    assert ". " not in message, "one sentence"
    assert message.endswith(".")
    return message


def test_the_first_broken_picture_is_named(prepared: Callable[..., xr.Dataset]) -> None:
    several = [*pictures(5), broken("first.png"), broken("second.png"), *pictures()]
    assert "first.png" in refused(lambda: prepared(several))


def test_broken_pictures_alone(prepared: Callable[..., xr.Dataset]) -> None:
    several = [broken("a.png"), broken("b.png")]
    message = refused(lambda: prepared(several, on_error="skip"))
    assert "None of 2 pictures can be used: b.png is truncated" in message
    assert "None of 0 pictures" in refused(lambda: prepared([]))


def test_a_broken_picture_leaves_nothing_that_is_a_signal_set(
    tmp_path: Path, prepared: Callable[..., xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_preparation, "BLOCK", 1)
    monkeypatch.setattr(image_preparation, "CHUNK_BYTES", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    refused(lambda: prepared([*pictures(), broken("broken.png")]))
    left = xr.open_zarr(tmp_path / "0", chunks=None, consolidated=False)
    assert left.sizes["sample"] > 0
    assert "split" not in left.variables
    assert "sample_dimension" not in left.attrs


@pytest.mark.parametrize(
    ("odd", "config", "said"),
    [
        (noise(0, (16, 18)), {"size": None}, "16×18 pixels, but the first picture has 16×16"),
        (noise(0, (16, 16), 1), {}, "odd.png is grey, but the first picture is RGB"),
        (noise(0, dtype=np.uint16), {}, "odd.png has 16 bits a channel"),
        (noise(0, (16, 7)), {"crop": Tiles()}, "odd.png has 16×7 pixels, but needs 8 each way"),
    ],
    ids=["size", "colour", "depth", "tiles"],
)
def test_a_picture_of_another_kind(
    prepared: Callable[..., xr.Dataset], odd: Pixels, config: dict[str, Any], said: str
) -> None:
    assert said in refused(lambda: prepared([*pictures(), picture("odd.png", odd)], **config))


def test_pictures_of_several_kinds_are_brought_to_one(
    prepared: Callable[..., xr.Dataset],
) -> None:
    also = [replace(p, name=f"also-{p.name}") for p in pictures()]
    several = [*pictures(channels=1), *also]
    assert prepared(several, colour="rgb").sizes["channel"] == 3
    assert prepared(several, colour="grey").sizes["channel"] == 1
    found = stored(prepared([*pictures(dtype=np.uint16), *also], size=16))
    np.testing.assert_array_equal(found[20:], np.stack([p.read() for p in also]) * 257.0)


@pytest.mark.parametrize(
    ("known", "split", "said"),
    [
        ({"label": "cat"}, RandomShares(), "000.png has no class although others have one"),
        ({"split": "train"}, SourceSplit(), "000.png is in no partition"),
    ],
    ids=["class", "partition"],
)
def test_what_some_pictures_lack(
    prepared: Callable[..., xr.Dataset], known: dict[str, str], split: Any, said: str
) -> None:
    first, *rest = pictures()
    several = [first, *(replace(p, **known) for p in rest)]
    assert said in refused(lambda: prepared(several, split=split))


def test_partitions_without_a_test(prepared: Callable[..., xr.Dataset]) -> None:
    several = [replace(p, split="train") for p in pictures()]
    message = refused(lambda: prepared(several, split=SourceSplit()))
    assert "leave no signal for test among 20" in message


def test_a_class_with_too_few_pictures(prepared: Callable[..., xr.Dataset]) -> None:
    several = [replace(p, label="dog" if i == 4 else "cat") for i, p in enumerate(pictures())]
    assert "Class 'dog' has 1 pictures" in refused(lambda: prepared(several))


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    config = ImagePreparation(size=8)
    before = prepare_images(pictures(), config, tmp_path / "set", {}).load()
    with pytest.raises(FileExistsError):
        prepare_images(pictures(5), config, tmp_path / "set", {})
    xr.testing.assert_identical(open_signals(tmp_path / "set", consolidated=False).load(), before)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1}, {"size": None, "crop": {"kind": "tiles"}}, {"colour": "cmyk"}, {"pad": True}],
    ids=str,
)
def test_configuration_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImagePreparation.model_validate(wrong)
