"""A chart of later months beside those that the models were tested on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from functory.drift import limit
from functory.reporting.charts import BLUE, ORANGE, WIDTH, plain

__all__ = ["drift_chart"]

TITLES = {"psnr": "PSNR of the fits (dB)", "log2_likelihood": "log-likelihood (bits a latent)"}


def drift_chart(
    tested: Sequence[Mapping[str, Any]], later: Sequence[Mapping[str, Any]], level: float
) -> Figure:
    """Draw the means of the months that test and of later ones, with what counts as drift.

    Parameters
    ----------
    tested, later
        For each month its name (`month`, as 2024-03), and the mean of each measure.
    level
        The share of months that fall below the line if nothing has changed.
    """
    figure = Figure((WIDTH, 3.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        plain(axes)
        for rows, label, colour in ((tested, "test", ORANGE), (later, "new", BLUE)):
            times = np.array([row["month"] for row in rows], dtype="datetime64[M]")
            axes.plot(times, [row[name] for row in rows], ".", color=colour, label=label)
        below = limit(np.array([row[name] for row in tested]), level)
        axes.axhline(below, color="0.4", linestyle="--", label=f"{level:.2%} are below")
        axes.set_title(title, fontsize=10)
        axes.legend(frameon=False, fontsize=8)
        axes.tick_params(axis="x", rotation=30)
    return figure
