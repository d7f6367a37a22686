"""What a codec of today needs at a setting, and the curves and rates that follow from many.

The codecs are in `rival_fields`, `rival_images` and `rival_audio`: what they write is decoded
again, and bytes and error counted. Wherever a codec has a choice (a stack of fields as one array or
field by field, colours in full or half resolution, a few or many wavelet levels), every choice is
measured, and `front` keeps what no other beats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functory.errors import InputError

__all__ = ["Point", "at_rmse", "front", "mean_point", "mse", "psnr_of", "rate_curve"]


@dataclass(frozen=True)
class Point:
    """What a codec needs at one of its settings; bytes are means over the signals that were coded.

    RMSE is over all values of all signals, in their unit. PSNR is the mean over signals, except of
    fields, where it follows from the RMSE and from the range of all fields.
    """

    codec: str
    choice: str
    """What was chosen besides the setting: one array or field by field, kinds of tables, levels."""
    setting: str
    bytes: float
    """Of the payload, without what is counted beside it."""
    overhead_bytes: float
    """Of the format's headers, where they can be told apart (JPEG, JPEG 2000, WebP, AVIF)."""
    rmse: float
    psnr: float

    @property
    def file_bytes(self) -> float:
        """Bytes of payload and headers."""
        return self.bytes + self.overhead_bytes


def at_rmse(points: Sequence[Point], target: float, headers: bool = True) -> float:
    """Return the bits per field that a codec needs at an RMSE, with or without its headers.

    The logarithm of the rate is interpolated in that of the error between the two settings around
    the target; of several choices the best counts.
    """
    rates = []
    for curve in _choices([p for p in points if p.rmse > 0], headers):
        errors, sizes = np.log([(p.rmse, _size(p, headers)) for p in reversed(curve)]).T
        if errors[0] <= np.log(target) <= errors[-1]:
            rates.append(np.exp(np.interp(np.log(target), errors, sizes)))
    if not rates:
        raise InputError(
            f"no settings were measured on both sides of an RMSE of {target:g}: measure "
            f"{' and '.join({p.codec for p in points}) or 'a codec'} at finer or coarser ones."
        )
    return float(8 * min(rates))


def front(points: Sequence[Point], headers: bool = True) -> list[Point]:
    """Return the points that no other beats in both bytes and PSNR, the smallest file first.

    Nor does the line that joins points of another choice, in the logarithm of the rate.
    """
    curves = _choices(points, headers)
    lines = [([np.log(_size(p, headers)) for p in c], [p.psnr for p in c]) for c in curves]

    def beaten(point: Point) -> bool:
        at = np.log(_size(point, headers))
        return any(point.psnr < np.interp(at, x, y, left=-np.inf, right=y[-1]) for x, y in lines)

    return _rising([p for curve in curves for p in curve if not beaten(p)], headers)


def rate_curve(
    points: Sequence[Point], samples: float, headers: bool = True
) -> list[tuple[float, float]]:
    """Return rate and PSNR of the points that no other beats.

    The rate is in bits per sample (pixels of one image, voxels), or in kbit/s where `samples` is
    a clip's length in milliseconds.
    """
    return [(8 * _size(p, headers) / samples, p.psnr) for p in front(points, headers)]


def mean_point(
    codec: str,
    choice: str,
    setting: str,
    coded: Sequence[tuple[int, int, NDArray[Any]]],
    true: Sequence[NDArray[Any]],
    peak: float,
) -> Point:
    """Return the means over signals of bytes of payload and headers and of PSNR."""
    sizes, headers, decoded = zip(*coded, strict=True)
    errors = [mse(a, b) for a, b in zip(true, decoded, strict=True)]
    psnr = float(np.mean([psnr_of(error, peak) for error in errors]))
    rmse = float(np.sqrt(np.mean(errors)))
    return Point(codec, choice, setting, float(np.mean(sizes)), float(np.mean(headers)), rmse, psnr)


def mse(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean squared error."""
    return float(np.mean((a.astype(np.float64) - b) ** 2))


def psnr_of(error: float, peak: float) -> float:
    """Return the PSNR in dB of a mean squared error, infinite where it is zero."""
    return float(10 * np.log10(peak**2 / error)) if error else float("inf")


def _size(point: Point, headers: bool) -> float:
    return point.file_bytes if headers else point.bytes


def _choices(points: Sequence[Point], headers: bool) -> list[list[Point]]:
    """Return the rising points of every choice."""
    names = dict.fromkeys(p.choice for p in points)
    return [_rising([p for p in points if p.choice == name], headers) for name in names]


def _rising(points: Sequence[Point], headers: bool) -> list[Point]:
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (_size(p, headers), -p.psnr)):
        if not best or point.psnr > best[-1].psnr:
            best.append(point)
    return best
