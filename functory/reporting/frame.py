"""What the pages of all reports share: pictures as bytes, and one file that holds everything."""

import base64
import io
import json
from collections.abc import Mapping
from textwrap import fill

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

__all__ = ["encode", "page"]

RESOLUTION = 160  # dots per inch: sharp on a page that is 60 rem wide, and small enough to embed


def encode(figures: Mapping[str, Figure], notice: str) -> dict[str, bytes]:
    """Return figures as PNG, under a notice; the same figures give the same bytes."""
    return {name: _png(figure, notice) for name, figure in figures.items()}


def page(template: str, report: object, pictures: Mapping[str, bytes]) -> str:
    """Return one HTML page that needs nothing else: pictures, styles and provenance are in it.

    Parameters
    ----------
    template
        Name of a template that extends `frame.html`.
    report
        What it tells, with a `title`, `notice`, `licence`, `table` and `provenance`.
    """
    environment = Environment(
        loader=PackageLoader("functory", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["indented"] = lambda text: json.dumps(
        json.loads(text), indent=2, ensure_ascii=False
    )
    sources = {
        name: "data:image/png;base64," + base64.b64encode(png).decode()
        for name, png in pictures.items()
    }
    return environment.get_template(template).render(report=report, pictures=sources)


def _png(figure: Figure, notice: str) -> bytes:
    if notice:
        style = {"x": 0.01, "ha": "left", "fontsize": 9, "weight": "bold", "color": "#8a3a0c"}
        figure.suptitle(fill(notice, 110), parse_math=False, **style)
    stream = io.BytesIO()
    # the version of the library in the file would make each upgrade a new picture
    figure.savefig(stream, format="png", dpi=RESOLUTION, metadata={"Software": None})
    return stream.getvalue()
