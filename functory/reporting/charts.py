"""Charts of training, of quality, of rates and of classifiers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, PercentFormatter

__all__ = ["Classifier", "classification", "plain", "quality", "rates", "training"]


@dataclass(frozen=True)
class Classifier:
    """How well a classifier of a certain size does."""

    name: str
    """What it is and sees; those of one name, in several sizes, are joined by a line."""
    parameters: int
    """How many it has."""
    accuracy: float
    """Share of the test shapes whose class it finds, mean over repetitions."""
    deviation: float
    """Standard deviation of that share over repetitions."""


class Measure(NamedTuple):
    """How good a representation is: the variable, and how to name and round it."""

    name: str
    title: str
    unit: str
    decimals: int


WIDTH = 9.6  # inches, as of the maps
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe and Ito: for every kind of eye
SPLITS = {"train": BLUE, "validation": GREEN, "test": ORANGE}
MEASURES = (Measure("iou", "IoU", "", 3), Measure("psnr", "PSNR", "dB", 1))  # the first is better
INDEPENDENT = math.log2(2 * math.pi * math.e) / 2  # bits per latent of a standard normal


def training(history: xr.Dataset, prior: xr.Dataset) -> Figure:
    """Draw the loss and the held-out quality of the base network, and the prior's code length."""
    figure = Figure((WIDTH, 3.2), layout="constrained")
    loss, held_out, bits = figure.subplots(1, 3)
    for axes in (loss, held_out, bits):
        plain(axes)
        axes.set_xlabel("step")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    loss.semilogy(history["step"], history["loss"], ".-", color=BLUE)
    loss.yaxis.set_major_formatter(LogFormatter())
    loss.yaxis.set_minor_formatter(LogFormatter())
    loss.set_ylabel(history["loss"].attrs.get("long_name", "mean squared error"))
    loss.set_title("Base network: training loss", fontsize=10)
    measure = _measure(history)
    held_out.plot(history["step"], history[measure.name], ".-", color=GREEN)
    held_out.set_ylabel(measure.unit or measure.title)
    held_out.set_title(f"Base network: held-out {measure.title}", fontsize=10)
    bits.plot(prior["step"], -prior["log2_likelihood"], ".-", color=ORANGE)
    bits.axhline(INDEPENDENT, color="0.4", linestyle="--", label="independent normal")
    bits.legend(frameon=False, fontsize=8)
    bits.set_ylabel("bits per latent")
    bits.set_title("Flow prior: held-out code length", fontsize=10)
    return figure


def quality(quality: xr.Dataset, signal: str = "field") -> Figure:
    """Draw how the PSNR, or the IoU, of the signals of each split is distributed."""
    measure = _measure(quality)
    split, reached = quality["split"].values, quality[measure.name].values
    present = [name for name in SPLITS if (split == name).any()]
    figure = Figure((WIDTH, 1.2 + 0.6 * len(present)), layout="constrained")
    axes = plain(figure.subplots())
    labels = []
    for height, name in enumerate(present):
        values = reached[split == name]
        finite = values[np.isfinite(values)]
        exact = f", {len(values) - len(finite):,} exact" if len(finite) < len(values) else ""
        labels.append(f"{name}\n{len(values):,} {signal}s{exact}")
        if not len(finite):
            continue
        outliers = {"marker": ".", "markersize": 5, "markeredgecolor": "none", "alpha": 0.5}
        axes.boxplot(
            [finite],
            positions=[height],
            widths=0.5,
            whis=(5, 95),
            orientation="horizontal",
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": SPLITS[name], "alpha": 0.5},
            medianprops={"color": "black", "linewidth": 1.5},
            flierprops=outliers | {"markerfacecolor": SPLITS[name]},
        )
        middle = np.median(finite)
        axes.text(middle, height - 0.3, f"{middle:.{measure.decimals}f}", ha="center", fontsize=8)
    axes.set_yticks(range(len(present)), labels)
    axes.set_ylim(len(present) - 0.5, -0.6)
    unit = f" ({measure.unit})" if measure.unit else ""
    article = "an" if signal.startswith(tuple("aeiou")) else "a"
    axes.set_xlabel(f"{measure.title} of {article} {signal}{unit}")
    return figure


def rates(rates: xr.Dataset) -> Figure:
    """Draw the PSNR of quantised modulations against the bits that a field then takes."""
    figure = Figure((WIDTH, 4.2), layout="constrained")
    axes = plain(figure.subplots())
    null = rates.sel(representation="principal components", quantiser="per latent")
    label = "as many principal components"
    axes.plot(null["factorised_bits"], null["psnr"], "x-", color="0.6", label=label)
    rates = rates.sel(representation="functions")
    for name, colour, marker in (("per data set", ORANGE, "s"), ("per latent", BLUE, "o")):
        curve = rates.sel(quantiser=name)
        x, y = curve["factorised_bits"].values, curve["psnr"].values
        axes.plot(x, y, color=colour, marker=marker, markersize=12, label=f"one interval {name}")
        for bits, at, height in zip(rates["bits"].values, x, y, strict=True):
            if np.isfinite(height):
                place: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
                axes.text(at, height, f"{bits}", fontsize=8, color="white", **place)
    width, flow = rates.attrs["flow_bit_width"], rates.attrs["flow_bits"]
    same = rates.sel(quantiser="per latent", bits=width)
    reached = float(same["psnr"])
    axes.plot([float(same["factorised_bits"]), flow], [reached] * 2, color=GREEN, linestyle=":")
    label = f"{width} bits per latent, under the flow"
    axes.plot(flow, reached, "*", markersize=13, color=GREEN, label=label)
    unquantised = rates.attrs["psnr_unquantised"]
    axes.axhline(unquantised, color="0.4", linestyle="--", label="not quantised")
    axes.set(xlabel="bits per field", ylabel="PSNR of the test fields (dB)")
    axes.margins(y=0.1)
    axes.legend(frameon=False, loc="best")
    points = rates.attrs["points"]
    above = axes.secondary_xaxis("top", (lambda x: x / points, lambda x: x * points))
    above.set_xlabel("bits per grid point")
    return figure


def classification(classifiers: Sequence[Classifier]) -> Figure:
    """Draw test accuracies of classifiers against their sizes."""
    figure = Figure((WIDTH, 3.6), layout="constrained")
    axes = plain(figure.subplots())
    styles = zip(cycle((GREEN, BLUE, ORANGE)), cycle("osDv"), strict=True)
    names = dict.fromkeys(classifier.name for classifier in classifiers)
    for name, (colour, marker) in zip(names, styles, strict=False):
        sizes = sorted((c for c in classifiers if c.name == name), key=lambda c: c.parameters)
        axes.errorbar(
            [c.parameters for c in sizes],
            [c.accuracy for c in sizes],
            [c.deviation for c in sizes],
            label=name,
            color=colour,
            marker=marker,
            capsize=4,
        )
    axes.set(xscale="log", xlabel="parameters of the classifier", ylabel="test accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.margins(x=0.08, y=0.15)
    axes.legend(frameon=False, loc="best")
    return figure


def plain(axes: Axes) -> Axes:
    """Return axes without the upper and right spines, with a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    return axes


def _measure(data: xr.Dataset) -> Measure:
    """Return the measure that a data set holds."""
    return next(measure for measure in MEASURES if measure.name in data)
