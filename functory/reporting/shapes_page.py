"""The report of a run on shapes: its pictures, and one page that holds everything."""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr
from matplotlib.figure import Figure

from functory.reporting import charts, shapes
from functory.reporting.charts import Classifier
from functory.reporting.frame import encode, page
from functory.reporting.shapes import Completion, Examples, Neighbours, Paths, Samples

__all__ = ["ShapeReport", "pictures", "render"]


@dataclass(frozen=True, eq=False)
class ShapeReport:
    """What there is to tell of a run on shapes; what is None has no section."""

    title: str
    """Name of the run."""
    notice: str
    """What a reader must know about the data, shown on the page and in every picture, or ""."""
    licence: str
    """Licence of the data, with the attribution that it asks for."""
    table: list[tuple[str, str]]
    """The summary: labels and formatted values."""
    examples: Examples
    """A few test shapes, with their reconstructions."""
    history: xr.Dataset
    """Training of the base network: `step`, `loss` and held-out `iou` (or `psnr`). The attribute
    `long_name` of `loss` says what it is, if not the mean squared error."""
    prior_history: xr.Dataset
    """Training of the prior: `step` and held-out `log2_likelihood` (per latent, standardised)."""
    quality: xr.Dataset
    """`iou` (or `psnr`) and `split` of every shape."""
    provenance: list[tuple[str, str, str]]
    """Stages: name, reference of the version, and configuration as JSON text."""
    samples: Samples | None = None
    """Shapes drawn from the prior."""
    paths: Paths | None = None
    """Ways from one shape to another."""
    neighbours: Neighbours | None = None
    """New shapes beside the training shapes that are nearest to them."""
    completions: Sequence[Completion] | None = None
    """Shapes of which a part was known."""
    classifiers: Sequence[Classifier] | None = None
    """Classifiers of functions and of voxels; None where there is one class only."""


def pictures(report: ShapeReport) -> dict[str, bytes]:
    """Draw the pictures of a report, as PNG by name; the same report gives the same bytes."""
    examples = report.examples
    figures: dict[str, Figure] = {
        "reconstructions": shapes.comparison(examples),
        "quality": charts.quality(report.quality, "shape"),
        "training": charts.training(report.history, report.prior_history),
    }
    if examples.refined is not None:
        first = (examples.originals[0], examples.reconstructions[0], examples.refined)
        figures["refined"] = shapes.refinement(*first)
    if report.samples is not None:
        figures["samples"] = shapes.gallery(report.samples)
    if report.paths is not None:
        figures["paths"] = shapes.interpolation(report.paths)
    if report.neighbours is not None:
        figures["neighbours"] = shapes.neighbours(report.neighbours)
    if report.completions:
        figures["completions"] = shapes.completions(report.completions)
    if report.classifiers:
        figures["classifiers"] = charts.classification(report.classifiers)
    return encode(figures, report.notice)


def render(report: ShapeReport, pictures: dict[str, bytes]) -> str:
    """Return one HTML page that needs nothing else; it has the sections that have pictures."""
    return page("shapes.html", report, pictures)
