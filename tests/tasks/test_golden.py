"""Golden results of every stage: where one changes, its version must be raised.

`pytest tests/tasks/test_golden.py --regenerate` writes them anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest

NOT_RESULTS = ("table", "cpu_seconds")


@pytest.mark.parametrize(
    ("run", "file"),
    [
        ("climate_run", "golden.json"),
        ("shapes_run", "golden-shapes.json"),
        ("images_run", "golden-images.json"),
    ],
)
def test_stages_give_their_golden_results(
    run: str, file: str, request: pytest.FixtureRequest
) -> None:
    store, done = request.getfixturevalue(run)
    path, found = Path(__file__).with_name(file), {}
    for label, reference in done.items():
        record = store.record(reference)
        assert record is not None
        # a stage that runs again is told from its first run by what its result is called
        stage = f"{record.stage}, {label}" if record.stage in found else record.stage
        found[stage] = json.loads(json.dumps(record.summary))
    if request.config.getoption("--regenerate"):
        path.write_text(json.dumps(results(found), indent=1) + "\n")
    golden = json.loads(path.read_text())
    assert list(found) == list(golden), "a stage's version changed: --regenerate"
    for stage, summary in golden.items():
        for place, value in flat(summary).items():
            # processors differ in the last bits, which a dozen steps of training amplify
            close = (
                value if not isinstance(value, float) else pytest.approx(value, rel=5e-3, abs=1e-2)
            )
            assert flat(found[stage])[place] == close, (
                f"{stage} gives another{place}: raise its version, and --regenerate"
            )


def results(value: Any) -> Any:
    """Return summaries without what is formatted from them, and without times."""
    if not isinstance(value, dict):
        return value
    return {k: results(v) for k, v in value.items() if k not in NOT_RESULTS}


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by their paths."""
    if isinstance(value, dict):
        parts = (flat(v, f"{prefix}/{k}") for k, v in value.items())
        return {k: v for part in parts for k, v in part.items()}
    if isinstance(value, list):
        return flat(dict(enumerate(value)), prefix)
    return {prefix: value}
