"""Charts of a codec: rate against distortion, and where the bits go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from functory.reporting.charts import BLUE, WIDTH, plain

__all__ = ["Quality", "bits", "rates"]


@dataclass(frozen=True, eq=False)
class Quality:
    """What one quality of a codec takes and gives, measured on test signals."""

    bits: float
    """What a signal takes as it is coded, mean."""
    histogram_bits: float
    """What it would take with a fixed histogram for each latent, mean."""
    psnr: float
    """In dB."""
    rmse: float
    """In the data's own units."""
    latents: np.ndarray
    """Bits of each latent by its histogram, mean over signals and their cells, (latents,)."""
    sizes: np.ndarray
    """Bits of each signal as it is coded, (signals,)."""
    held_out: Mapping[str, float] = field(default_factory=dict)
    """Bits a latent on held-out signals, by entropy model."""


def rates(qualities: Sequence[Quality], values: int, signal: str) -> Figure:
    """Draw PSNR against the bits of a signal, coded and with histograms.

    Parameters
    ----------
    values
        How many values a signal has.
    signal
        What a signal is called, such as "field".
    """
    figure = Figure((WIDTH, 4.2), layout="constrained")
    axes = plain(figure.subplots())
    reached = [q.psnr for q in qualities]
    plain_bits, bits = ([getattr(q, n) for q in qualities] for n in ("histogram_bits", "bits"))
    axes.plot(plain_bits, reached, "s--", color="0.55", label="with a histogram for each latent")
    axes.plot(bits, reached, "o-", color=BLUE, linewidth=2, markersize=13, label="as coded")
    for number, place in enumerate(zip(bits, reached, strict=True), start=1):
        inside: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8}
        axes.text(*place, f"{number}", color="white", weight="bold", **inside)
    axes.set(xlabel=f"bits per {signal}", ylabel=f"PSNR of the test {signal}s (dB)")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.12)
    axes.legend(frameon=False, loc="lower right")
    scales = (lambda x: x / values, lambda x: x * values)
    axes.secondary_xaxis("top", scales).set_xlabel("bits per value")
    return figure


def bits(qualities: Sequence[Quality], signal: str) -> Figure:
    """Draw the mean bits of each latent, and how sizes of signals are distributed."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    colours = colormaps["viridis_r"](np.linspace(0.15, 0.95, len(qualities)))
    _latents(plain(left), qualities, colours)
    _sizes(plain(right), qualities, colours, signal)
    return figure


def _latents(axes: Axes, qualities: Sequence[Quality], colours: np.ndarray) -> None:
    for number, (quality, colour) in enumerate(zip(qualities, colours, strict=True), start=1):
        edges = np.arange(len(quality.latents) + 1) + 0.5
        line: dict[str, Any] = {"color": colour, "linewidth": 1.5, "baseline": None}
        axes.stairs(quality.latents, edges, label=f"quality {number}", **line)
    axes.set(xlabel="latent", ylabel="bits", xlim=(edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_title("Bits of each latent, by its histogram", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _sizes(axes: Axes, qualities: Sequence[Quality], colours: np.ndarray, signal: str) -> None:
    boxes = axes.boxplot(
        [quality.sizes for quality in qualities],
        widths=0.5,
        whis=(5, 95),
        orientation="horizontal",
        patch_artist=True,
        tick_labels=[f"quality {number}" for number in range(1, len(qualities) + 1)],
        medianprops={"color": "black", "linewidth": 1.5},
        flierprops={"marker": ".", "markersize": 4, "markeredgecolor": "none"},
    )
    for box, fliers, colour in zip(boxes["boxes"], boxes["fliers"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.5)
        fliers.set(markerfacecolor=colour, alpha=0.5)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel(f"bits per {signal}")
    axes.set_title(f"Sizes of test {signal}s", fontsize=10)
