"""ERA5 from Zarr stores over HTTP: means, layouts, gaps, months that are not there, and faults."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr_server
from pydantic import ValidationError
from zarr_server import LATITUDE, LONGITUDE, ROOM, ZarrServer, truth

import functory
from functory.errors import InputError, SourceUnavailable
from functory.sources import zarr_record
from functory.sources.era5 import open_raw
from functory.sources.era5_zarr import ZarrSource, record_id
from functory.sources.era5_zarr_years import read_years

FEBRUARY = pd.date_range("2021-02-01", "2021-02-28").strftime("%Y-%m-%d").tolist()
MARCH = pd.date_range("2021-03-01", "2021-03-31").strftime("%Y-%m-%d").tolist()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    zarr_server.write_arco(folder / "arco")
    zarr_server.write_weatherbench(folder / "weatherbench")
    return folder


@pytest.fixture
def server(stores: Path) -> Iterator[ZarrServer]:
    with zarr_server.serve(stores) as here:
        yield here


@pytest.fixture
def copy(stores: Path, tmp_path: Path) -> Path:
    """Return a folder with a store that a test may change."""
    shutil.copytree(stores / "arco", tmp_path / "stores" / "arco")
    return tmp_path / "stores"


@pytest.fixture
def own(copy: Path) -> Iterator[ZarrServer]:
    """Serve a store that a test may change."""
    with zarr_server.serve(copy) as here:
        yield here


def source(place: ZarrServer | Path, store: str = "arco", **options: Any) -> ZarrSource:
    options = {"years": [2021], "months": [2, 3], **options}
    return ZarrSource(url=f"{place if isinstance(place, Path) else place.url}/{store}", **options)


def means(days: list[str], hours: range = range(24)) -> np.ndarray:
    times = [pd.DatetimeIndex([f"{day}T{hour:02d}" for day in days]) for hour in hours]
    return np.stack([truth(of_hour).astype(np.float64).mean(axis=0) for of_hour in times])


def test_means_by_hour_are_those_of_numpy(server: ZarrServer, tmp_path: Path) -> None:
    (path,) = read_years(source(server), tmp_path)
    assert server.days() == FEBRUARY + MARCH  # each chunk once, and nothing around them
    with xr.open_dataset(path) as year:
        assert year["t2m"].dims == ("time", "latitude", "longitude")
        assert year["t2m"].attrs == {"long_name": "2 metre temperature", "units": "K"}
        stamps = [f"2021-{month:02d}-01T{hour:02d}" for month in (2, 3) for hour in range(24)]
        assert list(year["time"].dt.strftime("%Y-%m-%dT%H").values) == stamps
        np.testing.assert_array_equal(year["latitude"], LATITUDE)
        np.testing.assert_array_equal(year["longitude"], LONGITUDE)
        expected = np.concatenate([means(FEBRUARY), means(MARCH)])
        np.testing.assert_allclose(year["t2m"], expected, rtol=1e-7)


def test_memory_does_not_change_the_means(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = read_years(source(stores, months=[2]), tmp_path / "whole")
    monkeypatch.setattr(zarr_record, "CHUNK", 3 * 24 * 8 * 16 * 4)
    (pieces,) = read_years(source(stores, months=[2]), tmp_path / "pieces")
    with xr.open_dataset(whole) as one, xr.open_dataset(pieces) as other:
        xr.testing.assert_allclose(one, other, rtol=1e-7)


def test_every_layout_gives_the_same(server: ZarrServer, tmp_path: Path) -> None:
    hourly = source(server, hours=[0, 6, 12, 18])
    coarse = source(server, "weatherbench", variable="t2m")
    raw = [
        open_raw(chosen, read_years(chosen, tmp_path / record_id(chosen)))
        for chosen in (hourly, coarse)
    ]
    assert raw[0]["t2m"].shape == (8, 8, 16)
    xr.testing.assert_identical(raw[0].drop_attrs(), raw[1].drop_attrs())
    assert raw[1]["t2m"].attrs["units"] == "K"
    np.testing.assert_allclose(raw[1]["t2m"][4:], means(MARCH, range(0, 24, 6)), rtol=1e-7)


def test_longitudes_from_the_west_are_turned(tmp_path: Path) -> None:
    zarr_server.write_weatherbench(tmp_path / "east")
    store = xr.open_zarr(tmp_path / "east").load()
    store = store.assign_coords(longitude=(store["longitude"] + 180) % 360 - 180)
    store.sortby("longitude").drop_encoding().to_zarr(tmp_path / "west", zarr_format=2)
    files = [
        read_years(
            ZarrSource(url=str(tmp_path / name), years=(2021,), months=(2,)), tmp_path / f"{name}-f"
        )[0]
        for name in ("east", "west")
    ]
    with xr.open_dataset(files[0]) as east, xr.open_dataset(files[1]) as west:
        xr.testing.assert_equal(east, west)


def test_fields_as_they_are(stores: Path, tmp_path: Path) -> None:
    (path,) = read_years(source(stores, months=[2], hours=[3, 15], monthly=False), tmp_path)
    times = ROOM[(ROOM.month == 2) & (ROOM.hour % 12 == 3)]
    with xr.open_dataset(path) as year:
        assert year.indexes["time"].equals(times)
        np.testing.assert_array_equal(year["t2m"], truth(times))


@pytest.mark.parametrize("monthly", [True, False])
def test_days_without_values_are_named_or_left_out(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monthly: bool
) -> None:
    lost = ["2021-02-03", "2021-02-28", "2021-03-01", "2021-03-17"]
    zarr_server.lose(copy / "arco", *lost)
    chosen = source(copy, monthly=monthly)
    sentence = r"no values.* on 4 days \(2021-02-03, 2021-02-28, 2021-03-01, …\) of 2021: .*on_gaps"
    with pytest.raises(InputError, match=sentence):
        read_years(chosen, tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.nc"))
    chosen = source(copy, monthly=monthly, on_gaps="skip")
    raw = open_raw(chosen, read_years(chosen, tmp_path / "kept"))
    assert raw.attrs["skipped_days"].split() == lost
    assert "2021-02-03, 2021-02-28, 2021-03-01, …) of 2021, left out" in caplog.text
    left = [day for day in FEBRUARY + MARCH if day not in lost]
    if monthly:
        expected = np.concatenate([means([d for d in left if d in m]) for m in (FEBRUARY, MARCH)])
        np.testing.assert_allclose(raw["t2m"], expected, rtol=1e-7)
    else:
        assert list(raw["time"].dt.strftime("%Y-%m-%d").values[::24]) == left
        assert np.isfinite(raw["t2m"]).all()


def test_days_that_read_as_zeros_are_gaps_too(tmp_path: Path) -> None:
    # What Zarr 3 gives for a missing chunk where a store names no other fill value.
    store = tmp_path / "store"
    zarr_server.write_arco(store, zarr_format=3)
    metadata = store / "2m_temperature" / "zarr.json"
    for path in (metadata, store / "zarr.json"):
        path.write_text(
            path.read_text()
            .replace('"fill_value": "NaN"', '"fill_value": 0.0')
            .replace('"_FillValue": "AAAAAAAA+H8="', '"missing": ""')
        )
    assert json.loads(metadata.read_text())["fill_value"] == 0
    zarr_server.lose(store, "2021-02-03")
    with xr.open_zarr(store) as opened:
        assert (opened["2m_temperature"].sel(time="2021-02-03") == 0).all()
    with pytest.raises(InputError, match=r"no values.* on 1 day \(2021-02-03\) of 2021"):
        read_years(ZarrSource(url=str(store), years=(2021,), months=(2,)), tmp_path)


def test_a_month_without_any_day_is_left_out(copy: Path, tmp_path: Path) -> None:
    zarr_server.lose(copy / "arco", *MARCH)
    (path,) = read_years(source(copy, on_gaps="skip"), tmp_path / "kept")
    with xr.open_dataset(path) as year:
        np.testing.assert_allclose(year["t2m"], means(FEBRUARY), rtol=1e-7)
        assert year.attrs["skipped_days"].split() == MARCH
    with pytest.raises(InputError, match="has no values at all in 2021"):
        read_years(source(copy, months=[3], on_gaps="skip"), tmp_path / "other")


def test_mended_gaps_are_read_again_and_they_alone(own: ZarrServer, tmp_path: Path) -> None:
    chunk = tmp_path / "stores/arco/2m_temperature/47.0.0"  # of 3 March
    chunk.rename(tmp_path / "mending")
    with pytest.raises(InputError, match="2021-03-03"):
        read_years(source(own), tmp_path / "kept")
    own.days()
    (tmp_path / "mending").rename(chunk)
    read_years(source(own), tmp_path / "kept")
    assert own.days() == MARCH


def test_months_outside_of_the_record(
    own: ZarrServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # January and April are in its times, April even has preliminary values.
    sentence = (
        r"2021-02-01 to 2021-03-31 and lacks .* of 10 months \(2021-01, 2021-04, 2021-05, …\)"
    )
    everything = range(1, 13)
    with pytest.raises(InputError, match=sentence):
        read_years(source(own, months=everything), tmp_path / "kept")
    assert not own.days()
    with pytest.raises(InputError, match="lacks all or a part of 2 months"):
        read_years(source(own, years=[2019, 2020], months=[2], on_gaps="skip"), tmp_path)
    chosen = source(own, years=[2020, 2021], months=everything, on_gaps="skip")
    (path,) = read_years(chosen, tmp_path / "kept")
    assert "2020-01, 2020-02, 2020-03, …), left out" in caplog.text
    with xr.open_dataset(path) as year:
        assert sorted({*year["time"].dt.month.values.tolist()}) == [2, 3]
        assert year.attrs["skipped_months"].split()[:2] == ["2021-01", "2021-04"]
    own.days()
    assert read_years(chosen, tmp_path / "kept") == [path]
    (path,) = read_years(source(own), tmp_path / "kept")
    assert not own.days()
    with xr.open_dataset(path) as year:
        assert "skipped_months" not in year.attrs


def test_a_record_that_grew_is_read_where_it_is_new(own: ZarrServer, tmp_path: Path) -> None:
    metadata = [tmp_path / "stores/arco" / name for name in (".zattrs", ".zmetadata")]
    for file in metadata:
        file.write_text(file.read_text().replace('"2021-03-31"', '"2021-03-30"'))
    chosen = source(own, months=range(1, 13), on_gaps="skip")
    (path,) = read_years(chosen, tmp_path / "kept")
    assert own.days() == FEBRUARY
    for file in metadata:
        file.write_text(file.read_text().replace('"2021-03-30"', '"2021-03-31"'))
    assert read_years(chosen, tmp_path / "kept") == [path]
    assert own.days() == MARCH
    with xr.open_dataset(path) as year:
        expected = np.concatenate([means(FEBRUARY), means(MARCH)])
        np.testing.assert_allclose(year["t2m"], expected, rtol=1e-7)


@pytest.mark.parametrize("fault", [500, 0])
def test_what_may_pass_is_said_so_and_the_next_try_goes_on(
    server: ZarrServer, tmp_path: Path, fault: int
) -> None:
    server.faults[".zmetadata"] = fault
    with pytest.raises(SourceUnavailable, match="try again later"):
        read_years(source(server), tmp_path)
    server.faults["2m_temperature/50.0.0"] = fault  # of 6 March
    with pytest.raises(SourceUnavailable, match="try again later") as caught:
        read_years(source(server), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    server.days()
    (path,) = read_years(source(server), tmp_path)
    assert set(server.days()) == set(MARCH)  # some twice, asked for before the fault was noticed
    with xr.open_dataset(path) as year:
        assert year.sizes["time"] == 48


def test_after_a_kill_only_what_is_missing_is_read(server: ZarrServer, tmp_path: Path) -> None:
    server.held = "2m_temperature/50.0.0"
    program = (
        "import sys; from pathlib import Path; "
        "from functory.sources.era5_zarr import ZarrSource; "
        "from functory.sources.era5_zarr_years import read_years; "
        "read_years(ZarrSource.model_validate_json(sys.argv[1]), Path(sys.argv[2]))"
    )
    chosen = source(server)
    path = [str(Path(functory.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-c", program, chosen.model_dump_json(), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )
    assert server.reached.wait(60)
    process.kill()
    process.wait()
    server.held = ""
    server.released.set()
    server.days()
    (file,) = read_years(chosen, tmp_path)
    assert server.days() == MARCH
    with xr.open_dataset(file) as year:
        expected = np.concatenate([means(FEBRUARY), means(MARCH)])
        np.testing.assert_allclose(year["t2m"], expected, rtol=1e-7)
    server.requests.clear()
    assert read_years(chosen, tmp_path) == [file]
    assert not server.requests  # not even opened
    file.write_bytes(file.read_bytes()[:-1])
    read_years(chosen, tmp_path)
    with xr.open_dataset(file) as year:
        assert year.sizes["time"] == 48


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"variable": "t3m"}, r"no variable 't3m'.* one of those that it has \(2m_temperature\)"),
        (
            {"variable": "temperature"},
            r"no variable 'temperature' of \(time, latitude, longitude\)",
        ),
        ({"store": "nothing"}, "there is no Zarr store at .*/nothing: correct the address"),
        ({"store": "weatherbench", "hours": [0, 3]}, "hours 0, 6, 12, 18 only: choose `hours`"),
    ],
    ids=["variable", "levels", "address", "hours"],
)
def test_what_will_not_pass_is_one_sentence(
    server: ZarrServer, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        read_years(source(server, **changes), tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_refusals_and_unreachable_servers(server: ZarrServer, tmp_path: Path) -> None:
    server.faults["zarr.json"] = 403
    with pytest.raises(InputError, match="not open to everybody"):
        read_years(source(server), tmp_path)
    with pytest.raises(SourceUnavailable, match="cannot be reached"):
        read_years(ZarrSource(url="http://127.0.0.1:1/arco", years=(2021,)), tmp_path)
    with pytest.raises(InputError, match=r"cannot be opened .*: install what that names"):
        read_years(ZarrSource(url="unheard://arco", years=(2021,)), tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    server: ZarrServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written to .*: make room"):
        read_years(source(server, months=[2]), tmp_path / "file")


@pytest.mark.parametrize(
    "url", ["https://me:secret@host/store", "https://host/store?token=secret", ""]
)
def test_addresses_with_secrets_are_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        ZarrSource(url=url, years=(2021,))


def test_the_folder_depends_on_what_the_values_depend_on() -> None:
    one = ZarrSource(url="gs://bucket/store", years=(2021,))
    same = [{"years": (2020, 2021)}, {"months": (1,)}, {"on_gaps": "skip"}]
    other = [{"hours": (0,)}, {"monthly": False}, {"variable": "t2m"}, {"url": "gs://bucket"}]
    assert {record_id(one.model_copy(update=change)) for change in same} == {record_id(one)}
    ids = {record_id(one.model_copy(update=change)) for change in other}
    assert len(ids | {record_id(one)}) == 5
