"""Acquire and prepare ERA5 from a Zarr store: broken off, taken up again, then as any ERA5."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr_server

from functory.errors import SourceUnavailable
from functory.sources.era5_zarr import ZarrSource
from functory.sources.preparation import Preparation
from storage.versions import Store
from tasks.acquire import Acquisition, acquire, is_worth_retrying, raw_files
from tasks.prepare import PrepareERA5, prepare


class Ended:
    """A task's state, as Prefect shows it to what decides on retries."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self, raise_on_failure: bool) -> Exception:
        return self.error


def test_a_zarr_store_to_a_signal_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    store = Store.default()
    zarr_server.write_arco(tmp_path / "stores/arco")
    zarr_server.lose(tmp_path / "stores/arco", "2021-03-03")
    with zarr_server.serve(tmp_path / "stores") as server:
        source = ZarrSource(
            url=f"{server.url}/arco", years=(2021,), months=(2, 3), hours=(0, 12), on_gaps="skip"
        )
        server.faults["2m_temperature/50.0.0"] = 500
        with pytest.raises(SourceUnavailable) as caught:
            acquire.plain("test", Acquisition(source=source))
        assert is_worth_retrying(None, None, Ended(caught.value))
        assert not store.records()
        raw = acquire.plain("test", Acquisition(source=source))
        server.requests.clear()
        assert acquire.plain("test", Acquisition(source=source)) == raw
        assert not server.requests
    assert [path.name for path in raw_files(store.path(raw))] == ["2021.nc"]
    config = PrepareERA5.model_validate(
        {
            "source": source,
            "preparation": Preparation.model_validate(
                {"split": {"method": "random-sizes", "train": 3, "test": 1}}
            ),
        }
    )
    signals = xr.open_zarr(store.path(prepare.plain("test", config, raw=raw)))
    assert signals["t2m"].shape == (4, 8, 16)
    assert np.isfinite(signals["t2m"]).all()
    assert signals.attrs["skipped_days"] == "2021-03-03"
    assert all("Copernicus" in record.licence for record in store.records())
