"""Artifacts: what a run shows of itself in Prefect's UI."""

import base64
from pathlib import Path

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)

from storage.references import Reference
from storage.versions import Store

__all__ = ["show_report"]

SHOWN = (
    "reconstructions",
    "quality",
    "rates",
    "samples",
    "samples-2",
    "forms",
    "completions",
)

LARGEST = 2**20  # bytes of a picture: the server refuses events of 1.5 MB in base 64


def show_report(report: Reference) -> None:
    """Put a report's table and pictures, and a link to its page, among the run's artifacts."""
    store = Store.default()
    record, folder = store.record(report), store.path(report)
    if record is None:
        raise FileNotFoundError(folder)
    key = report.name.replace(".", "-").replace("_", "-")
    create_table_artifact(
        [{"quantity": label, "value": value} for label, value in record.summary["table"]],
        key=f"{key}-summary",
        description=f"{report}: {record.licence}",
    )
    create_link_artifact((folder / "index.html").as_uri(), "HTML report", key=f"{key}-report")
    for name in SHOWN:
        picture = folder / f"{name}.png"
        if picture.exists() and picture.stat().st_size <= LARGEST:
            create_image_artifact(_data_uri(picture), key=f"{key}-{name}")


def _data_uri(image: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
