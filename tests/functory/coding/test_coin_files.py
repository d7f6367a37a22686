"""COIN files: images come back, on any grid, and damage is refused."""

import io

import numpy as np
import pytest
import xarray as xr
from mutations import damaged, forged

from functory.coding.coin_files import coin_grid, decode_coin, encode_coin
from functory.coding.coin_fitting import CoinConfig
from functory.coding.container import Reader
from functory.errors import InputError
from functory.fields.grids import finer

CONFIG = CoinConfig(layers=2, width=8, steps=60)


@pytest.fixture(scope="module")
def picture() -> xr.Dataset:
    y, x = np.mgrid[:12, :16] / 16
    image = np.stack([y, x, (y + x) / 2], -1).astype(np.float32)
    axes = {"y": (np.arange(12) + 0.5) / 12, "x": (np.arange(16) + 0.5) / 16}
    return xr.Dataset(
        {"image": (("sample", "y", "x", "channel"), np.stack([image, image[::-1]]))},
        coords={**axes, "channel": ["red", "green", "blue"], "name": ("sample", ["a", "b"])},
        attrs={"modality": "image", "sample_dimension": "sample"},
    )


@pytest.fixture(scope="module")
def content(picture: xr.Dataset) -> bytes:
    file = io.BytesIO()
    reached = encode_coin(picture, file, CONFIG)
    assert len(reached) == 2
    return file.getvalue()


def test_images_come_back_with_their_coordinates(picture, content):
    found = decode_coin(Reader(io.BytesIO(content)))
    assert float(((found["image"] - picture["image"]) ** 2).mean()) < 0.02
    for name in picture.coords:
        xr.testing.assert_identical(found[name].variable, picture[name].variable)
    assert found.attrs == picture.attrs


def test_parts_and_finer_grids_are_of_the_same_function(content):
    reader = Reader(io.BytesIO(content))
    whole = decode_coin(reader)
    fine = {axis: finer(values, 3, ends=False) for axis, values in coin_grid(reader).items()}
    found = decode_coin(Reader(io.BytesIO(content)), fine, slice(1, 2))
    assert found["image"].shape == (1, 36, 48, 3)
    np.testing.assert_allclose(
        found["image"].values[:, 1::3, 1::3], whole["image"].values[1:], atol=1e-5
    )
    assert found["name"].values.tolist() == ["b"]


def test_what_is_no_image_is_refused(picture):
    with pytest.raises(InputError, match="COIN codes images"):
        encode_coin(picture.rename(image="t2m"), io.BytesIO(), CONFIG)


def test_damage_is_refused(content):
    random = np.random.default_rng(0)
    for _ in range(40):
        with pytest.raises(InputError):
            decode_coin(Reader(io.BytesIO(damaged(content, random))))


def test_forged_files_never_crash(content):
    random, refused = np.random.default_rng(0), 0
    for _ in range(40):
        try:
            decode_coin(Reader(io.BytesIO(forged(content, random))))
        except InputError:
            refused += 1
    assert refused
