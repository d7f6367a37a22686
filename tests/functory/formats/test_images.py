from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import chunk, encoded, noise, png_16, smooth
from PIL import Image

from functory.errors import InputError
from functory.formats import read, write
from functory.sources.image_reading import read_image

LOSSLESS = {8: [".png", ".tif", ".tiff", ".bmp", ".ppm", ".webp"], 16: [".png", ".tif"]}


def dataset(values: np.ndarray) -> xr.Dataset:
    shares = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    return xr.Dataset(
        {"image": (("sample", "y", "x", "channel"), shares[None])},
        attrs={"bits": 8 * values.itemsize},
    )


@settings(max_examples=20)
@given(st.data(), st.sampled_from([8, 16]), st.sampled_from([1, 3]), st.integers(0, 99))
def test_lossless_formats_give_back_every_value(
    data: st.DataObject, bits: int, channels: int, seed: int
) -> None:
    height, width = data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9))
    values = noise(height, width, channels, dtype=f"uint{bits}", seed=seed)
    suffix = data.draw(st.sampled_from(LOSSLESS[bits]))
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        write(dataset(values), path)
        again = read(path).compute()
    if suffix in (".ppm", ".webp") and channels == 1:  # which have no grey
        values = values.repeat(3, axis=-1)
    np.testing.assert_array_equal(again["image"][0], dataset(values)["image"][0])
    assert again.attrs["bits"] == bits
    assert again["image"].dtype == np.float32


def test_16_bits_are_read_by_others(tmp_path: Path) -> None:
    values = noise(5, 7, 1, dtype="uint16")
    write(dataset(values), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), values[..., 0])


def test_values_are_clipped_and_rounded(tmp_path: Path) -> None:
    levels = np.array([-3.0, 0.4, 0.6, 254.4, 254.6, 900.0])
    shares = np.broadcast_to(levels[None, None, :, None] / 255, (1, 2, 6, 1))
    write(xr.Dataset({"image": (("sample", "y", "x", "channel"), shares)}), tmp_path / "a.png")
    values = read_image(tmp_path / "a.png", "a")
    np.testing.assert_array_equal(values[0, :, 0], [0, 0, 1, 254, 255, 255])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_near(tmp_path: Path, suffix: str) -> None:
    values = smooth(32, 48)
    write(dataset(values), tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")["image"][0] * 255
    np.testing.assert_allclose(again, values, atol=6)


def test_signals_of_an_image(data: Path) -> None:
    path = data / "images" / "kodak" / "kodim04.png"
    signals = read(path)
    assert signals["image"].chunks is not None
    assert dict(signals.sizes) == {"sample": 1, "y": 768, "x": 512, "channel": 3}
    assert signals["channel"].values.tolist() == ["red", "green", "blue"]
    np.testing.assert_allclose(signals["y"][[0, -1]], [0.5 / 768, 767.5 / 768])
    assert signals.attrs == {
        "modality": "image",
        "sample_dimension": "sample",
        "mask": "none",
        "bits": 8,
    }
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.rint(signals["image"][0] * 255), np.asarray(image))


def test_parts_of_large_images_are_those_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functory.formats.images.PIECE", 50)
    monkeypatch.setattr("functory.formats.pieces.PIECE", 50)
    values = noise(11, 7, 3)
    write(dataset(values), tmp_path / "a.png")
    again = read(tmp_path / "a.png")
    assert again["image"].chunks is not None
    assert len(again["image"].chunks[1]) == 6
    write(again, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_transparency_is_refused_where_there_is_any(
    tmp_path: Path, channels: int, bits: int
) -> None:
    values = noise(5, 7, channels, dtype=f"uint{bits}")
    path = tmp_path / "a.png"
    path.write_bytes(png_16(values) if bits == 16 else encoded(values))
    with pytest.raises(InputError, match=r"a\.png has transparency, which is not coded"):
        read(path)
    values[..., -1] = np.iinfo(values.dtype).max
    path.write_bytes(png_16(values) if bits == 16 else encoded(values))
    again = read(path)["image"][0]
    np.testing.assert_array_equal(again, dataset(values[..., :-1])["image"][0])


def test_a_transparent_colour_is_refused(tmp_path: Path) -> None:
    values = noise(5, 7, 1, dtype="uint16")
    key = chunk(b"tRNS", values[2, 3].astype(">u2").tobytes())
    (tmp_path / "a.png").write_bytes(png_16(values, key))
    with pytest.raises(InputError, match="has transparency"):
        read(tmp_path / "a.png")


def animation() -> bytes:
    frames = [Image.fromarray(noise(4, 4, 3, seed=seed)) for seed in range(2)]
    frames[0].save(file := BytesIO(), "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.png", b"not an image", "no image"),
        ("a.png", encoded(noise(9, 9, 3))[:-40], "cannot be read as an image|damaged"),
        ("a.png", animation(), "is animated"),
        ("a.ppm", b"not an image", "cannot be read as PPM"),
        ("a.ppm", b"P6 4 4 255\n" + bytes(40), "cannot be read as PPM"),
        ("a.ppm", b"P6 2 2 65535\n" + bytes(24), "has not 8 bits a channel"),
        ("a.ppm", b"P5 2 2 65535\n" + bytes(8), "has not 8 bits a channel"),
        ("a.ppm", b"P6 9000 9000 255\n", "has more than 67,108,864 pixels"),
        ("a.ppm", b"P6 90000 90000 255\n", "has more than 67,108,864 pixels"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_a_format_cannot_hold(tmp_path: Path) -> None:
    wide = xr.Dataset({"image": (("y", "x", "channel"), np.zeros((2, 2, 2)))})
    with pytest.raises(InputError, match=r"one channel or three, but there are 2"):
        write(wide, tmp_path / "a.png")
    wide = xr.Dataset({"image": (("y", "x", "channel"), np.zeros((2, 17000, 1)))})
    with pytest.raises(InputError, match=r"a\.webp cannot hold an image of 2×17000 pixels"):
        write(wide, tmp_path / "a.webp")
