"""Pictures through JPEG, JPEG 2000, WebP and AVIF."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rivals import Point, mean_point

__all__ = ["IMAGE_CODECS", "images", "jpeg2000_options", "through_pillow"]


class Variant(NamedTuple):
    """A format of Pillow in one of its forms, with settings and what each asks of the encoder."""

    name: str
    format: str
    settings: Sequence[float]
    options: dict[str, Any]
    knob: str = "quality"


def jpeg2000_options(levels: int) -> dict[str, Any]:
    """Return what Pillow is told for a bare codestream with so many wavelet levels."""
    return {"no_jp2": True, "irreversible": True, "num_resolutions": levels + 1}


def _jpeg(optimize: bool, subsampling: str) -> Variant:
    name = f"{subsampling}, {'own' if optimize else 'usual'} tables"
    qualities = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)
    return Variant(name, "JPEG", qualities, {"optimize": optimize, "subsampling": subsampling})


def _jpeg2000(levels: int) -> Variant:
    # every picture at one rate, as in the published curves, rather than at one PSNR
    ratios = (200, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3)
    options = jpeg2000_options(levels) | {"mct": 1}
    return Variant(f"{levels} levels", "JPEG2000", ratios, options, "ratio")


QUALITIES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
IMAGE_CODECS: Mapping[str, Sequence[Variant]] = {
    "JPEG": [_jpeg(own, colours) for own in (True, False) for colours in ("4:4:4", "4:2:0")],
    "JPEG 2000": [_jpeg2000(2), _jpeg2000(5)],  # few levels suit small pictures
    "WebP": [Variant("4:2:0", "WEBP", QUALITIES, {"method": 6})],
    "AVIF": [Variant("4:4:4", "AVIF", QUALITIES, {"speed": 6, "subsampling": "4:4:4"})],
}


def images(
    pictures: Sequence[NDArray[np.uint8]], codecs: Iterable[str] = IMAGE_CODECS
) -> list[Point]:
    """Code pictures (y, x, 3) of 8 bits; bytes and PSNR (of RGB) are means over pictures.

    Huffman tables that a JPEG has of its own are payload, the usual ones of the standard headers.
    """
    points = []
    for name in codecs:
        for variant in IMAGE_CODECS[name]:
            for setting in variant.settings:
                knob = (
                    {"quality_layers": [setting]}
                    if variant.knob == "ratio"
                    else {"quality": setting}
                )
                options = variant.options | knob
                coded = [through_pillow(picture, variant.format, options) for picture in pictures]
                label = f"{variant.knob} {setting:g}"
                points.append(mean_point(name, variant.name, label, coded, pictures, peak=255))
    return points


def through_pillow(
    picture: NDArray[Any], format: str, options: dict[str, Any]
) -> tuple[int, int, NDArray[Any]]:
    """Return the bytes of payload and of headers, and what is decoded from them."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format, **options)
    stream = file.getvalue()
    headers = _headers(stream, format, own_tables=options.get("optimize", False))
    return len(stream) - headers, headers, np.asarray(Image.open(file))


def _headers(stream: bytes, format: str, own_tables: bool) -> int:
    """Return how many bytes of a file are the same for every picture of its size and setting."""
    if format == "WEBP":
        return 20  # RIFF, and the one chunk in it
    if format == "AVIF":
        return stream.index(b"mdat") + 4
    at, tables = 2, 0  # segments of JPEG and JPEG 2000: a marker, then its length, up to the data
    while (marker := stream[at : at + 2]) != b"\xff\x93":
        size = 2 + int.from_bytes(stream[at + 2 : at + 4])
        at += size
        tables += size * (marker == b"\xff\xc4" and own_tables)
        if marker == b"\xff\xda":
            return at + 2 - tables  # the end has a marker too
    return at + 4
