"""A provenance for versions that tests publish."""

from datetime import UTC, datetime

from storage.references import Provenance

PROVENANCE = Provenance(
    created=datetime(2026, 1, 1, tzinfo=UTC),
    stage="test@1",
    key="0",
    configuration={},
    parents={},
    summary={},
    licence="CC0-1.0",
    software={},
)
