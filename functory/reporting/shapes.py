"""Pictures of shapes: test shapes, new ones, ways between two, and completions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from functory.reporting.charts import BLUE, GREEN, ORANGE, WIDTH
from functory.reporting.surfaces import GREY, draw, surface

__all__ = [
    "Completion",
    "Examples",
    "Neighbours",
    "Paths",
    "Samples",
    "comparison",
    "completions",
    "gallery",
    "interpolation",
    "neighbours",
    "refinement",
]

DATA, FITTED, NEW = BLUE, GREEN, ORANGE  # a shape of the data, its function, one of the prior
SHEET = 1536  # pixels across a page: more than these would be drawn in vain
COLUMNS = 8  # at most: smaller shapes could not be told apart
ORDINALS = ("nearest", "second nearest", "third nearest")


@dataclass(frozen=True, eq=False)
class Examples:
    """Test shapes and what their functions give.

    Here and below, shapes are fields (z, y, x) whose surface is at 0.5.
    """

    labels: Sequence[str]
    """What each is, such as its class."""
    originals: np.ndarray
    """(sample, z, y, x)"""
    reconstructions: np.ndarray
    """(sample, z, y, x)"""
    iou: Sequence[float]
    """Intersection over union of each shape and its reconstruction."""
    refined: np.ndarray | None = None
    """The first shape's function on a finer grid, (z, y, x)."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Shapes that were drawn from the prior, without a choice among them."""

    groups: Sequence[str]
    """Class and sampling temperature of each, in words."""
    fields: np.ndarray
    """(sample, z, y, x)"""


@dataclass(frozen=True, eq=False)
class Paths:
    """Two ways from one shape to another, in equal steps, both ends included."""

    latent: np.ndarray
    """Straight in the latent space of the flow, (step, z, y, x)."""
    modulation: np.ndarray
    """Straight between the modulations, (step, z, y, x)."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """New shapes, and the shapes of the training split that are nearest to each."""

    samples: np.ndarray
    """(sample, z, y, x)"""
    nearest: np.ndarray
    """(sample, up to three, z, y, x), the nearest first."""
    iou: np.ndarray
    """Intersection over union of a sample and its neighbour, (sample, up to three)."""


@dataclass(frozen=True, eq=False)
class Completion:
    """A shape of which a part was known, and what can be made of that; fields are (z, y, x)."""

    label: str
    """Which part was known, in a few words."""
    known: np.ndarray
    """True in the voxels whose occupancy was known."""
    original: np.ndarray
    with_prior: np.ndarray
    """The function that agrees with the known part and is likely under the prior."""
    without_prior: np.ndarray
    """The function that agrees with the known part, and nothing more."""
    mean: np.ndarray
    """The mean shape of the training split, which knows nothing of this one."""
    iou: tuple[float, float, float]
    """Intersection over union in the unknown part: with the prior, without, of the mean shape."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One shape of a figure."""

    field: np.ndarray
    colour: str
    below: str = ""
    known: np.ndarray | None = None


def comparison(examples: Examples) -> Figure:
    """Draw up to eight test shapes, and below each what its function gives."""
    count = min(len(examples.originals), COLUMNS)
    fitted = zip(examples.reconstructions[:count], examples.iou[:count], strict=True)
    rows = [
        [Panel(field, DATA) for field in examples.originals[:count]],
        [Panel(field, FITTED, f"IoU {iou:.3f}") for field, iou in fitted],
    ]
    return _sheet(rows, ["original", "reconstruction"], list(examples.labels[:count]))


def refinement(original: np.ndarray, reconstruction: np.ndarray, refined: np.ndarray) -> Figure:
    """Draw a shape on its grid, and its function on the same and on a finer one."""
    fields = {"original": original, "decoded": reconstruction, "decoded finer": refined}
    titles = [f"{name}, {_grid(field)}" for name, field in fields.items()]
    colours = (DATA, FITTED, FITTED)
    panels = [Panel(f, colour) for f, colour in zip(fields.values(), colours, strict=True)]
    return _sheet([panels], [""], titles, pixels=600)


def gallery(samples: Samples) -> Figure:
    """Draw samples of the prior, one row for each group, up to eight in each."""
    groups: dict[str, list[Panel]] = {}
    for name, field in zip(samples.groups, samples.fields, strict=True):
        groups.setdefault(name, []).append(Panel(field, NEW))
    return _sheet([panels[:COLUMNS] for panels in groups.values()], list(groups))


def interpolation(paths: Paths) -> Figure:
    """Draw two ways from one shape to another, in as many steps as are given."""
    rows = []
    for path in (paths.latent, paths.modulation):
        inner = [Panel(field, NEW) for field in path[1:-1]]
        rows.append([Panel(path[0], FITTED), *inner, Panel(path[-1], FITTED)])
    steps = len(paths.latent) - 1
    titles = ["one shape", *(f"{step / steps:.0%}" for step in range(1, steps)), "the other"]
    return _sheet(rows, ["latent space\nof the flow", "modulations"], titles)


def neighbours(neighbours: Neighbours) -> Figure:
    """Draw up to eight new shapes, and below each the training shapes that are nearest to it."""
    rows = [[Panel(field, NEW) for field in neighbours.samples[:COLUMNS]]]
    for rank in range(min(neighbours.nearest.shape[1], len(ORDINALS))):
        near = zip(neighbours.nearest[:COLUMNS, rank], neighbours.iou[:COLUMNS, rank], strict=True)
        rows.append([Panel(field, DATA, f"IoU {iou:.2f}") for field, iou in near])
    return _sheet(rows, ["new shape", *ORDINALS[: len(rows) - 1]])


def completions(completions: Sequence[Completion]) -> Figure:
    """Draw shapes in part, what was made of each, and what it is; grey is what was known."""
    rows = []
    for shape in completions:
        part = np.where(shape.known, shape.original, np.nan)
        scores = [f"IoU {iou:.2f}" for iou in shape.iou]
        rows.append(
            [
                Panel(part, GREY),
                Panel(shape.with_prior, FITTED, scores[0], shape.known),
                Panel(shape.without_prior, FITTED, scores[1], shape.known),
                Panel(shape.mean, DATA, scores[2]),
                Panel(shape.original, DATA, "", shape.known),
            ]
        )
    titles = ["known", "with the prior", "without it", "mean shape", "original"]
    return _sheet(rows, [shape.label for shape in completions], titles)


def _sheet(
    rows: Sequence[Sequence[Panel]],
    names: Sequence[str],
    titles: Sequence[str] = (),
    pixels: int = 288,
) -> Figure:
    """Draw shapes in rows with names, and columns with titles; all have one scale."""
    pixels = min(pixels, SHEET // max(len(row) for row in rows))
    drawn = [[draw(surface(p.field), p.colour, pixels, p.known) for p in row] for row in rows]
    box = _box([picture for row in drawn for picture in row])
    columns = max(len(row) for row in rows)
    letters = max(len(line) for name in names for line in name.split("\n"))
    width = (WIDTH - 0.2 - 0.085 * letters) / columns - 0.08  # inches, of one shape
    height = width * (box[0].stop - box[0].start) / (box[1].stop - box[1].start)
    below = sum(any(panel.below for panel in row) for row in rows)
    size = (WIDTH, len(rows) * (height + 0.08) + 0.2 * below + (0.55 if titles else 0.3))
    figure = Figure(size, layout="compressed")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for panels, pictures, line, name in zip(grid, drawn, rows, names, strict=True):
        for axes, picture, panel in zip(panels, pictures, line, strict=False):
            axes.imshow(picture[box])
            axes.set_xlabel(panel.below, fontsize=9)
        panels[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    for axes, title in zip(grid[0], titles, strict=False):
        axes.set_title(title, fontsize=10)
    return figure


def _box(pictures: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Return rows and columns that hold something in any picture, with a small margin."""
    drawn = np.any([(picture < 255).any(-1) for picture in pictures], axis=0)
    margin = len(drawn) // 40
    bounds = []
    for used in (drawn.any(1), drawn.any(0)):
        (places,) = used.nonzero()
        bounds.append(slice(max(places[0] - margin, 0), places[-1] + margin + 1))
    return bounds[0], bounds[1]


def _grid(field: np.ndarray) -> str:
    return " × ".join(str(size) for size in field.shape)
