import io
import struct
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from image_samples import chunk, encoded, noise, png_16, smooth, values_or_sentence, write
from PIL import Image, ImageOps

from functory.errors import InputError
from functory.sources import image_reading
from functory.sources.image_reading import LARGEST_IMAGE, read_image


def read(content: bytes) -> np.ndarray:
    return read_image(io.BytesIO(content), "a.png in b.zip")


def assert_refused(content: bytes, match: str) -> None:
    with pytest.raises(InputError, match=rf"^a\.png in b\.zip {match}") as caught:
        read(content)
    assert "\n" not in str(caught.value)


def on_white(values: np.ndarray) -> np.ndarray:
    top = np.iinfo(values.dtype).max
    alpha = values[..., -1:] / top
    return values[..., :-1] * alpha + top * (1 - alpha)


# Kinds of values


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_8_bits_are_as_they_were(form: str, channels: int) -> None:
    values = noise(5, 7, channels)
    again = read(encoded(values, form))
    assert again.dtype == np.uint8
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_as_they_were(channels: int) -> None:
    values = noise(9, 7, channels, dtype="uint16")
    again = read(png_16(values))
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_of_tiff(order: str, compression: str | None, channels: int) -> None:
    values, file = noise(9, 7, channels, dtype="uint16"), io.BytesIO()
    kind = "rgb" if channels == 3 else "minisblack"
    written = values if channels == 3 else values[..., 0]
    tifffile.imwrite(file, written, photometric=kind, compression=compression, byteorder=order)
    again = read(file.getvalue())
    assert again.dtype == np.uint16
    np.testing.assert_array_equal(again, values)


def test_16_bits_read_from_a_path(tmp_path: Path) -> None:
    values = noise(4, 4, 3, dtype="uint16")
    path = write(tmp_path / "a.png", png_16(values))
    np.testing.assert_array_equal(read_image(path, str(path)), values)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_transparent_is_laid_on_white(channels: int, bits: int) -> None:
    values = noise(9, 7, channels, dtype=f"uint{bits}")
    values[0, :, -1], values[1, :, -1] = 0, np.iinfo(values.dtype).max
    again = read(png_16(values) if bits == 16 else encoded(values))
    assert again.dtype == values.dtype
    assert (again[0] == np.iinfo(values.dtype).max).all()
    np.testing.assert_array_equal(again[1], values[1, :, :-1])
    np.testing.assert_allclose(again, on_white(values), atol=0.5 + 1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_value_that_png_calls_transparent(channels: int, bits: int) -> None:
    values = noise(5, 7, channels, dtype=f"uint{bits}")
    key = values[2, 3].copy()
    if bits == 16:
        content = png_16(values, chunk(b"tRNS", key.astype(">u2").tobytes()))
    else:
        colour = tuple(key.tolist())
        content = encoded(values, transparency=colour if channels == 3 else colour[0])
    seen = (values != key).any(axis=-1, keepdims=True)
    np.testing.assert_array_equal(read(content), np.where(seen, values, np.iinfo(values.dtype).max))


def test_a_bit_a_pixel() -> None:
    values = noise(5, 7, 1) // 128 * 255
    np.testing.assert_array_equal(read(encoded(values, mode="1")), values)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palettes(form: str) -> None:
    colours = noise(4, 3)
    picture = Image.fromarray(noise(5, 7) // 64).convert("P")
    picture.putpalette(colours.tobytes())
    indices, file = np.asarray(picture), io.BytesIO()
    picture.save(file, form)
    np.testing.assert_array_equal(read(file.getvalue()), colours[indices])
    picture.save(file := io.BytesIO(), form, transparency=2)
    colours[2] = 255
    np.testing.assert_array_equal(read(file.getvalue()), colours[indices])


def test_cmyk() -> None:
    """Of CMYK, no ink is white, all black is black, and cyan is what red is not."""
    inks = np.zeros((16, 64, 4), np.uint8)
    inks[:, 16:32, 3], inks[:, 32:48, 0], inks[:, 48:, 2] = 255, 255, 255
    expected = np.full((16, 64, 3), 255, np.uint8)
    expected[:, 16:32], expected[:, 32:48, 0], expected[:, 48:, 2] = 0, 0, 0
    picture = Image.fromarray(inks, "CMYK")
    for form in ("TIFF", "JPEG"):
        picture.save(file := io.BytesIO(), form, **({"quality": 100} if form == "JPEG" else {}))
        np.testing.assert_allclose(read(file.getvalue()).astype(int), expected, atol=3)
    assert b"Adobe" in file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats(form: str) -> None:
    values = smooth(32, 48)
    again = read(encoded(values, form, quality=95))
    np.testing.assert_allclose(again.astype(int), values, atol=12)


def test_grey_jpegs_have_one_channel() -> None:
    assert read(encoded(smooth(16, 24), "JPEG", mode="L")).shape == (16, 24, 1)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_orientation_is_that_of_the_field(orientation: int, form: str) -> None:
    values = noise(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(values, form, exif=exif)
    tagged = Image.fromarray(values)
    tagged.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(read(content), np.asarray(ImageOps.exif_transpose(tagged)))


def test_orientation_of_16_bits() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: the first row is the right side
    values = noise(4, 6, 3, dtype="uint16")
    content = png_16(values, chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    np.testing.assert_array_equal(read(content)[:, -1], values[0])


# What is refused


def test_other_files() -> None:
    for content in (b"", b"not an image", b"%PDF-1.7", encoded(noise(4, 4, 3), "PPM")):
        assert_refused(content, "is damaged, or no image of these formats: PNG, JPEG")


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_images(form: str) -> None:
    frames = [Image.fromarray(noise(4, 4, 3, seed=seed)) for seed in range(3)]
    frames[0].save(file := io.BytesIO(), form, save_all=True, append_images=frames[1:])
    assert_refused(file.getvalue(), "is animated or has several pages")


def test_a_photograph_with_another_behind_it() -> None:
    frames = [Image.fromarray(smooth(16, 16)), Image.fromarray(smooth(16, 16)[::-1])]
    frames[0].save(file := io.BytesIO(), "MPO", save_all=True, append_images=frames[1:], quality=95)
    np.testing.assert_allclose(read(file.getvalue()).astype(int), smooth(16, 16), atol=12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_one_pixel(shape: tuple[int, int]) -> None:
    assert_refused(
        encoded(noise(*shape)), rf"has {shape[1]}×{shape[0]} pixels, which is no picture"
    )


@pytest.mark.parametrize("values", [noise(4, 4).astype(np.int32), noise(4, 4).astype(np.float32)])
def test_other_numbers(values: np.ndarray) -> None:
    assert_refused(encoded(values, "TIFF"), r"has values of a kind that is not read \(mode [IF],")


@pytest.mark.parametrize(
    "options",
    [{"photometric": "rgb", "planarconfig": "separate"}, {"photometric": "separated"}],
)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bits_that_would_lose_some(options: dict[str, str], compression: str | None) -> None:
    shape = (3, 6, 5) if "planarconfig" in options else (6, 5, 4)
    file = io.BytesIO()
    tifffile.imwrite(file, noise(*shape, dtype="uint16"), compression=compression, **options)
    assert_refused(file.getvalue(), "has values of a kind that is not read .*, 16 bits")


@pytest.mark.parametrize("side", [8193, 10_000, 60_000])
def test_bombs_are_refused_by_their_header(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    start, end = b"\x89PNG\r\n\x1a\n", chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    monkeypatch.setattr(image_reading, "_decode", lambda *_: pytest.fail("decoded"))
    before = Image.MAX_IMAGE_PIXELS
    for filters in ("ignore", "error"):
        with warnings.catch_warnings():
            warnings.simplefilter(filters)
            content = start + chunk(b"IHDR", header) + end
            assert_refused(content, f"has more than {LARGEST_IMAGE:,} pixels")
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=rf"^{path} cannot be read as an image: .*No such file"):
        read_image(path, str(path))


# Damaged files

SMALL = {
    "png": encoded(smooth(8, 8)),
    "png 16": png_16(noise(4, 4, 3, dtype="uint16")),
    "jpeg": encoded(smooth(8, 8), "JPEG"),
    "progressive": encoded(smooth(8, 8), "JPEG", progressive=True),
    "webp": encoded(smooth(8, 8), "WEBP", lossless=True),
    "gif": encoded(smooth(8, 8)[..., 0], "GIF"),
    "bmp": encoded(smooth(8, 8), "BMP"),
    "tiff": encoded(smooth(8, 8), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SMALL)
def test_files_cut_anywhere(kind: str) -> None:
    """They are refused, or the picture is whole: the end of a file may be without meaning."""
    whole = read(SMALL[kind])
    refused = 0
    for end in range(len(SMALL[kind])):
        again = values_or_sentence(partial(read, SMALL[kind][:end]))
        if isinstance(again, str):
            refused += 1
        else:
            np.testing.assert_array_equal(again, whole)
    assert refused > len(SMALL[kind]) // 2


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(sorted(SMALL)), st.data())
def test_files_with_other_bytes(kind: str, data: st.DataObject) -> None:
    """No damage has another end than a picture or one sentence."""
    content = bytearray(SMALL[kind])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    values = values_or_sentence(partial(read, bytes(content)))
    assert isinstance(values, str) or (values.ndim == 3 and values.shape[-1] in (1, 3))


# Real files


def test_kodak(data: Path) -> None:
    path = data / "images" / "kodak" / "kodim04.png"
    values = read_image(path, str(path))
    assert values.shape == (768, 512, 3)
    np.testing.assert_array_equal(values, np.asarray(Image.open(path)))
