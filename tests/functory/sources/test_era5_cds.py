"""The real client of the Climate Data Store against a loopback server of its protocol."""

import json
import logging
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import cds_server
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from cds_server import KEY, CdsServer, Inputs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functory.errors import FunctoryError, InputError, SourceUnavailable
from functory.sources import era5_answer
from functory.sources.era5_cds import (
    CdsSource,
    check_credentials,
    download_year,
    kept_year,
    request_id,
)

SOURCE = CdsSource(years=(2019, 2020), months=(1, 2), hours=(0, 12), area=(60, -30, 0, 60))
NETCDF = SOURCE.model_copy(update={"data_format": "netcdf"})


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the test a home without credentials."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CDSAPI_URL", "CDSAPI_KEY", "CDSAPI_RC"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[CdsServer]:
    """Serve what is asked for in the format asked for, to a user with a key."""
    with cds_server.serve(answer_well) as running:
        monkeypatch.setenv("CDSAPI_URL", running.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def answer_well(inputs: Inputs) -> bytes:
    return cds_server.grib(inputs) if inputs["data_format"] == "grib" else cds_server.netcdf(inputs)


def posts(store: CdsServer) -> int:
    return len(store.asked)


def is_one_sentence(error: BaseException) -> bool:
    text = str(error)
    return "\n" not in text and len(text) < 700 and ": " in text and not text.endswith(".")


# What arrives


def test_a_year_of_grib_opens_with_cfgrib_and_leaves_no_index(
    store: CdsServer, folder: Path
) -> None:
    path = download_year(SOURCE, 2020, folder)
    assert path == folder / "2020.grib"
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as dataset:
        assert dict(dataset["t2m"].sizes) == {"time": 4, "latitude": 3, "longitude": 4}
        assert set(dataset["time"].dt.year.values) == {2020}
        assert float(dataset["t2m"][0, -1, 0]) == pytest.approx(291, abs=0.01)
    assert sorted(os.listdir(folder)) == ["2020.grib", "2020.grib.json"]


def test_a_year_of_netcdf_is_the_bytes_of_the_service(store: CdsServer, folder: Path) -> None:
    path = download_year(NETCDF, 2020, folder)
    assert path == folder / "2020.nc"
    assert path.read_bytes() == store.jobs[0]


def test_the_request_is_what_the_service_documents(store: CdsServer, folder: Path) -> None:
    download_year(SOURCE, 2020, folder)
    assert store.asked == [
        {
            "product_type": ["monthly_averaged_reanalysis_by_hour_of_day"],
            "variable": ["2m_temperature"],
            "year": ["2020"],
            "month": ["01", "02"],
            "time": ["00:00", "12:00"],
            "data_format": "grib",
            "download_format": "unarchived",
            "area": [60.0, -30.0, 0.0, 60.0],
        }
    ]
    assert store.requests == [
        "GET /api/catalogue/v1/messages",
        "GET /api/retrieve/v1/processes/reanalysis-era5-single-levels-monthly-means",
        "POST /api/retrieve/v1/processes/reanalysis-era5-single-levels-monthly-means/execution",
        "GET /api/retrieve/v1/jobs/0",
        "GET /api/retrieve/v1/jobs/0",
        "GET /api/retrieve/v1/jobs/0/results",
        "HEAD /cache/0",
        "GET /cache/0",
    ]


def test_the_whole_globe_and_a_waiting_job(store: CdsServer, folder: Path) -> None:
    store.polls = 1
    source = CdsSource(
        years=(2020,), hours=(0,), variables=("2m_temperature", "10m_u_component_of_wind")
    )
    download_year(source, 2020, folder)
    assert "area" not in store.asked[0]
    assert store.polls == 0


def test_forecast_means_stamped_with_the_next_day_are_complete(
    store: CdsServer, folder: Path
) -> None:
    def rain(inputs: Inputs) -> bytes:
        latitude, longitude = cds_server.grid(inputs)
        return b"".join(
            cds_server.message(
                228, pd.Timestamp(2020, month, 1, start), latitude, longitude, type="fc", step=step
            )
            for month in (1, 2)
            for start in (6, 18)
            for step in range(1, 13)
        )

    store.answer = rain
    update = {"variables": ("total_precipitation",), "hours": tuple(range(24))}
    download_year(SOURCE.model_copy(update=update), 2020, folder)


def test_a_product_without_hours_is_compared_by_month(store: CdsServer, folder: Path) -> None:
    source = CdsSource(
        years=(2020,), product_type="monthly_averaged_reanalysis", hours=(0,), area=SOURCE.area
    )
    store.answer = lambda inputs: cds_server.grib(inputs | {"time": ["06:00"]})
    download_year(source, 2020, folder)


# Kept once downloaded


def test_a_kept_year_asks_nothing_and_needs_no_key(
    store: CdsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download_year(SOURCE, 2020, folder)
    before = len(store.requests)
    monkeypatch.delenv("CDSAPI_KEY")
    assert download_year(SOURCE, 2020, folder) == path
    assert kept_year(SOURCE, 2020, folder) == path
    assert kept_year(SOURCE, 2019, folder) is None
    assert len(store.requests) == before


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def no_record(path: Path) -> None:
    path.with_name(f"{path.name}.json").unlink()


def torn_record(path: Path) -> None:
    path.with_name(f"{path.name}.json").write_text('{"dataset": ')


def other_record(path: Path) -> None:
    sidecar = path.with_name(f"{path.name}.json")
    record = json.loads(sidecar.read_text())
    record["request"]["month"] = ["01"]
    sidecar.write_text(json.dumps(record))


@pytest.mark.parametrize("spoil", [damaged, cut, no_record, torn_record, other_record])
def test_what_is_not_the_whole_year_is_fetched_again(
    store: CdsServer, folder: Path, spoil: object
) -> None:
    path = download_year(SOURCE, 2020, folder)
    spoil(path)  # type: ignore[operator]
    assert kept_year(SOURCE, 2020, folder) is None
    assert download_year(SOURCE, 2020, folder) == path
    assert path.read_bytes() == store.jobs[1]
    assert kept_year(SOURCE, 2020, folder) == path


def test_what_a_kill_leaves_is_ignored_and_goes_when_old(store: CdsServer, folder: Path) -> None:
    for name in (".2020-old", ".2020-new", ".2019-old"):
        (folder / name).mkdir(parents=True)
        (folder / name / "answer").write_bytes(b"GRIB")
        if name.endswith("old"):
            os.utime(folder / name, (time.time() - 10**6,) * 2)
    (folder / "2020.grib").write_bytes(b"GRIB")
    path = download_year(SOURCE, 2020, folder)
    assert path.read_bytes() == store.jobs[0]
    assert {name for name in os.listdir(folder) if name[0] == "."} == {".2020-new", ".2019-old"}


def test_after_a_failure_finished_years_are_not_asked_for_again(
    store: CdsServer, folder: Path
) -> None:
    download_year(SOURCE, 2019, folder)
    store.unavailable = 1
    with pytest.raises(SourceUnavailable):
        download_year(SOURCE, 2020, folder)
    for year in SOURCE.years:
        download_year(SOURCE, year, folder)
    assert [inputs["year"] for inputs in store.asked] == [["2019"], ["2020"]]


# What may pass


def test_503_is_tried_again_by_the_caller_alone(store: CdsServer, folder: Path) -> None:
    store.unavailable = 3
    for _ in range(3):
        with pytest.raises(SourceUnavailable, match=r"503.*under maintenance.*try again") as caught:
            download_year(SOURCE, 2020, folder)
        assert is_one_sentence(caught.value)
    assert posts(store) == 0
    download_year(SOURCE, 2020, folder)


def test_a_failed_job(store: CdsServer, folder: Path) -> None:
    store.failure = "Traceback\n  the archive went away"
    with pytest.raises(SourceUnavailable, match=r"the archive went away.*try again") as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)
    assert os.listdir(folder) == []
    store.failure = None
    download_year(SOURCE, 2020, folder)


def test_a_truncated_body(store: CdsServer, folder: Path) -> None:
    store.truncated = 1
    with pytest.raises(SourceUnavailable) as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)
    assert os.listdir(folder) == []
    assert len([line for line in store.requests if line == "GET /cache/0"]) == 1
    download_year(SOURCE, 2020, folder)


def test_a_file_shorter_than_announced(store: CdsServer, folder: Path) -> None:
    store.size = 10**6
    with pytest.raises(SourceUnavailable, match=r"no complete answer.*out of 1000000") as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("wrong", ["d41d8cd98f00b204e9800998ecf8427e", "0" * 32, "no sum"])
def test_a_wrong_checksum(store: CdsServer, folder: Path, wrong: str) -> None:
    store.checksum = wrong
    with pytest.raises(SourceUnavailable, match="checksum"):
        download_year(SOURCE, 2020, folder)
    store.tag = f'"{store.checksum}"'
    with pytest.raises(SourceUnavailable, match="checksum"):
        download_year(SOURCE, 2020, folder)
    assert os.listdir(folder) == []


def test_the_sum_of_a_file_stored_in_parts_says_nothing(store: CdsServer, folder: Path) -> None:
    store.checksum = "d41d8cd98f00b204e9800998ecf8427e"
    store.tag = f'"{store.checksum}-2"'
    download_year(SOURCE, 2020, folder)


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("CDSAPI_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("CDSAPI_KEY", KEY)
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"", b"PK\x03\x04 no zip"])
def test_an_answer_that_is_no_data(store: CdsServer, folder: Path, body: bytes) -> None:
    store.answer = lambda inputs: body
    with pytest.raises(SourceUnavailable, match="try again"):
        download_year(SOURCE, 2020, folder)


def test_a_file_damaged_within(store: CdsServer, folder: Path) -> None:
    store.answer = lambda inputs: cds_server.grib(inputs)[:-40]
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        download_year(SOURCE, 2020, folder)
    store.answer = lambda inputs: cds_server.netcdf(inputs)[:2000]
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        download_year(NETCDF, 2020, folder)
    assert os.listdir(folder) == []


# What will not


@pytest.mark.parametrize(
    ("status", "title", "says"),
    [
        (403, "required licences not accepted", "accept them at .*means.tab=download"),
        (403, "cost limits exceeded", "403 .cost limits exceeded.*less at once"),
        (400, "invalid request", "400 .invalid request"),
        (400, "Request has not produced a valid combination of values", "leave out years"),
        (400, "None of the data you have requested is available yet", "leave out years"),
        (404, "process not found", "no data set reanalysis-era5"),
    ],
)
def test_a_refused_request(
    store: CdsServer, folder: Path, status: int, title: str, says: str
) -> None:
    store.refusal = (status, {"title": title})
    with pytest.raises(InputError, match=says) as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)


def test_a_year_without_data(store: CdsServer, folder: Path) -> None:
    store.failure = "MARS returned no data, please check your selection."
    with pytest.raises(InputError, match=r"has no such data.*leave out"):
        download_year(SOURCE, 2020, folder)


def test_a_wrong_key(store: CdsServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDSAPI_KEY", "another")
    with pytest.raises(InputError, match=r"does not know the key .*authentication failed"):
        download_year(SOURCE, 2020, folder)


def asks_for(**changes: object) -> object:
    return lambda inputs: answer_well(inputs | changes)


@pytest.mark.parametrize("source", [SOURCE, NETCDF], ids=["grib", "netcdf"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"year": ["2019"]}, r"2019 where 2020 was asked"),
        ({"year": ["2019", "2020"]}, r"2019, 2020 where 2020 was asked"),
        ({"month": ["01"]}, r"lacks 2 of 4 fields of .*month 2 hour 0"),
        ({"time": ["00:00"]}, r"lacks 2 of 4 fields of .*month 1 hour 12"),
        ({"time": ["00:00", "12:00", "18:00"]}, r"2 fields of .* not asked for"),
        ({"area": [60, 30, 0, 60]}, r"longitudes 30 to 60, not the area \(60"),
        ({"area": [60, -30, -60, 60]}, r"latitudes -60 to 60 "),
        (
            {"variable": ["2m_temperature", "10m_u_component_of_wind"]},
            r"holds 2 variables .*t.*where 1 were asked",
        ),
    ],
)
def test_an_answer_to_another_request(
    store: CdsServer, folder: Path, source: CdsSource, changes: dict[str, object], says: str
) -> None:
    store.answer = asks_for(**changes)  # type: ignore[assignment]
    with pytest.raises(InputError, match=says) as caught:
        download_year(source, 2020, folder)
    assert is_one_sentence(caught.value)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("warmer", [0, 1])
def test_fields_that_come_twice_have_to_be_the_same(
    store: CdsServer, folder: Path, warmer: int
) -> None:
    def twice(inputs: Inputs) -> bytes:
        time, (latitude, longitude) = cds_server.times(inputs)[0], cds_server.grid(inputs)
        field = cds_server.values(time, latitude, longitude) + warmer
        number = cds_server.PARAMETERS["2m_temperature"][0]
        again = cds_server.message(number, time, latitude, longitude, field)
        return cds_server.grib(inputs) + again

    store.answer = twice
    if not warmer:
        assert download_year(SOURCE, 2020, folder)
        return
    with pytest.raises(InputError, match="of 2020-01 twice, with different values") as caught:
        download_year(SOURCE, 2020, folder)
    assert is_one_sentence(caught.value)
    assert os.listdir(folder) == []


def test_an_answer_in_another_format(store: CdsServer, folder: Path) -> None:
    store.answer = cds_server.netcdf
    with pytest.raises(InputError, match="in netcdf where grib was asked: change data_format"):
        download_year(SOURCE, 2020, folder)


def test_a_folder_that_cannot_be_written(store: CdsServer, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written to .*raw"):
        download_year(SOURCE, 2020, folder)


# Zips


def test_a_zip_of_one_file_is_unpacked(store: CdsServer, folder: Path) -> None:
    store.answer = lambda inputs: cds_server.zipped(**{"a.nc": cds_server.netcdf(inputs)})
    path = download_year(NETCDF, 2020, folder)
    with xr.open_dataset(path) as dataset:
        assert dataset["t2m"].sizes["valid_time"] == 4
    assert sorted(os.listdir(folder)) == ["2020.nc", "2020.nc.json"]


def test_a_zip_of_step_types_is_merged_by_month_and_hour(store: CdsServer, folder: Path) -> None:
    def answer(inputs: Inputs) -> bytes:
        means = cds_server.fields(inputs | {"variable": ["2m_temperature"]})
        late = cds_server.fields(inputs | {"variable": ["10m_u_component_of_wind"]})
        stamps = late["valid_time"].values.copy()
        stamps[::2] += np.timedelta64(1, "D")  # 00 UTC as the end of a forecast
        late = late.assign_coords(valid_time=stamps)
        return cds_server.zipped(
            **{"avgua.nc": cds_server.encoded(means), "avgad.nc": cds_server.encoded(late)}
        )

    store.answer = answer
    update = {"variables": ("2m_temperature", "10m_u_component_of_wind")}
    path = download_year(NETCDF.model_copy(update=update), 2020, folder)
    with xr.open_dataset(path) as dataset:
        assert dict(dataset.sizes) == {"valid_time": 4, "latitude": 3, "longitude": 4}
        assert not dataset["u10"].isnull().any()
        xr.testing.assert_equal(dataset["u10"].rename("t2m"), dataset["t2m"])


def test_a_zip_of_two_grids_is_refused(store: CdsServer, folder: Path) -> None:
    def answer(inputs: Inputs) -> bytes:
        wide = cds_server.netcdf(inputs | {"area": [60, -30, -30, 60]})
        return cds_server.zipped(**{"a.nc": cds_server.netcdf(inputs), "b.nc": wide})

    store.answer = answer
    with pytest.raises(InputError, match="2 files whose grids or times differ"):
        download_year(NETCDF, 2020, folder)


def test_a_zip_cannot_write_outside(store: CdsServer, folder: Path) -> None:
    store.answer = lambda inputs: cds_server.zipped(
        **{"../../evil.nc": cds_server.netcdf(inputs), "/evil/": b""}
    )
    download_year(NETCDF, 2020, folder)
    assert sorted(os.listdir(folder)) == ["2020.nc", "2020.nc.json"]
    assert not list(folder.parent.rglob("evil*"))


def test_a_zip_bomb_is_not_unpacked(
    store: CdsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(era5_answer, "LEAST_UNPACKED_LIMIT", 10**5)
    store.answer = lambda inputs: cds_server.zipped(**{"a.nc": bytes(10**6)})
    with pytest.raises(InputError, match="1 files of 1000000 bytes"):
        download_year(NETCDF, 2020, folder)
    store.answer = lambda inputs: cds_server.zipped(**{f"{n}.nc": b"CDF" for n in range(100)})
    with pytest.raises(InputError, match="100 files"):
        download_year(NETCDF, 2020, folder)


# Credentials


def test_no_credentials_is_one_sentence_before_the_network(folder: Path) -> None:
    for refuse in (check_credentials, lambda: download_year(SOURCE, 2020, folder)):
        with pytest.raises(InputError, match=r"CDSAPI_URL and CDSAPI_KEY.*cdsapirc") as caught:
            refuse()
        assert is_one_sentence(caught.value)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("https://cds.example/api", "", "no credentials"),
        ("", KEY, "no credentials"),
        ("cds.example/api", KEY, "no http address"),
        ("https://cds.example/api", f"12345:{KEY}", "retired"),
        ("https://cds.example/api", f"{KEY} ", "spaces or unprintable"),
        ("https://cds.example/api", f"{KEY}\u00e9", "spaces or unprintable"),
    ],
)
def test_credentials_that_cannot_work(
    nobody: Path, monkeypatch: pytest.MonkeyPatch, url: str, key: str, says: str
) -> None:
    monkeypatch.setenv("CDSAPI_URL", url)
    monkeypatch.setenv("CDSAPI_KEY", key)
    with pytest.raises(InputError, match=says) as caught:
        check_credentials()
    assert is_one_sentence(caught.value)
    assert KEY not in str(caught.value)


def test_credentials_of_a_file(
    store: CdsServer, nobody: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDSAPI_URL")
    monkeypatch.delenv("CDSAPI_KEY")
    (nobody / ".cdsapirc").write_text(f"url: {store.url}\nkey: {KEY}\n")
    download_year(SOURCE, 2020, folder)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_the_key_is_told_to_nobody(
    store: CdsServer,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    status: int,
) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    download_year(SOURCE, 2019, folder)
    store.refusal = (status, {"title": f"we saw the key {KEY}", "detail": KEY})
    with pytest.raises(FunctoryError) as caught:
        download_year(SOURCE, 2020, folder)
    shown = "".join(traceback.format_exception(caught.value))
    written = "".join(path.read_text() for path in folder.glob("*.json"))
    out, err = capfd.readouterr()
    assert caplog.text
    for text in (str(caught.value), shown, written, caplog.text, out, err):
        assert KEY not in text


# Configuration


@pytest.mark.parametrize(
    "wrong",
    [
        {"years": ()},
        {"years": (1939,)},
        {"months": (0, 1)},
        {"months": (13,)},
        {"months": ()},
        {"hours": (24,)},
        {"hours": ()},
        {"variables": ()},
        {"variables": ("a", "a")},
        {"area": (0, 0, 10, 10)},
        {"area": (10, 10, 0, 0)},
        {"area": (10, -200, 0, 0)},
        {"area": (float("nan"), 0, 0, 10)},
        {"dataset": "../evil"},
        {"data_format": "zarr"},
        {"key": KEY},
        {"product_type": "monthly_averaged_reanalysis"},
    ],
)
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CdsSource.model_validate({"years": (2020,)} | wrong)


def test_the_defaults_are_the_whole_year() -> None:
    source = CdsSource(years=(2020, 1999, 2020))
    assert source.years == (1999, 2020)
    assert (source.months, source.hours) == (tuple(range(1, 13)), tuple(range(24)))


def test_the_request_id_is_of_everything_but_the_years() -> None:
    first = CdsSource(years=(2020,))
    assert request_id(first) == request_id(CdsSource(years=(1999, 2000)))
    # Of what stands on people's disks: it changes only together with the request itself.
    assert request_id(first) == "1c26e637181ae50d"
    for change in (
        {"months": (1,)},
        {"hours": (0,)},
        {"variables": ("total_precipitation",)},
        {"area": (10, 0, 0, 10)},
        {"data_format": "netcdf"},
        {"dataset": "reanalysis-era5-land-monthly-means"},
    ):
        assert request_id(first.model_copy(update=change)) != request_id(first)


# The area


@given(
    north=st.integers(-20, 90),
    height=st.integers(2, 60),
    west=st.integers(-180, 180),
    width=st.integers(2, 359),
    first=st.sampled_from([-180, 0]),
)
def test_every_box_of_the_archive_covers_itself_and_no_other(
    north: int, height: int, west: int, width: int, first: int
) -> None:
    area = (north, west, north - height, west + width)
    latitude = np.arange(north, north - height - 0.5, -0.5)
    longitude = (np.arange(west, west + width + 0.25, 0.5) - first) % 360 + first
    longitude = np.unique(longitude)
    assert era5_answer._covers(latitude, longitude, area)
    assert not era5_answer._covers(latitude[2:], longitude, area)
    assert not era5_answer._covers(latitude[:-2], longitude, area)
    if width <= 355:
        assert not era5_answer._covers(latitude, longitude, (north, west, area[2], area[3] + 2))
        assert not era5_answer._covers(latitude, longitude + 2, area)


@pytest.mark.parametrize("west", [-180, 0])
def test_a_global_grid_covers_the_globe(west: int) -> None:
    latitude, longitude = np.linspace(90, -90, 721), np.arange(0, 360, 0.25)
    assert era5_answer._covers(latitude, longitude, (90, west, -90, west + 360))
    assert not era5_answer._covers(latitude, longitude[:700], (90, west, -90, west + 360))


def test_real_era5_is_read_as_what_it_is(data: Path) -> None:
    expected = era5_answer.Expected(
        year=2022,
        months=(10,),
        hours=(0,),
        variables=("2m_temperature",),
        area=None,
        data_format="grib",
    )
    era5_answer.require_expected(data / "climate" / "era5_t2m_global_0p25.grib", expected)
