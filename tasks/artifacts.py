"""Artifacts: what a run shows of itself in Prefect's UI."""

import base64
import logging

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext

from storage.references import Record, Reference
from storage.versions import Store
from tasks.refresh import read_state

__all__ = ["show_refresh", "show_report"]

LOG = logging.getLogger("functory.refresh")

SHOWN = {
    "reconstructions": "Test signals, and what is decoded of their functions.",
    "quality": "How well functions agree with their signals, in each split.",
    "rates": "Quality against the bits that a signal takes.",
    "samples": "Signals drawn from the prior.",
    "samples-2": "Signals drawn from the diffusion.",
    "forms": "Functions with a vector for each patch, and with one for the whole.",
    "completions": "What was seen of test signals, completed with the prior and without, and all.",
}

LARGEST = 2**20  # bytes of a picture: the server refuses events of 1.5 MB in base 64


def show_report(report: Reference) -> None:
    """Put a report's table and pictures, and a link to its page, among the run's artifacts."""
    record, folder, key = _record(report), Store.default().path(report), _key(report)
    create_table_artifact(
        [{"quantity": label, "value": value} for label, value in record.summary["table"]],
        key=f"{key}-summary",
        description=f"{report}: {record.licence}",
    )
    page = folder / "index.html"
    # browsers follow no link from a server to a file: the path can be copied
    create_link_artifact(
        page.as_uri(), "HTML report", key=f"{key}-report", description=f"The report: {page}"
    )
    for name, description in SHOWN.items():
        picture = folder / f"{name}.png"
        if picture.exists() and picture.stat().st_size <= LARGEST:
            create_image_artifact(
                _data_uri(picture.read_bytes()), key=f"{key}-{name}", description=description
            )


def show_refresh(state: Reference) -> None:
    """Log what a refresh has judged; in a flow's run, show it as a table and a picture, too."""
    found = read_state(state)
    months, judged = found["months"], [row["month"] for row in found["months"]]
    drift = ", ".join(row["month"] for row in months if row["drifted"])
    LOG.info("%s: judged %s; drifted: %s", state, ", ".join(judged) or "no months", drift or "none")
    if FlowRunContext.get() is None:
        return
    from functory.drift import Drift
    from functory.reporting.drift_chart import drift_chart
    from functory.reporting.frame import encode

    level = Drift(false_alarms=found["false_alarms"]).level
    description = f"{state}: the months since the network was learned, beside those that test"
    create_table_artifact(months, key=f"{_key(state)}-months", description=description)
    picture = encode({"drift": drift_chart(found["tested"], months, level)}, "")["drift"]
    create_image_artifact(_data_uri(picture), key=f"{_key(state)}-drift")


def _record(reference: Reference) -> Record:
    record = Store.default().record(reference)
    if record is None:
        raise FileNotFoundError(Store.default().path(reference))
    return record


def _key(reference: Reference) -> str:
    """Return the name as artifacts' keys may be: in lower case, with dashes only."""
    return reference.name.replace(".", "-").replace("_", "-")


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
