"""Rate-distortion curves that other people published, each with its source."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["Curve", "at_rate", "published_curves"]

DATA = Path(os.environ.get("FUNCTORY_TEST_DATA", "../shared/data"))


@dataclass(frozen=True)
class Curve:
    """One codec on one data set."""

    dataset: str
    codec: str
    source: str
    """Where the numbers are from; empty where the publication did not say."""
    rate_unit: str
    """Unit of the first of each pair."""
    distortion_unit: str
    """Unit of the second."""
    points: tuple[tuple[float, float], ...]
    """Pairs of rate and distortion, at rising rates."""


def published_curves(path: Path | None = None) -> dict[str, dict[str, Curve]]:
    """Read the curves by data set and codec, from `anchors` beside the real data by default."""
    found = json.loads((path or DATA.parent / "anchors" / "rate_distortion.json").read_text())
    curves: dict[str, dict[str, Curve]] = {}
    for row in found["rows"]:
        dataset, codec = row["dataset"], row["codec"]
        unit = "kbit/s" if dataset == "librispeech" else "bits per pixel"
        if codec.startswith("coinpp_base"):
            unit += ", at 32 bits per latent"  # nothing was quantised
        points = tuple(sorted((float(rate), float(psnr)) for rate, psnr in row["points"]))
        curve = Curve(dataset, codec, row["source"] or "", unit, "PSNR in dB", points)
        curves.setdefault(dataset, {})[codec] = curve
    return curves


def at_rate(curve: Curve, rate: float) -> float:
    """Return the distortion at a rate, linear in log rate between points; NaN beyond the ends."""
    rates, distortions = zip(*curve.points, strict=True)
    inside = rates[0] <= rate <= rates[-1]
    return float(np.interp(np.log(rate), np.log(rates), distortions)) if inside else float("nan")
