"""Sheets: images in rows with names and numbers, each of their pixels on whole pixels of a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image

from functory.reporting.charts import WIDTH
from functory.reporting.frame import RESOLUTION

__all__ = ["Panel", "abreast", "in_bytes", "resized", "sheet"]

PAGE = round(WIDTH * RESOLUTION)  # pixels across
USUAL = 128  # pixels across an image where many stand side by side
GAP = 8  # pixels between two images
LETTER, LINE = 12, 23  # pixels, about: across a letter, down a line
SMALL, LARGE = 8, 9  # points, of text below images and beside them


@dataclass(frozen=True, eq=False)
class Panel:
    """One image of a sheet."""

    image: np.ndarray
    """(y, x, channel) with one channel or three; what is not in [0, 1] is clipped."""
    below: str = ""
    """What is written below it."""
    outline: tuple[slice, slice] | None = None
    """A part to draw a frame around: its rows and columns."""


class BelowNotice(LayoutEngine):
    """Makes a figure as much higher as its notice needs, so that what is below keeps its size."""

    _adjust_compatible = True
    _colorbar_gridspec = True

    def __init__(self, height: int) -> None:
        super().__init__()
        self.height = height

    def execute(self, fig: Figure) -> None:
        """Set the height of a figure and the place of its only axes; called before it is drawn."""
        notice = fig.get_suptitle()
        room = LINE * _lines(notice) + GAP if notice else 0
        total = self.height + room
        fig.set_size_inches(WIDTH, total / RESOLUTION)
        fig.axes[0].set_position((0, 0, 1, self.height / total))
        for text in fig.texts:
            text.set_y(1 - GAP / total)


def sheet(
    rows: Sequence[Sequence[Panel]],
    names: Sequence[str] = (),
    titles: Sequence[str] = (),
    widest: int = 192,
) -> Figure:
    """Draw images in rows with names, and in columns with titles.

    Parameters
    ----------
    rows
        Images, all as large as the first becomes in the largest whole multiple that fits.
    names
        One for each row, to its left.
    titles
        One for each column, above it.
    widest
        Pixels of the page that an image may take at most.
    """
    left, columns = _margin(names), max(map(len, rows))
    height, width = _size(rows[0][0].image, min((PAGE - left) // columns - GAP, widest))
    captions = [LINE * max(_lines(panel.below) for panel in row) for row in rows]
    top = LINE * max((_lines(title) for title in titles), default=0) + GAP
    tops = [top + i * (height + GAP) + sum(captions[:i]) for i in range(len(rows))]
    left += (PAGE - left - columns * (width + GAP)) // 2
    lefts = [left + i * (width + GAP) for i in range(columns)]
    canvas = np.full((tops[-1] + height + captions[-1] + GAP, PAGE, 3), 255, dtype=np.uint8)
    figure = Figure((WIDTH, len(canvas) / RESOLUTION), layout=BelowNotice(len(canvas)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for y, row in zip(tops, rows, strict=True):
        for x, panel in zip(lefts, row, strict=False):
            canvas[y : y + height, x : x + width] = resized(panel.image, height, width)
            _annotate(axes, panel, x, y, height, width)
    for y, name in zip(tops, names, strict=False):
        axes.text(left - 2 * GAP, y + height / 2, name, ha="right", va="center", fontsize=LARGE)
    for x, title in zip(lefts, titles, strict=False):
        axes.text(x + width / 2, top - GAP, title, ha="center", va="bottom", fontsize=LARGE)
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    return figure


def abreast(image: np.ndarray, names: Sequence[str] = ()) -> int:
    """Return how many images, of the size of this one, stand in a row where there are many."""
    _, width = _size(image, round(1.1 * USUAL))
    return (PAGE - _margin(names)) // (width + GAP)


def in_bytes(image: np.ndarray) -> np.ndarray:
    """Return an image in three channels of bytes, (y, x, 3)."""
    levels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an image in another size, in bytes: with its pixels as they are, or bicubic.

    Pixels stay pixels in a whole multiple, and where they are so large that none stands out.
    """
    rows, columns = image.shape[:2]
    whole = height % rows == 0 and width % columns == 0
    resampling = Image.Resampling
    how = resampling.NEAREST if whole or height >= 8 * rows else resampling.BICUBIC
    return np.asarray(Image.fromarray(in_bytes(image)).resize((width, height), how))


def _annotate(axes: Axes, panel: Panel, x: int, y: int, height: int, width: int) -> None:
    if panel.below:
        place = (x + width / 2, y + height + GAP / 2)
        axes.text(*place, panel.below, ha="center", va="top", fontsize=SMALL)
    if panel.outline is not None:
        scale = height / len(panel.image)
        down, across = panel.outline
        # the middle of the first pixel is at zero
        corner = (x + across.start * scale - 0.5, y + down.start * scale - 0.5)
        size = ((across.stop - across.start) * scale, (down.stop - down.start) * scale)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.5))


def _size(image: np.ndarray, widest: int) -> tuple[int, int]:
    """Return rows and columns of pixels that an image takes on the page."""
    height, width = image.shape[:2]
    larger = widest // width
    if larger:
        return height * larger, width * larger
    return round(height * widest / width), widest


def _margin(names: Sequence[str]) -> int:
    """Return pixels that names of rows take to the left of them."""
    letters = max((len(line) for name in names for line in name.split("\n")), default=0)
    return LETTER * letters + 3 * GAP


def _lines(text: str) -> int:
    return len(text.split("\n")) if text else 0
