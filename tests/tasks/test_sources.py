"""Acquire and prepare on everything that people have: files, the real data, the CDS client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cds_server
import numpy as np
import pytest
import xarray as xr
from cds_server import KEY, CdsServer, Inputs
from pydantic import TypeAdapter

from functory.errors import InputError
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.sources.era5 import Source
from functory.sources.preparation import Preparation
from storage.references import Reference
from storage.versions import Store
from tasks.acquire import Acquisition, acquire
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare import PrepareERA5, prepare

RANDOM = {"split": {"method": "random", "validation": 0.2, "test": 0.3, "seed": 1}}
CDS = {"kind": "cds", "years": [2019], "months": [1, 2], "hours": [0, 12], "area": [60, -30, 0, 60]}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    return Store.default()


def prepared(source: dict[str, Any], preparation: dict[str, Any] = RANDOM) -> Reference:
    chosen: Any = TypeAdapter(Source).validate_python(source)
    raw = acquire.plain("test", Acquisition(source=chosen))
    config = PrepareERA5(source=chosen, preparation=Preparation.model_validate(preparation))
    return prepare.plain("test", config, raw=raw)


def signals(store: Store, reference: Reference) -> xr.Dataset:
    return xr.open_zarr(store.path(reference))


@pytest.mark.parametrize("grid", [(46, 90), (181, 360)], ids=str)
@pytest.mark.parametrize("method", ["subsample", "linear", "conservative"])
def test_the_global_field_comes_to_the_papers_grids(
    data: Path, store: Store, method: str, grid: tuple[int, int]
) -> None:
    source = {"kind": "files", "paths": str(data / "climate/era5_t2m_global_0p25.grib")}
    latitude, longitude = grid
    target = (
        {"factor": 1440 // longitude}
        if method == "subsample"
        else {"latitude": latitude, "longitude": longitude}
    )
    everything = {"method": "random", "validation": 0, "test": 0}
    preparation = {"split": everything, "regrid": {"method": method, **target}}
    reference = prepared(source, preparation)
    dataset = signals(store, reference)
    assert dataset["t2m"].shape == (1, *grid)
    np.testing.assert_allclose(dataset["latitude"], np.linspace(90, -90, latitude))
    np.testing.assert_allclose(dataset["longitude"], np.arange(longitude) * 360 / longitude)
    assert np.isfinite(dataset["t2m"]).all()
    small = MetaLearning.model_validate({"optimisation": {"steps": 1, "batch": 1, "rate": 1e-3}})
    with pytest.raises(InputError, match="no signals to measure on"):
        metalearn.plain("test", small, signals=reference)


def test_canesm5_keeps_its_calendar_and_its_latitudes(data: Path, store: Store) -> None:
    source = {
        "kind": "files",
        "paths": str(data / "climate/tas_Amon_CanESM5*.nc"),
        "variables": "tas",
    }
    dataset = signals(store, prepared(source))
    assert dataset["tas"].shape == (60, 64, 128)
    assert dataset["time"].dt.calendar == "noleap"
    assert abs(np.diff(dataset["latitude"])).std() > 1e-4


def test_several_variables_of_several_files_become_channels(data: Path, store: Store) -> None:
    source = {
        "kind": "files",
        "paths": str(data / "climate/ERA_Interim_2017*.nc"),
        "variables": ["t2m", "sp"],
    }
    split = {"method": "random-sizes", "train": 2, "test": 1}
    preparation = {"split": split, "regrid": {"method": "linear", "latitude": 16, "longitude": 30}}
    reference = prepared(source, preparation)
    assert signals(store, reference)["sp"].shape == (3, 16, 30)
    training = MetaLearning.model_validate(
        {
            "network": {"latents": 3, "width": 8, "depth": 3},
            "optimisation": {"steps": 3, "batch": 2, "rate": 1e-3},
        }
    )
    network = metalearn.plain("test", training, signals=reference)
    functaset = fit_all.plain("test", Fitting(), signals=reference, network=network)
    opened = xr.open_dataset(store.path(functaset), engine="functaset")
    assert opened["rmse"].dims == ("sample", "variable")
    pressure = opened.functa.decode(0, variable="sp")
    original = signals(store, reference)["sp"][0]
    assert pressure.attrs["units"] == "Pa"
    error = float(np.sqrt(((pressure.values - original.values) ** 2).mean()))
    assert error == pytest.approx(float(opened["rmse"].sel(variable="sp")[0]), rel=1e-3)


def test_gaps_are_fitted_around(store: Store, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(290, 5, (20, 8, 12)).astype(np.float32)
    values[:, 2:5, 3:6] = np.nan
    dims = ("time", "latitude", "longitude")
    xr.Dataset(
        {"sst": (dims, values, {"units": "K"})},
        coords={
            "time": np.datetime64("2020-01-01", "ns") + np.arange(20) * np.timedelta64(1, "D"),
            "latitude": np.linspace(70, -70, 8),
            "longitude": np.arange(12) * 30.0,
        },
    ).to_netcdf(tmp_path / "sst.nc")
    source = {"kind": "files", "paths": str(tmp_path / "sst.nc"), "variables": "sst"}
    with pytest.raises(InputError, match=r"sst has 180 missing values in 20 of 20 fields"):
        prepared(source)
    reference = prepared(source, {**RANDOM, "mask": "observed"})
    training = MetaLearning.model_validate(
        {
            "network": {"latents": 3, "width": 8, "depth": 3},
            "optimisation": {"steps": 3, "batch": 4, "rate": 1e-3},
        }
    )
    network = metalearn.plain("test", training, signals=reference)
    functaset = fit_all.plain("test", Fitting(), signals=reference, network=network)
    opened = xr.open_dataset(store.path(functaset), engine="functaset")
    assert np.isfinite(opened["psnr"]).all()
    decoded = opened.functa.decode()
    assert np.isfinite(decoded).all()
    error = np.sqrt(np.nanmean((decoded.values - values) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(opened["rmse"][:, 0], error, rtol=1e-3)


def answer(inputs: Inputs) -> bytes:
    return cds_server.grib(inputs)


@pytest.fixture
def cds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CdsServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    with cds_server.serve(answer) as server:
        monkeypatch.setenv("CDSAPI_URL", server.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        yield server


def test_the_data_store_to_a_signal_set(store: Store, cds: CdsServer) -> None:
    reference = prepared(CDS, {"split": {"method": "random-sizes", "train": 3, "test": 1}})
    dataset = signals(store, reference)
    assert dataset.sizes["time"] == 4
    (record,) = store.records("signals")
    assert "Copernicus" in record.licence
    text = "".join(p.read_text("latin-1") for p in store.root.rglob("*") if p.is_file())
    assert KEY not in text


def test_a_missing_key_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(store.root))
    for name in ("CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="no credentials for the CDS"):
        prepared(CDS)
    assert not store.records()
