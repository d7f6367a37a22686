"""The report of a codec: its pictures, and one page that holds everything."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from functory.reporting import codec_charts
from functory.reporting.codec_charts import Quality
from functory.reporting.codec_examples import Coded, draw_coded
from functory.reporting.frame import encode, page

__all__ = ["SIGNALS", "CodecReport", "pictures", "render"]

SIGNALS = {
    "climate": "field",
    "image": "image",
    "audio": "recording",
    "volume": "volume",
    "shape": "shape",
}
"""What one signal is called."""

FILES = {
    "climate": ".nc",
    "image": ".png",
    "audio": ".flac",
    "volume": ".nii.gz",
    "shape": ".npy",
}


@dataclass(frozen=True, eq=False)
class CodecReport:
    """What there is to tell of a codec."""

    title: str
    """Name of the codec."""
    notice: str
    """What a reader must know about the data, shown on the page and in every picture, or ""."""
    licence: str
    """Licence of the data, with the attribution that it asks for."""
    table: list[tuple[str, str]]
    """The summary: labels and formatted values."""
    modality: str
    """What it codes: climate, image, audio, volume or shape."""
    units: str
    """Units of the data, in which errors are told; "" or "1" where they have none."""
    values: int
    """Numbers that a signal has: grid points times features."""
    qualities: Sequence[Quality]
    """From coarse to fine."""
    examples: Coded
    """A few test signals."""
    sequence: bool
    """Whether signals follow each other in time, and are coded by those before."""
    provenance: list[tuple[str, str, str]]
    """Stages: name, reference of the version, and configuration as JSON text."""

    @property
    def signal(self) -> str:
        """What one signal is called."""
        return SIGNALS[self.modality]

    @property
    def suffix(self) -> str:
        """How the name of a file ends that can be coded."""
        return FILES[self.modality]


def pictures(report: CodecReport) -> dict[str, bytes]:
    """Draw the pictures of a report, as PNG by name; the same report gives the same bytes.

    The examples are `reconstructions`, `reconstructions-2` and so on.
    """
    figures: dict[str, Figure] = {
        "rates": codec_charts.rates(report.qualities, report.values, report.signal),
        "bits": codec_charts.bits(report.qualities, report.signal),
    }
    for number, figure in enumerate(draw_coded(report.examples), start=1):
        figures["reconstructions" if number == 1 else f"reconstructions-{number}"] = figure
    return encode(figures, report.notice)


def render(report: CodecReport, pictures: dict[str, bytes]) -> str:
    """Return one HTML page that needs nothing else."""
    return page("codec.html", report, pictures)
