"""The report of a run: its pictures, and one page that holds everything."""

import base64
import io
import json
from dataclasses import dataclass
from importlib.resources import files
from textwrap import fill

import xarray as xr
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from functory.reporting import charts, maps

__all__ = ["Report", "pictures", "render"]

RESOLUTION = 160  # dots per inch: sharp on a page that is 60 rem wide, and small enough to embed


@dataclass(frozen=True, eq=False)
class Report:
    """What there is to tell of a run.

    Fields are (sample, latitude, longitude), in the units of their attributes.
    """

    title: str
    """Name of the run."""
    notice: str
    """What a reader must know about the data, shown on the page and in every picture, or ""."""
    licence: str
    """Licence of the data, with the attribution that it asks for."""
    table: list[tuple[str, str]]
    """The summary: labels and formatted values."""
    originals: xr.DataArray
    """A few test fields, with their `time`."""
    reconstructions: xr.DataArray
    """The same fields, as their functions give them."""
    history: xr.Dataset
    """Training of the base network: `step`, `loss` and held-out `psnr` of each evaluation."""
    quality: xr.Dataset
    """`psnr` (dB) and `split` of every signal."""
    rates: xr.Dataset
    """`psnr` and `factorised_bits` (per field) by `quantiser` ("per data set", "per latent") and
    `bits`; attributes `flow_bits` (per field) at `flow_bit_width` bits per latent, `points` of a
    field, and `psnr_unquantised`."""
    prior_history: xr.Dataset
    """Training of the prior: `step` and held-out `log2_likelihood` (per latent, standardised)."""
    samples: xr.DataArray
    """Fields drawn from the prior, with the sampling `temperature` of each."""
    refined: xr.DataArray
    """One field (latitude, longitude), decoded on a finer grid."""
    coarse: xr.DataArray
    """The original of that field, on its own grid."""
    provenance: list[tuple[str, str, str]]
    """Stages: name, reference of the version, and configuration as JSON text."""


def pictures(report: Report) -> dict[str, bytes]:
    """Draw the pictures of a report, as PNG by name; the same report gives the same bytes."""
    figures = {
        "reconstructions": maps.comparison(report.originals, report.reconstructions),
        "refined": maps.refinement(report.coarse, report.refined),
        "quality": charts.quality(report.quality),
        "training": charts.training(report.history, report.prior_history),
        "rates": charts.rates(report.rates),
        "samples": maps.gallery(report.samples),
    }
    return {name: _png(figure, report.notice) for name, figure in figures.items()}


def render(report: Report, pictures: dict[str, bytes]) -> str:
    """Return one HTML page that needs nothing else: pictures, styles and provenance are in it."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["indented"] = lambda text: json.dumps(
        json.loads(text), indent=2, ensure_ascii=False
    )
    template = environment.from_string((files(__package__) / "page.html").read_text("utf-8"))
    sources = {
        name: "data:image/png;base64," + base64.b64encode(png).decode()
        for name, png in pictures.items()
    }
    return template.render(report=report, pictures=sources)


def _png(figure: Figure, notice: str) -> bytes:
    if notice:
        style = {"x": 0.01, "ha": "left", "fontsize": 9, "weight": "bold", "color": "#8a3a0c"}
        figure.suptitle(fill(notice, 110), parse_math=False, **style)
    stream = io.BytesIO()
    # the version of the library in the file would make each upgrade a new picture
    figure.savefig(stream, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return stream.getvalue()
