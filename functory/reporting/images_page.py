"""The report of a run on images: its pictures, and one page that holds everything."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr
from matplotlib.figure import Figure

from functory.reporting import charts, image_charts, images
from functory.reporting.charts import Classifier
from functory.reporting.frame import encode, page
from functory.reporting.image_charts import Attribute, Perturbation
from functory.reporting.images import (
    Completion,
    Examples,
    Forms,
    Neighbours,
    Paths,
    Refinement,
    Samples,
)

__all__ = ["ImageReport", "Likeness", "SplitQuality", "pictures", "render"]


@dataclass(frozen=True)
class SplitQuality:
    """How far functions agree with the images of one split."""

    split: str
    signals: int
    psnr: float
    """In dB."""
    ssim: float
    """Structural similarity, mean over images."""


@dataclass(frozen=True)
class Likeness:
    """How like test images other images are.

    All but the last are measured on features of a network trained on the training split.
    """

    name: str
    """Which images, such as "diffusion, 100 DDIM steps" or "training images"."""
    images: int
    """How many there are; they are compared with as many test images."""
    precision: float
    """Share of them that look like a test image (Kynkäänniemi et al. 2019)."""
    recall: float
    """Share of the test images that look like one of them."""
    frechet: float
    """Fréchet distance between normal distributions of both."""
    nearest: float | None = None
    """Distance in pixels from an image to the training image nearest to it, mean."""


@dataclass(frozen=True, eq=False)
class ImageReport:
    """What there is to tell of a run on images; what is None has no section."""

    title: str
    """Name of the run."""
    notice: str
    """What a reader must know about the data, shown on the page and in every picture, or ""."""
    licence: str
    """Licence of the data, with the attribution that it asks for."""
    table: list[tuple[str, str]]
    """The summary: labels and formatted values."""
    examples: Examples
    """Test images, with their reconstructions."""
    history: xr.Dataset
    """Training of the base network: `step`, `loss` and held-out `psnr` of each evaluation."""
    prior_history: xr.Dataset
    """Training of the flow: `step` and held-out `log2_likelihood` (per latent, standardised)."""
    quality: xr.Dataset
    """`psnr` (dB) and `split` of every image."""
    provenance: list[tuple[str, str, str]]
    """Stages: name, reference of the version, and configuration as JSON text."""
    diffusion_history: xr.Dataset | None = None
    """Training of the diffusion: `step`, `loss` and `held_out_loss` of each evaluation."""
    splits: Sequence[SplitQuality] | None = None
    """Quality of the functions, by split."""
    forms: Forms | None = None
    """Functions with a vector for each patch beside those with one vector."""
    samples: Sequence[Samples] | None = None
    """Images drawn from models, a gallery for each."""
    likeness: Sequence[Likeness] | None = None
    """How like test images new ones are, with training images as what can be reached."""
    neighbours: Neighbours | None = None
    """New images beside the training images that are nearest to them."""
    paths: Paths | None = None
    """Ways from one image to another."""
    refinements: Sequence[Refinement] | None = None
    """Functions at two resolutions, all at the same two."""
    completions: Sequence[Completion] | None = None
    """Images of which a part was seen."""
    attributes: Sequence[Attribute] | None = None
    """How well a classifier of modulations finds attributes."""
    classifiers: Sequence[Classifier] | None = None
    """Classifiers of functions and of pixels, where images have classes."""
    perturbation: Perturbation | None = None
    """What each unit of the network does to an image."""


def pictures(report: ImageReport) -> dict[str, bytes]:
    """Draw the pictures of a report, as PNG by name; the same report gives the same bytes.

    The galleries of `samples` are `samples`, `samples-2` and so on.
    """
    figures: dict[str, Figure] = {
        "reconstructions": images.comparison(report.examples),
        "quality": charts.quality(report.quality, "image"),
        "training": charts.training(report.history, report.prior_history),
    }
    for number, samples in enumerate(report.samples or [], start=1):
        figures["samples" if number == 1 else f"samples-{number}"] = images.gallery(samples)
    if report.diffusion_history is not None:
        figures["denoising"] = image_charts.denoising(report.diffusion_history)
    if report.forms is not None:
        figures["forms"] = images.forms(report.forms)
    if report.neighbours is not None:
        figures["neighbours"] = images.neighbours(report.neighbours)
    if report.paths is not None:
        figures["paths"] = images.interpolation(report.paths)
    if report.refinements:
        figures["refined"] = images.refinements(report.refinements)
    if report.completions:
        figures["completions"] = images.completions(report.completions)
    if report.attributes:
        figures["attributes"] = image_charts.attributes(report.attributes)
    if report.classifiers:
        figures["classifiers"] = charts.classification(report.classifiers)
    if report.perturbation is not None:
        figures["perturbation"] = image_charts.perturbation(report.perturbation)
    return encode(figures, report.notice)


def render(report: ImageReport, pictures: dict[str, bytes]) -> str:
    """Return one HTML page that needs nothing else; it has the sections that have pictures."""
    return page("images.html", report, pictures)
