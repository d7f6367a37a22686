"""Stages with their store in a bucket: they make the same as on a local disk, and only once."""

from pathlib import Path

import pytest
from pipeline import TINY
from remote import Machine
from typer.testing import CliRunner

from flows.cli import app
from flows.doctor.findings import State
from flows.doctor.store import store as check_store
from storage.references import Reference
from storage.versions import Store
from tasks.acquire import Acquisition, acquire
from tasks.prepare import PrepareERA5, prepare


def stages(name: str) -> list[Reference]:
    """Run the first two stages."""
    raw = acquire.plain(name, Acquisition(source=TINY["source"]))
    preparation = PrepareERA5(source=TINY["source"], preparation=TINY["preparation"])
    signals = prepare.plain(name, preparation, raw=raw)
    return [raw, signals]


def test_stages_and_commands(
    machine: Machine, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("here")
    made = stages("tiny")
    assert list(Store.default().root.glob(".work/*")) == []
    with monkeypatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path / "local"))
        assert stages("tiny") == made  # digests, too
    there = machine("there")
    assert stages("tiny") == made
    assert len(there.records()) == 2
    other = stages("other")
    assert [(r.name, r.digest) for r in other] == [("other", r.digest) for r in made]

    run = CliRunner().invoke
    listed = run(app, ["ls"], env={"COLUMNS": "200"}).output
    assert all(f"{reference.kind}/tiny" in listed for reference in made)
    shown = run(app, ["show", "signals/tiny"], env={"COLUMNS": "200"}).output
    assert f"{url}/signals/tiny/v1" in shown
    assert "intact" in shown
    for digests in (False, True):
        assert {f.state for f in check_store(digests)} <= {State.FINE, State.WARNING}
    assert f"Nothing may go from the store {url}." in run(app, ["gc"]).output
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"planted" in content for content in written)
