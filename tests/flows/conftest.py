"""What tests of flows share: one Prefect server, and a store of each test's own."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline import TINY
from prefect.settings import get_current_settings, temporary_settings
from prefect.testing.utilities import prefect_test_harness

from storage.versions import Store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server for all flows of the session; return the address of its API."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        # for commands in processes of their own; this process has read its environment already
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        with (
            temporary_settings({"home": home, "server.analytics_enabled": False}),
            prefect_test_harness(server_startup_timeout=120),
        ):
            address = get_current_settings().api.url
            assert address is not None
            yield address


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Make a new store the default one."""
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    return Store.default()


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Return parameters of the flow `era5` that take seconds."""
    return copy.deepcopy(TINY)
