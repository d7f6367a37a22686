"""Pictures of images: test images, new ones, ways between two, enlargements and completions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from functory.reporting.sheets import Panel, abreast, in_bytes, sheet

__all__ = [
    "Completion",
    "Examples",
    "Forms",
    "Neighbours",
    "Paths",
    "Refinement",
    "Samples",
    "comparison",
    "completions",
    "forms",
    "gallery",
    "interpolation",
    "neighbours",
    "refinements",
]

ROWS = 6  # of a gallery: the picture stays below a megabyte
LARGER, LARGEST = 256, 400  # pixels across an image that is to be looked at closely
AMPLIFIED = (1, 2, 5, 10, 20, 50, 100)  # times an error may be
ORDINALS = ("nearest", "second\nnearest", "third\nnearest")


@dataclass(frozen=True, eq=False)
class Examples:
    """Test images and what their functions give.

    Here and below, images are (y, x, channel) with one channel or three; values outside [0, 1] are
    clipped.
    """

    originals: np.ndarray
    """(sample, y, x, channel)"""
    reconstructions: np.ndarray
    """(sample, y, x, channel)"""
    psnr: Sequence[float]
    """Of each image, in dB."""
    ssim: Sequence[float]
    """Structural similarity of each image and its reconstruction."""


@dataclass(frozen=True, eq=False)
class Forms:
    """The same test images as functions of two forms; compare those with as many numbers."""

    numbers: tuple[int, int]
    """Modulations of an image: spatial, whole."""
    originals: np.ndarray
    """(sample, y, x, channel)"""
    spatial: np.ndarray
    """From a vector of modulations for each patch, (sample, y, x, channel)."""
    whole: np.ndarray
    """From one vector of modulations for the whole image, (sample, y, x, channel)."""
    psnr: Sequence[tuple[float, float]]
    """Of each image, in dB: spatial, whole."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Images that were drawn from a model, without a choice among them."""

    model: str
    """The model and how it was drawn from, such as "diffusion, 100 DDIM steps"."""
    images: np.ndarray
    """(sample, y, x, channel)"""


@dataclass(frozen=True, eq=False)
class Paths:
    """Ways from one test image to another, in equal steps, both ends included."""

    modulation: np.ndarray
    """Straight between the modulations, (step, y, x, channel)."""
    latent: np.ndarray | None = None
    """Straight in the base space of the flow, (step, y, x, channel)."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """New images, and the images of the training split that are nearest to each."""

    model: str
    """What the new images were drawn from."""
    samples: np.ndarray
    """(sample, y, x, channel)"""
    nearest: np.ndarray
    """(sample, up to three, y, x, channel), the nearest first."""
    distance: np.ndarray
    """Between the modulations of a sample and of its neighbour, (sample, up to three)."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """One function at two resolutions, the finer a whole multiple of the coarser."""

    coarse: np.ndarray
    """At the points of the data, (y, x, channel)."""
    fine: np.ndarray
    """Between them, (y, x, channel)."""


@dataclass(frozen=True, eq=False)
class Completion:
    """An image of which a part was seen, and what can be made of that."""

    label: str
    """Which part was seen, in a few words."""
    seen: np.ndarray
    """True in the pixels that were seen, (y, x)."""
    original: np.ndarray
    with_prior: np.ndarray
    """The function that agrees with the seen part and is likely under the prior."""
    without_prior: np.ndarray
    """The function that agrees with the seen part, and nothing more."""
    psnr: tuple[float, float]
    """In the unseen part, in dB: with the prior, without."""


def comparison(examples: Examples) -> Figure:
    """Draw test images, below them what their functions give, and the errors, amplified."""
    errors = abs(np.clip(examples.reconstructions, 0, 1) - np.clip(examples.originals, 0, 1))
    errors = errors.mean(-1)
    times = max(a for a in AMPLIFIED if a == 1 or a * np.quantile(errors, 0.99) <= 1)
    names = ["original", "reconstruction", f"error, {times}×" if times > 1 else "error"]
    count = abreast(examples.originals[0], names)
    measures = zip(examples.psnr, examples.ssim, strict=True)
    below = [f"{psnr:.1f} dB\nSSIM {ssim:.3f}" for psnr, ssim in measures]
    brightness = colormaps["magma"](times * errors[:count])[..., :3]
    rows = [
        [Panel(image) for image in examples.originals[:count]],
        [Panel(image) for image in examples.reconstructions[:count]],
        [Panel(image, text) for image, text in zip(brightness, below, strict=False)],
    ]
    return sheet(rows, names)


def forms(forms: Forms) -> Figure:
    """Draw test images, and below them what their functions of each form give."""
    names = ["original", "a vector for\neach patch", "one vector for\nthe image"]
    count = abreast(forms.originals[0], names)
    psnr = np.asarray(forms.psnr)[:count].T
    rows = [[Panel(image) for image in forms.originals[:count]]]
    for images, reached in zip((forms.spatial, forms.whole), psnr, strict=True):
        rows.append([Panel(i, f"{dB:.1f} dB") for i, dB in zip(images, reached, strict=False)])
    return sheet(rows, names)


def gallery(samples: Samples) -> Figure:
    """Draw samples of one model side by side, as many as fit six rows."""
    count = abreast(samples.images[0])
    panels = [Panel(image) for image in samples.images[: ROWS * count]]
    return sheet([panels[i : i + count] for i in range(0, len(panels), count)])


def interpolation(paths: Paths) -> Figure:
    """Draw ways from one test image to another, in as many steps as are given."""
    ways = {"between\nmodulations": paths.modulation}
    if paths.latent is not None:
        ways["through the\nflow's base"] = paths.latent
    steps = len(paths.modulation) - 1
    titles = ["one image", *[f"{step / steps:.0%}" for step in range(1, steps)], "the other"]
    return sheet([[Panel(image) for image in way] for way in ways.values()], list(ways), titles)


def neighbours(neighbours: Neighbours) -> Figure:
    """Draw new images, and below each the training images that are nearest to it."""
    names = ["sample", *ORDINALS][: 1 + neighbours.nearest.shape[1]]
    count = abreast(neighbours.samples[0], names)
    rows = [[Panel(image) for image in neighbours.samples[:count]]]
    for rank in range(len(names) - 1):
        near = zip(neighbours.nearest[:count, rank], neighbours.distance[:, rank], strict=False)
        rows.append([Panel(image, f"{distance:#.3g}".rstrip(".")) for image, distance in near])
    return sheet(rows, names)


def refinements(refinements: Sequence[Refinement]) -> Figure:
    """Draw functions at their data's points, that enlarged, and between the points; and parts."""
    rows, names = [], []
    for refinement in refinements:
        coarse, fine = refinement.coarse, refinement.fine
        part, factor = _strongest_contrast(coarse), len(fine) // len(coarse)
        y, x = (slice(side.start * factor, side.stop * factor) for side in part)
        images = (coarse, _bicubic(coarse, factor), fine)
        parts = (part, (y, x), (y, x))
        rows.append([Panel(i, outline=where) for i, where in zip(images, parts, strict=True)])
        rows.append([Panel(i[where]) for i, where in zip(images, parts, strict=True)])
        names += ["whole", "part"]
    grids = [" × ".join(map(str, image.shape[:2])) for image in images]
    whats = ("pixels", "bicubic", "function")
    titles = [f"{what}, {grid}" for what, grid in zip(whats, grids, strict=True)]
    return sheet(rows, names, titles, widest=LARGEST)


def completions(completions: Sequence[Completion]) -> Figure:
    """Draw images in part, what was made of each, and what it is; what was hidden is hatched."""
    rows = []
    for image in completions:
        psnr = [f"{dB:.1f} dB" for dB in image.psnr]
        rows.append(
            [
                Panel(np.where(image.seen[..., None], image.original, _hatched(image.seen))),
                Panel(image.with_prior, psnr[0]),
                Panel(image.without_prior, psnr[1]),
                Panel(image.original),
            ]
        )
    titles = ["seen", "with the prior", "without it", "original"]
    return sheet(rows, [image.label for image in completions], titles, widest=LARGER)


def _bicubic(image: np.ndarray, factor: int) -> np.ndarray:
    """Return an image enlarged by bicubic interpolation, as viewers of images do it."""
    height, width = image.shape[:2]
    levels = Image.fromarray(in_bytes(image))
    enlarged = levels.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return np.asarray(enlarged, dtype=np.float32) / 255


def _strongest_contrast(image: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of the part, a quarter as wide and high, with the steepest edges."""
    grey = np.clip(image, 0, 1).mean(-1)
    edges = np.square(np.gradient(grey)).sum(0)
    height, width = (max(1, size // 4) for size in grey.shape)
    totals = sliding_window_view(edges, (height, width)).sum((-2, -1))
    top, left = (int(i) for i in np.unravel_index(totals.argmax(), totals.shape))
    return slice(top, top + height), slice(left, left + width)


def _hatched(seen: np.ndarray) -> np.ndarray:
    """Return diagonal stripes in two greys, (y, x, 1)."""
    y, x = np.indices(seen.shape)
    stripe = max(2, len(seen) // 32)
    return np.where((x + y) // stripe % 2, 0.62, 0.78)[..., None]
