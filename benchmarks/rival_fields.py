"""Fields and volumes through SZ3, SPERR, ZFP, bit rounding with LZMA, and JPEG 2000."""

import lzma
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rival_images import jpeg2000_options, through_pillow
from rivals import Point, mse, psnr_of

__all__ = ["FIELD_CODECS", "VOLUME_CODECS", "fields", "volume"]

Array = NDArray[np.float32]


class Coded(NamedTuple):
    """An array that went through a codec."""

    size: int
    headers: int
    decoded: NDArray[Any]
    setting: str


# values, the ends of their range, and the one knob: the PSNR in dB against that range
Coder = Callable[[Array, tuple[float, float], float], Coded]


def sz3(values: Array, reach: tuple[float, float], quality: float) -> Coded:
    """Code with SZ3 (Liang et al., 2023) under an absolute error bound."""
    import imagecodecs

    bound = np.sqrt(3) * _error(reach, quality)  # of an error that is uniform between the bounds
    stream = imagecodecs.sz3_encode(values, mode="abs", abs=bound)
    decoded = imagecodecs.sz3_decode(stream, values.shape, values.dtype)
    return Coded(len(stream), 0, decoded, f"error below {bound:.4g}")


def sperr(values: Array, reach: tuple[float, float], quality: float) -> Coded:
    """Code with SPERR (Li et al., 2023) at a PSNR, which SPERR counts against its input's range."""
    import imagecodecs

    share = max(float(np.ptp(values)) / (reach[1] - reach[0]), 1e-6)
    target = quality + 20 * np.log10(share)
    stream = imagecodecs.sperr_encode(values, max(target, 0.1), "psnr")  # positive
    return Coded(len(stream), 0, imagecodecs.sperr_decode(stream), f"{quality:.4g} dB")


def zfp(values: Array, reach: tuple[float, float], quality: float) -> Coded:
    """Code with ZFP (Lindstrom, 2014) at a tolerance, of which powers of two alone matter."""
    import imagecodecs

    tolerance = 16 * _error(reach, quality)  # errors stay that far below it
    mode = imagecodecs.ZFP.MODE.FIXED_ACCURACY
    stream = imagecodecs.zfp_encode(values, tolerance, mode=mode)
    return Coded(len(stream), 0, imagecodecs.zfp_decode(stream), f"tolerance {tolerance:.4g}")


def bit_rounding(values: Array, reach: tuple[float, float], quality: float) -> Coded:
    """Round mantissas (Klöwer et al., 2021), sort bytes by significance, and code with LZMA."""
    step = np.sqrt(12) * _error(reach, quality)
    exponent = np.frexp(np.abs(values).max())[1] - 1
    bits = int(np.clip(np.round(exponent - np.log2(step)), 0, 23))
    dropped = np.uint32(23 - bits)
    half = np.uint32((1 << int(dropped)) >> 1)
    rounded = (values.view(np.uint32) + half) >> dropped << dropped
    planes = rounded.reshape(-1, 1).view(np.uint8).T.tobytes()
    preset = 9 | lzma.PRESET_EXTREME
    filters = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": max(4096, len(planes))}]
    stream = lzma.compress(planes, lzma.FORMAT_RAW, filters=filters)
    restored = lzma.decompress(stream, lzma.FORMAT_RAW, filters=filters)
    decoded = np.frombuffer(restored, np.uint8).reshape(4, -1).T.copy().view(np.float32)
    return Coded(len(stream), 0, decoded.reshape(values.shape), f"{bits} bits of mantissa")


def jpeg2000(levels: int) -> Coder:
    """Return what codes one field as JPEG 2000, as integers of 16 bits between the ends of `reach`.

    The two ends are not counted.
    """

    def code(values: Array, reach: tuple[float, float], quality: float) -> Coded:
        low, span = reach[0], reach[1] - reach[0]
        whole = np.round((values - low) / span * 65535).astype(np.uint16)
        fitting = min(levels, int(np.log2(min(values.shape))))
        options = jpeg2000_options(fitting) | {"quality_mode": "dB", "quality_layers": [quality]}
        size, headers, decoded = through_pillow(whole, "JPEG2000", options)
        setting = f"{quality:.4g} dB"
        return Coded(size, headers, decoded / 65535 * span + low, setting)

    return code


def each(coder: Coder) -> Coder:
    """Return what codes every field (time, y, x) with a coder of one field."""

    def code(values: Array, reach: tuple[float, float], quality: float) -> Coded:
        parts = [coder(field, reach, quality) for field in values]
        sizes, headers, decoded, settings = zip(*parts, strict=True)
        return Coded(sum(sizes), sum(headers), np.stack(decoded), settings[0])

    return code


Codecs = Mapping[str, Mapping[str, Coder]]  # by name and choice
FIELD_CODECS: Codecs = {
    "SZ3": {"3-D": sz3, "2-D": each(sz3)},
    "SPERR": {"3-D": sperr, "2-D": each(sperr)},
    "ZFP": {"3-D": zfp, "2-D": each(zfp)},
    "bit rounding + LZMA": {"3-D": bit_rounding, "2-D": each(bit_rounding)},
    "JPEG 2000": {f"{levels} levels": each(jpeg2000(levels)) for levels in (2, 3, 5)},
}
VOLUME_CODECS: Codecs = {"JPEG 2000": {"5 levels": each(jpeg2000(5))}, "SZ3": {"3-D": sz3}}


def fields(
    values: NDArray[Any],
    targets: Iterable[float] = (),
    codecs: Codecs = FIELD_CODECS,
    qualities: Iterable[float] = range(5, 70, 5),
) -> list[Point]:
    """Code fields (time, y, x) at many qualities in dB, and closer to RMSEs that are asked for.

    Bytes are per field. Where a target lies between two qualities, the interval is halved until
    an RMSE is within 1 % of it, or until only the codec's own steps are left.
    """
    whole = np.ascontiguousarray(values, dtype=np.float32)
    points: list[Point] = []
    for codec, coders in codecs.items():
        for choice, coder in coders.items():
            measure = partial(_field_point, codec, choice, coder, whole)
            measured = {float(quality): measure(quality) for quality in qualities}
            for target in targets:
                _approach(target, measured, measure)
            points += measured.values()
    return points


def volume(values: NDArray[Any], qualities: Iterable[float] = range(25, 60, 5)) -> list[Point]:
    """Code a volume (z, y, x): JPEG 2000 slice by slice along z, and SZ3 in three dimensions.

    Bytes are of the whole volume; PSNR is against its range.
    """
    points = fields(values, codecs=VOLUME_CODECS, qualities=qualities)
    n = len(values)
    return [replace(p, bytes=n * p.bytes, overhead_bytes=n * p.overhead_bytes) for p in points]


def _error(reach: tuple[float, float], quality: float) -> float:
    """Return the RMSE at a PSNR in dB."""
    return float((reach[1] - reach[0]) * 10 ** (-quality / 20))


def _field_point(codec: str, choice: str, coder: Coder, values: Array, quality: float) -> Point:
    reach = float(values.min()), float(values.max())
    size, headers, decoded, setting = coder(values, reach, quality)
    rmse = float(np.sqrt(mse(values, decoded)))
    n, psnr = len(values), psnr_of(rmse**2, reach[1] - reach[0])
    return Point(codec, choice, setting, size / n, headers / n, rmse, psnr)


def _approach(
    target: float, measured: dict[float, Point], measure: Callable[[float], Point]
) -> None:
    """Add points to those `measured` by quality, closer and closer to an RMSE."""
    for _ in range(10):
        coarse = [q for q, point in measured.items() if point.rmse >= target]
        fine = [q for q, point in measured.items() if point.rmse < target]
        near = min(abs(point.rmse / target - 1) for point in measured.values())
        if not coarse or not fine or near < 0.01:
            return
        quality = (max(coarse) + min(fine)) / 2
        measured[quality] = measure(quality)
