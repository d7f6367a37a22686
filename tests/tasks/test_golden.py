"""Golden results of every stage: where one changes, its version must be raised.

`pytest tests/tasks/test_golden.py --regenerate` writes them anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pipeline import TINY, plain

from storage.versions import Store

GOLDEN = Path(__file__).with_name("golden.json")


def test_stages_give_their_golden_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    store = Store.default()
    found = {}
    for reference in plain(TINY).values():
        record = store.record(reference)
        assert record is not None
        summary = {k: v for k, v in record.summary.items() if k != "table"}
        found[record.stage] = json.loads(json.dumps(summary))
    if request.config.getoption("--regenerate"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert list(found) == list(golden), "a stage's version changed: --regenerate"
    for stage, summary in found.items():
        for path, value in flat(golden[stage]).items():
            # processors differ in the last bits, which a dozen steps of training amplify
            close = value if not isinstance(value, float) else pytest.approx(value, rel=5e-3)
            assert flat(summary)[path] == close, (
                f"{stage} gives another{path}: raise its version, and --regenerate"
            )


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by their paths."""
    if isinstance(value, dict):
        parts = (flat(v, f"{prefix}/{k}") for k, v in value.items())
        return {k: v for part in parts for k, v in part.items()}
    if isinstance(value, list):
        return flat(dict(enumerate(value)), prefix)
    return {prefix: value}
