"""Rate-distortion curves of codecs, with their names at the ends of the lines."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from functory.reporting.charts import BLUE, GREEN, ORANGE, WIDTH, plain

__all__ = ["rate_figure"]

EMPHASISED = (BLUE, ORANGE, GREEN, "#CC79A7")
OTHERS = ("0.15", "#8C6D31", "0.5", "#3A6F8F")  # dull; 4 and 3 patterns pair up in 12 ways
DASHES = ((0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
DECADE = 10  # what spans as much is drawn in logarithms
SPACING = 0.052  # between names, as a share of the height


def rate_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    emphasised: Collection[str] = (),
) -> Figure:
    """Draw distortion against rate, each in logarithms where it spans a decade.

    Parameters
    ----------
    curves
        Pairs of rate and distortion, by the names of codecs; pairs that are not finite are left
        out, and so are codecs without any other.
    x_label, y_label
        What is drawn, with its unit.
    emphasised
        Codecs that are drawn as solid lines in bright colours; the others are dashed and thinner.
    """
    figure = Figure((WIDTH, max(4.2, 0.28 * len(curves))), layout="constrained")
    axes = plain(figure.subplots())
    bright, dull = cycle(EMPHASISED), cycle(OTHERS)
    patterns = cycle(DASHES)
    ends: dict[str, tuple[float, float, str]] = {}
    drawn: list[tuple[float, float]] = []
    for name, curve in curves.items():
        pairs = sorted(pair for pair in curve if np.isfinite(pair).all())
        if not pairs:
            continue
        x, y = zip(*pairs, strict=True)
        first = name in emphasised
        colour = next(bright if first else dull)
        style = "-" if first else next(patterns)
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=style,
            linewidth=2.2 if first else 1.2,
            marker="o" if first or len(pairs) == 1 else None,
            markersize=4.5,
            zorder=3 if first else 2,
            label=name,
        )
        ends[name] = (x[-1], y[-1], colour)
        drawn += pairs
    axes.set(xlabel=x_label, ylabel=y_label)
    if drawn:
        x, y = zip(*drawn, strict=True)
        _scale(axes.xaxis, axes.set_xscale, x)
        _scale(axes.yaxis, axes.set_yscale, y)
    _name_ends(axes, ends, emphasised)
    return figure


def _scale(axis: Axis, set_scale: Callable[[str], None], values: Sequence[float]) -> None:
    """Draw what spans a decade in logarithms, with plain numbers on its axis."""
    if min(values) <= 0 or max(values) < DECADE * min(values):
        return
    set_scale("log")
    wide = max(values) > 1000 * min(values)
    axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float, str]], emphasised: Collection[str]
) -> None:
    """Write names in a column beside the axes, at the heights of the ends but never overlapping."""
    names = sorted(ends, key=lambda name: ends[name][1])
    to_axes = axes.transData - axes.transAxes
    wanted = [float(to_axes.transform(ends[name][:2])[1]) for name in names]
    for name, height in zip(names, _apart(wanted), strict=True):
        x, y, colour = ends[name]
        axes.annotate(
            name,
            (x, y),
            (1.03, height),
            textcoords=axes.transAxes,
            va="center",
            fontsize=8,
            fontweight="bold" if name in emphasised else "normal",
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkB": 2},
        )


def _apart(heights: Sequence[float]) -> list[float]:
    """Return rising heights at least SPACING apart, in the middle of where they were wanted.

    What is too close forms a block, centred on the mean of its heights; blocks that meet are
    joined.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _reach(blocks[-2])[1] > _reach(blocks[-1])[0]:
            last = blocks.pop()
            blocks[-1] += last
    return [
        float(np.mean(block)) + SPACING * (i - (len(block) - 1) / 2)
        for block in blocks
        for i in range(len(block))
    ]


def _reach(block: Sequence[float]) -> tuple[float, float]:
    middle, half = float(np.mean(block)), SPACING * len(block) / 2
    return middle - half, middle + half
