"""Charts of runs on images: attributes, the training of a diffusion, and perturbations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from functory.reporting.charts import BLUE, ORANGE, WIDTH, plain
from functory.reporting.sheets import in_bytes

__all__ = ["Attribute", "Perturbation", "attributes", "denoising", "perturbation"]

LEVELS = 255  # grey levels of a byte: what an error is told in
SHOWN = 2  # images whose changes are drawn


@dataclass(frozen=True)
class Attribute:
    """How well one attribute of images is found."""

    name: str
    accuracy: float
    """Share of the test images of which it is told rightly whether they have it."""
    deviation: float
    """Standard deviation of that share over repetitions."""
    majority: float
    """Share that would be right by always saying what is more frequent."""


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What each unit does to an image: its shift was changed a little (thesis, figure 5.15)."""

    amount: float
    """What was added to a shift."""
    layers: np.ndarray
    """Layer of each unit, (unit,), from 0."""
    rmse: np.ndarray
    """Root mean square change of pixels in [0, 1] over images, (unit,)."""
    images: np.ndarray
    """Unperturbed, (image, y, x, channel)."""
    chosen: np.ndarray
    """Indices of the units whose changes are drawn, a few of each layer."""
    differences: np.ndarray
    """Perturbed minus unperturbed, (chosen, image, y, x, channel)."""


def attributes(attributes: Sequence[Attribute]) -> Figure:
    """Draw accuracies as bars, and what is right without looking as ticks, the best gain first."""
    ordered = sorted(attributes, key=lambda a: a.majority - a.accuracy)
    figure = Figure((WIDTH, 1.3 + 0.26 * len(ordered)), layout="constrained")
    axes = plain(figure.subplots())
    places = np.arange(len(ordered))
    accuracy, majority = (
        np.array([getattr(attribute, name) for attribute in ordered])
        for name in ("accuracy", "majority")
    )
    bars: dict[str, Any] = {
        "xerr": [attribute.deviation for attribute in ordered],
        "error_kw": {"capsize": 2, "linewidth": 1},
        "color": BLUE,
        "alpha": 0.6,
        "height": 0.6,
    }
    axes.barh(places, accuracy, label="classifier on modulations", **bars)
    ends = (places - 0.4, places + 0.4)
    axes.vlines(majority, *ends, ORANGE, linewidth=2, label="always the more frequent answer")
    axes.set_yticks(places, [attribute.name for attribute in ordered])
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xlim(min(0.5, majority.min(), accuracy.min()), 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("test images of which it is told rightly")
    axes.grid(visible=False, axis="y")
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return figure


def denoising(history: xr.Dataset) -> Figure:
    """Draw the loss of a diffusion in training and on held-out modulations."""
    figure = Figure((WIDTH, 2.8), layout="constrained")
    axes = plain(figure.subplots())
    axes.plot(history["step"], history["loss"], ".-", color=BLUE, label="training", alpha=0.6)
    axes.plot(history["step"], history["held_out_loss"], ".-", color=ORANGE, label="held-out")
    axes.set(yscale="log", xlabel="step", ylabel="mean squared error")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(frameon=False, fontsize=8)
    return figure


def perturbation(perturbation: Perturbation) -> Figure:
    """Draw how much each unit changes images, and maps of the changes of a few units a layer."""
    layers = np.unique(perturbation.layers)
    figure = Figure((WIDTH, 1.0 + 0.95 * (1 + len(layers))), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 1.9))
    _magnitudes(parts[0].subplots(), perturbation, layers)
    _changes(parts[1], perturbation, layers)
    return figure


def _magnitudes(axes: Axes, perturbation: Perturbation, layers: np.ndarray) -> None:
    """Draw the change by each unit, coloured by layer, with rings around the chosen ones."""
    plain(axes)
    levels = LEVELS * perturbation.rmse
    for layer, colour in zip(layers, _colours(len(layers)), strict=True):
        units = np.flatnonzero(perturbation.layers == layer)
        axes.plot(units, levels[units], ".", color=colour, markersize=4, label=f"layer {layer}")
    chosen = perturbation.chosen
    axes.plot(chosen, levels[chosen], "ok", markersize=8, fillstyle="none", label="on the right")
    axes.set(xlabel="index of the shift", ylabel="root mean square change (of 255 levels)")
    axes.set_title(f"every shift, changed by {perturbation.amount:g}", fontsize=10)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.legend(fontsize=8)


def _changes(figure: SubFigure, perturbation: Perturbation, layers: np.ndarray) -> None:
    """Draw maps of changes: a row for each layer, and the same units for each image."""
    images = perturbation.images[:SHOWN]
    of_layers = [np.flatnonzero(perturbation.layers[perturbation.chosen] == i) for i in layers]
    columns = max(map(len, of_layers))
    grid = figure.subplots(1 + len(layers), len(images) * columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for i, image in enumerate(images):
        grid[0, i * columns].imshow(in_bytes(image))
    named = zip(grid[:, 0], ["images", *[f"layer {layer}" for layer in layers]], strict=True)
    for axes, name in named:
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for row, positions in zip(grid[1:], of_layers, strict=True):
        for column, position in enumerate(positions):
            changes = LEVELS * perturbation.differences[position, : len(images)].mean(-1)
            most = abs(changes).max() or 1.0
            for i, change in enumerate(changes):
                axes = row[i * columns + column]
                axes.imshow(change, cmap="RdBu_r", vmin=-most, vmax=most)
                axes.set_xlabel(f"±{most:.2g}", fontsize=8)


def _colours(layers: int) -> np.ndarray:
    return colormaps["viridis"](np.linspace(0, 0.9, layers))
