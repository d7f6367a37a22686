"""The monthly refresh: what it adds, what it leaves alone, and what it does after failures."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cds_server
import numpy as np
import pytest
import xarray as xr
from cds_server import KEY, CdsServer
from monthly_record import KINDS, RECORD, months, newest, refresh, start_mortal
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter

from flows.monthly import era5
from functory.errors import InputError, SourceUnavailable
from storage.references import Record
from storage.versions import Store

BEGUN = 26  # months that the record begins with
CHANGES_OF_A_REFRESH = 250  # of files, at least


@pytest.fixture(scope="module")
def service() -> Iterator[CdsServer]:
    """Serve the record to a user with a key."""
    with cds_server.growing() as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDSAPI_URL", running.url)
        patch.setenv("CDSAPI_KEY", KEY)
        yield running


@pytest.fixture(scope="module")
def begun(service: CdsServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Begin the record, in a store that all tests copy."""
    store = tmp_path_factory.mktemp("begun") / "store"
    restore(service)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(store))
        refresh()
    return store


def restore(service: CdsServer) -> None:
    """Bring the service back to where the record begins: its last month is preliminary."""
    service.months, service.preliminary, service.offset = months(BEGUN), {months(BEGUN)[-1]}, {}
    service.unavailable = 0
    service.asked.clear()


@pytest.fixture
def store(
    begun: Path, service: CdsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """Give the test a store in which the record has begun, and the service as it was then."""
    restore(service)
    return copy(begun, tmp_path / "store", monkeypatch)


@pytest.fixture(scope="module")
def refreshed(begun: Path, service: CdsServer, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Refresh once, when a month is new, and what was preliminary is final and the same."""
    restore(service)
    service.months, service.preliminary = months(BEGUN + 1), set()
    with pytest.MonkeyPatch.context() as patch:
        store = copy(begun, tmp_path_factory.mktemp("refreshed") / "store", patch)
        refresh()
    assert asked(service) == ["2021-02", "2021-03"]
    return store


def copy(begun: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    shutil.copytree(begun, target)
    monkeypatch.setenv("FUNCTORY_STORE", str(target))
    return Store.default()


def asked(service: CdsServer) -> list[str]:
    return [f"{inputs['year'][0]}-{month}" for inputs in service.asked for month in inputs["month"]]


def digests(store: Store) -> dict[str, str]:
    return {kind: record.reference.digest for kind, record in newest(store).items()}


def opened(store: Store, record: Record) -> xr.Dataset:
    return xr.open_zarr(store.path(record.reference)).load()


def changed_files(store: Store, before: Record, after: Record, array: str) -> set[str]:
    """Return the chunk files of an array that are not the very files of the version before."""
    files = {name for name in after.files if name.startswith(f"{array}/c.")}
    folders = [store.path(record.reference) for record in (before, after)]
    return {
        name
        for name in files
        if not (folders[0] / name).exists()
        or not os.path.samefile(folders[0] / name, folders[1] / name)
    }


def test_the_first_run_learns_from_all_there_is(store: Store, service: CdsServer) -> None:
    found = newest(store)
    assert set(found) == set(KINDS)
    assert all(record.reference.version == 1 for record in found.values())
    signals = opened(store, found["signals"])
    assert signals.sizes["time"] == 2 * BEGUN
    assert signals["t2m"].encoding["chunks"][0] == 2
    assert list(signals["expver"].values) == [1] * (2 * BEGUN - 2) + [5, 5]
    assert found["refreshes"].summary == {"judged": 0, "drifted": []}


def test_a_new_month_is_added_and_all_else_shared(refreshed: Store) -> None:
    before = {record.reference.kind: record for record in reversed(refreshed.records())}
    after = newest(refreshed)
    assert after["networks"] == before["networks"]
    assert after["priors"] == before["priors"]
    places = {"signals": ("t2m", ".0.0"), "functasets": ("modulation", ".0")}
    for kind, (array, end) in places.items():
        changed = changed_files(refreshed, before[kind], after[kind], array)
        added = {f"{array}/c.{BEGUN}{end}"}
        # what was asked for again is the same: its chunk has been written, with the same contents
        assert changed - {f"{array}/c.{BEGUN - 1}{end}"} == added
        earlier, later = opened(refreshed, before[kind]), opened(refreshed, after[kind])
        sample = later[array].dims[0]
        xr.testing.assert_identical(
            later.isel({sample: slice(2 * BEGUN)}).drop_vars("expver").drop_attrs(),
            earlier.drop_vars("expver").drop_attrs(),
        )
        assert list(later["split"].values[2 * BEGUN :]) == ["new", "new"]
        assert set(later["expver"].values) == {1}
    assert after["functasets"].summary["fitted"] == ["2021-03"]


def test_a_new_months_functions_are_of_its_fields(refreshed: Store) -> None:
    found = newest(refreshed)
    fields = opened(refreshed, found["signals"])["t2m"]
    functaset = xr.open_dataset(refreshed.path(found["functasets"].reference), engine="functaset")
    decoded = functaset.functa.decode(2 * BEGUN)
    error = float(np.sqrt(((decoded.values - fields.values[-2]) ** 2).mean()))
    assert error == pytest.approx(float(functaset["rmse"][2 * BEGUN, 0]), rel=1e-3)
    assert str(functaset["time"].values[-2]) == "2021-03-01T00:00:00.000000000"


def test_nothing_new_publishes_nothing(store: Store, service: CdsServer) -> None:
    before = store.records()
    assert refresh() == newest(store)["refreshes"].reference
    assert store.records() == before
    assert asked(service) == ["2021-02"]  # still preliminary, and still the same


def test_nothing_new_and_all_final_asks_for_no_data(
    refreshed: Store, service: CdsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore(service)
    service.months = months(BEGUN + 1)
    store = copy(refreshed.root, tmp_path / "store", monkeypatch)
    before = store.records()
    refresh()
    assert store.records() == before
    assert asked(service) == []


def test_step_by_step_is_the_same_as_at_once(
    store: Store,
    begun: Path,
    service: CdsServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count in (1, 3):  # one was missed
        # the service names months in any order, and one of them twice
        service.months = random.Random(count).sample(months(BEGUN + count), BEGUN + count)
        service.months = [*service.months, service.months[0]]
        refresh()
    steps = digests(store)
    at_once = copy(begun, tmp_path / "at once", monkeypatch)
    refresh()
    assert digests(at_once) == steps


def test_a_final_month_replaces_the_preliminary_one(store: Store, service: CdsServer) -> None:
    before = newest(store)
    service.preliminary, service.offset = set(), {(2021, 2): 0.5}
    refresh()
    after = newest(store)
    assert asked(service) == ["2021-02"]
    replaced = f"{BEGUN - 1}"
    assert changed_files(store, before["signals"], after["signals"], "t2m") == {
        f"t2m/c.{replaced}.0.0"
    }
    assert changed_files(store, before["functasets"], after["functasets"], "modulation") == {
        f"modulation/c.{replaced}.0"
    }
    fields = [opened(store, found["signals"]) for found in (before, after)]
    assert not np.allclose(fields[0]["t2m"][-2:], fields[1]["t2m"][-2:])
    np.testing.assert_array_equal(fields[0]["t2m"][:-2], fields[1]["t2m"][:-2])
    np.testing.assert_array_equal(fields[0]["split"], fields[1]["split"])
    assert fields[1]["t2m"].attrs == fields[0]["t2m"].attrs, "normalisation is frozen"
    assert after["functasets"].summary["fitted"] == ["2021-02"]


class Death(BaseException):
    """What ends a refresh at once, as a signal would."""


@pytest.mark.parametrize(
    ("stage", "published"),
    [
        pytest.param("raw", True, marks=pytest.mark.slow),
        pytest.param("signals", False, marks=pytest.mark.slow),
        ("functasets", True),
        ("refreshes", False),
    ],
)
def test_a_refresh_that_dies_is_taken_up_again(
    store: Store,
    service: CdsServer,
    refreshed: Store,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    published: bool,
) -> None:
    service.months, service.preliminary, publish = months(BEGUN + 1), set(), Store.publish

    def die(self: Store, kind: str, *arguments: Any) -> Any:
        if kind == stage and not published:
            raise Death
        found = publish(self, kind, *arguments)
        if kind == stage:
            raise Death
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", die)
        with pytest.raises(Death):
            refresh()
    refresh()
    assert digests(store) == digests(refreshed)
    assert list(store.root.glob(".work/*")) == []


@pytest.mark.slow
def test_a_refresh_that_is_killed_anywhere_is_taken_up_again(
    begun: Path,
    service: CdsServer,
    refreshed: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restore(service)
    service.months, service.preliminary = months(BEGUN + 1), set()
    for trial in range(3):
        store = copy(begun, tmp_path / f"store-{trial}", monkeypatch)
        process = start_mortal(store.root, random.Random(trial).randint(1, CHANGES_OF_A_REFRESH))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert all(store.intact(record) for record in store.records())
        refresh()
        assert digests(store) == digests(refreshed)
        assert list(store.root.glob(".work/*")) == []


@pytest.mark.slow
def test_two_refreshes_at_once_add_a_month_once(
    store: Store, service: CdsServer, refreshed: Store
) -> None:
    service.months, service.preliminary = months(BEGUN + 1), set()
    both = [start_mortal(store.root, 0) for _ in range(2)]
    for process in both:
        process.join()
        assert process.exitcode == 0
    found = {r.reference for r in store.records()}
    assert found == {r.reference for r in refreshed.records()}
    assert asked(service).count("2021-03") == 1  # what was preliminary, each may ask for again
    assert list(store.root.glob(".work/*")) == []


@pytest.mark.slow
def test_where_months_have_drifted_all_is_learned_anew(store: Store, service: CdsServer) -> None:
    before = newest(store)
    service.months, service.offset = months(BEGUN + 1), {(2021, 3): 25.0}
    refresh()
    after = newest(store)
    drift = next(r for r in store.records("refreshes") if r.summary["drifted"])
    assert drift.summary["drifted"] == ["2021-03"]
    assert after["refreshes"].summary == {"judged": 0, "drifted": []}
    for kind in ("networks", "priors"):
        assert after[kind].reference.digest != before[kind].reference.digest
    assert set(opened(store, after["signals"])["split"].values) == {"train", "test"}
    again = store.records()
    refresh()
    assert store.records() == again


@pytest.mark.slow
def test_another_prior_asks_for_no_data_again(store: Store, service: CdsServer) -> None:
    before = newest(store)
    prior = {**RECORD["prior"], "flow": {"layers": 1, "width": 8}}
    refresh(prior=prior)
    after = newest(store)
    assert asked(service) == ["2021-02"]
    changed = [kind for kind in KINDS if after[kind] != before[kind]]
    assert changed == ["priors", "refreshes"]


def test_a_service_that_is_down_harms_nothing(store: Store, service: CdsServer) -> None:
    before = store.records()
    service.unavailable = 1
    with pytest.raises(SourceUnavailable, match="try again later"):
        refresh()
    assert store.records() == before
    service.months = months(BEGUN + 1)
    refresh()
    assert newest(store)["signals"].summary["signals"] == 2 * (BEGUN + 1)


def test_a_grid_that_has_changed_is_one_sentence(
    store: Store, service: CdsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = newest(store)
    service.months = months(BEGUN + 1)
    monkeypatch.setattr(cds_server, "SPACING", 15.0)
    with pytest.raises(InputError, match=r"The latitude of the new months, 13 from 90 to -90, is"):
        refresh()
    assert newest(store)["functasets"] == before["functasets"]


def test_a_refresh_as_a_flow(server: str, store: Store, service: CdsServer) -> None:
    service.months = months(BEGUN + 1)
    state = era5(**RECORD, return_state=True)
    assert state.is_completed(), state.message
    run = {"any_": [state.state_details.flow_run_id]}
    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter.model_validate({"id": run}))
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter.model_validate({"flow_run_id": run})
        )
    assert {task.name.split()[0] for task in tasks} == {
        "look",
        "keep_pieces",
        "extend_signals",
        "extend_functaset",
        "judge",
    }
    shown = {artifact.key: artifact for artifact in artifacts}
    assert {key: artifact.type for key, artifact in shown.items()} == {
        "record-months": "table",
        "record-drift": "image",
    }
    assert "2021-03" in str(shown["record-months"].data)
    assert str(shown["record-drift"].data).startswith("data:image/png;base64,iVBORw0KGgo")
