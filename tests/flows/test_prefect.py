"""The flow `era5` under Prefect: what it runs, what it finds again, what it shows of itself."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from pipeline import STAGES, TINY, plain
from prefect import get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import TaskRunSort

from flows.era5 import era5
from storage.versions import Store

KINDS = dict(
    zip(
        STAGES,
        (
            "raw",
            "signals",
            "networks",
            "functasets",
            "priors",
            "samples",
            "completions",
            "entropy-models",
            "reports",
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Ran:
    """What the server knows of a run of the flow."""

    flow_run: FlowRun
    tasks: list[TaskRun]
    artifacts: dict[str, Artifact]

    def states(self) -> dict[str, str]:
        """Return the name of each stage's state."""
        return {run.name.split()[0]: run.state_name for run in self.tasks if " " in run.name}


def run(parameters: dict[str, Any]) -> Ran:
    state = era5(**parameters, return_state=True)
    this_run = {"any_": [state.state_details.flow_run_id]}
    with get_client(sync_client=True) as client:
        deadline = time.monotonic() + 60
        while True:  # the server hears of task runs a little later
            tasks = client.read_task_runs(
                flow_run_filter=FlowRunFilter.model_validate({"id": this_run}),
                sort=TaskRunSort.EXPECTED_START_TIME_ASC,
            )
            if all(task.state.is_final() for task in tasks) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter.model_validate({"flow_run_id": this_run})
        )
        flow_run = client.read_flow_run(state.state_details.flow_run_id)
    return Ran(flow_run, tasks, {artifact.key: artifact for artifact in artifacts})


def digests(store: Store) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for record in store.records():
        reference = record.reference
        found.setdefault((reference.kind, reference.name), []).append(reference.digest)
    return found


@pytest.fixture(scope="module")
def first(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """Run the flow once, in a store that all tests copy."""
    store = tmp_path_factory.mktemp("first") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(store))
        return store, run(TINY)


@pytest.fixture
def ran(first: tuple[Path, Ran]) -> Ran:
    return first[1]


@pytest.fixture
def used(first: tuple[Path, Ran], store: Store) -> Store:
    """Give the test a store in which the flow has run."""
    shutil.copytree(first[0], store.root)
    return store


def test_every_stage_is_a_task_run(ran: Ran, used: Store) -> None:
    assert ran.flow_run.state_name == "Completed"
    assert ran.flow_run.name == "tiny"
    assert ran.states() == dict.fromkeys(STAGES, "Completed")
    assert [kind for kind, _ in digests(used)] == sorted(KINDS.values())


def test_fits_run_side_by_side_in_the_flows_task_runner(ran: Ran) -> None:
    chunks = [task for task in ran.tasks if task.name.startswith("fit_chunk")]
    assert len(chunks) == 24 / TINY["fit"]["chunk"]
    assert {task.state_name for task in chunks} == {"Completed"}


def test_prefect_changes_nothing_in_the_results(
    used: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: dict[str, Any]
) -> None:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "plain"))
    references = plain(tiny)
    assert {s: r.kind for s, r in references.items()} == KINDS
    assert digests(used) == {(r.kind, r.name): [r.digest] for r in references.values()}


def test_the_functaset_opens_with_xarray_alone(used: Store) -> None:
    functaset = xr.open_zarr(used.root / "functasets" / "tiny" / "v1")
    assert functaset["modulation"].shape == (24, 4)
    assert set(functaset["split"].values) == {"train", "validation", "test"}


def test_artifacts_show_the_result(ran: Ran, used: Store) -> None:
    assert {key: artifact.type for key, artifact in ran.artifacts.items()} == {
        "tiny-summary": "table",
        "tiny-report": "markdown",
        "tiny-reconstructions": "image",
        "tiny-quality": "image",
        "tiny-rates": "image",
        "tiny-samples": "image",
        "tiny-completions": "image",
    }
    table = str(ran.artifacts["tiny-summary"].data)
    (record,) = used.find("reports/tiny")
    for label, value in record.summary["table"]:
        assert label in table
        assert value.split()[0] in table
    assert "synthetic" in str(ran.artifacts["tiny-summary"].description)
    link = re.search(
        r"\(file://(.*/reports/tiny/v1/index\.html)\)", ran.artifacts["tiny-report"].data
    )
    assert link is not None
    assert "<html" in Path(link[1]).read_text()
    for name in ("reconstructions", "quality", "rates", "samples", "completions"):
        # "iVBORw0KGgo" are the first bytes of every PNG
        assert str(ran.artifacts[f"tiny-{name}"].data).startswith(
            "data:image/png;base64,iVBORw0KGgo"
        )


def test_a_second_run_computes_nothing(used: Store, tiny: dict[str, Any]) -> None:
    before = digests(used)
    again = run(tiny)
    assert again.flow_run.state_name == "Completed"
    assert again.states() == dict.fromkeys(STAGES, "Cached")
    assert len(again.tasks) == len(STAGES)
    assert digests(used) == before
    assert "tiny-summary" in again.artifacts


@pytest.mark.parametrize(
    ("change", "new"),
    [
        (
            {"prior": {**TINY["prior"], "flow": {"layers": 1}}},
            {"prior", "sample", "complete_signals", "report"},
        ),
        ({"report": {"examples": 2, "samples": 2}}, {"report"}),
    ],
    ids=["prior", "report"],
)
def test_a_change_computes_only_what_follows(
    used: Store, tiny: dict[str, Any], change: dict[str, Any], new: set[str]
) -> None:
    before = digests(used)
    changed = run(tiny | change)
    assert changed.flow_run.state_name == "Completed"
    assert changed.states() == {s: "Completed" if s in new else "Cached" for s in STAGES}
    after = digests(used)
    for stage, kind in KINDS.items():
        versions = after[kind, "tiny"]
        assert versions[0] == before[kind, "tiny"][0]
        assert len(versions) == (2 if stage in new else 1)


def test_another_name_computes_nothing_and_shares_the_files(
    used: Store, tiny: dict[str, Any]
) -> None:
    renamed = run(tiny | {"name": "other"})
    assert renamed.flow_run.state_name == "Completed"
    assert renamed.states() == dict.fromkeys(STAGES, "Cached")
    after = digests(used)
    for kind in KINDS.values():
        assert after[kind, "other"] == after[kind, "tiny"]
        (record,) = used.records(kind, "other")
        for file in record.files:
            ours, theirs = (used.root / kind / name / "v1" / file for name in ("other", "tiny"))
            assert os.path.samefile(ours, theirs)
    assert "other-summary" in renamed.artifacts


def test_bad_input_is_one_sentence_in_the_task_and_the_flow(
    server: str, store: Store, tiny: dict[str, Any], tmp_path: Path
) -> None:
    pattern = str(tmp_path / "nowhere" / "*.grib")
    failed = run(tiny | {"source": {"kind": "files", "paths": pattern}})
    assert failed.flow_run.state_name == "Failed"
    (task,) = failed.tasks
    assert task.state_name == "Failed"
    assert task.run_count == 1, "bad input was tried again"
    for message in (task.state.message, failed.flow_run.state.message):
        assert "no such file" in message
        assert pattern in message
        assert "\n" not in message
    assert store.records() == []


def test_wrong_parameters_start_nothing(server: str, store: Store, tiny: dict[str, Any]) -> None:
    tiny["metalearn"]["network"]["latents"] = 0
    failed = run(tiny)
    assert failed.flow_run.state_name == "Failed"
    assert "latents" in failed.flow_run.state.message
    assert failed.tasks == []
    assert not store.root.exists()
