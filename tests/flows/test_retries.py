"""Prefect retries a download that may go better later, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cds_server
import pytest
from cds_server import KEY, CdsServer
from prefect import flow
from pydantic import TypeAdapter

from functory.errors import InputError
from functory.sources.era5 import Source
from storage.versions import Store
from tasks.acquire import Acquisition, acquire

SOURCE = {"kind": "cds", "years": [2019], "months": [1], "hours": [0], "area": [60, -30, 0, 60]}
CONFIG = Acquisition(source=TypeAdapter(Source).validate_python(SOURCE))


@pytest.fixture
def cds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CdsServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with cds_server.serve(cds_server.grib) as running:
        monkeypatch.setenv("CDSAPI_URL", running.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        yield running


@flow
def only_acquire() -> Any:
    impatient = acquire.task.with_options(retry_delay_seconds=0, retry_jitter_factor=None)
    return impatient("test", CONFIG)


def test_a_truncated_download_is_tried_again(store: Store, cds: CdsServer, server: str) -> None:
    cds.truncated = 2
    reference = only_acquire()
    assert (store.path(reference) / "2019.grib").exists()
    assert len(cds.asked) == 3


def test_a_refused_key_is_not(store: Store, cds: CdsServer, server: str) -> None:
    cds.refusal = (401, {"title": "authentication failed"})
    with pytest.raises(InputError):
        only_acquire()
    assert not store.records()
    assert len([r for r in cds.requests if "execution" in r]) <= 1
