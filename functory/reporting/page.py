"""The report of a run: its pictures, and one page that holds everything."""

from dataclasses import dataclass

import xarray as xr

from functory.reporting import charts, maps
from functory.reporting.frame import encode, page

__all__ = ["Report", "pictures", "render"]


@dataclass(frozen=True, eq=False)
class Report:
    """What there is to tell of a run; what is None has no section.

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
    completions: maps.Completions | None = None
    """Test fields of which a part was hidden."""


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
    if report.completions is not None:
        figures["completions"] = maps.completions(report.completions)
    return encode(figures, report.notice)


def render(report: Report, pictures: dict[str, bytes]) -> str:
    """Return one HTML page that needs nothing else; it has the sections that have pictures."""
    return page("page.html", report, pictures)
