"""A record that grows, with the real client against a loopback server of its protocol."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import cds_server
import numpy as np
import pytest
import xarray as xr
from cds_server import KEY, CdsServer, Inputs, Month
from hypothesis import given
from hypothesis import strategies as st

from functory.errors import InputError, SourceUnavailable
from functory.sources.era5_cds import CdsSource, download_record, download_year
from functory.sources.era5_record import (
    CdsRecord,
    Piece,
    available_months,
    months_of,
    pieces_for,
    update_record,
    without_holes,
)

SOURCE = CdsRecord(first_year=2020, hours=(0, 12), area=(60, -30, 0, 60))


def record(count: int, first: int = 2020) -> list[Month]:
    return [(first + i // 12, i % 12 + 1) for i in range(count)]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[CdsServer]:
    with cds_server.growing() as running:
        monkeypatch.setenv("CDSAPI_URL", running.url)
        monkeypatch.setenv("CDSAPI_KEY", KEY)
        yield running


def asked(store: CdsServer) -> list[tuple[str, list[str]]]:
    return [(inputs["year"][0], inputs["month"]) for inputs in store.asked]


# Which months there are


def test_the_service_is_asked_without_a_job(store: CdsServer) -> None:
    store.months = record(15)
    assert available_months(SOURCE, (2020, 11)) == [(2020, 11), (2020, 12), *record(15)[12:]]
    assert store.asked == []
    process = "/api/retrieve/v1/processes/reanalysis-era5-single-levels-monthly-means"
    assert set(store.requests) == {
        "GET /api/catalogue/v1/messages",
        f"GET {process}",
        f"POST {process}/constraints",
    }


def test_a_month_counts_when_all_variables_have_it(store: CdsServer) -> None:
    store.months = record(14)
    store.lacking = {"10m_u_component_of_wind": {(2020, 3), (2021, 2)}}
    both = SOURCE.model_copy(update={"variables": ("2m_temperature", "10m_u_component_of_wind")})
    expected = [month for month in record(13) if month != (2020, 3)]
    assert available_months(both, (2020, 1)) == expected


def test_months_come_in_any_order_and_twice(store: CdsServer) -> None:
    store.months = random.Random(0).sample([*record(15), *record(15)], 30)
    assert available_months(SOURCE, (2020, 1)) == record(15)


def test_a_service_that_is_down_may_come_back(store: CdsServer) -> None:
    store.months, store.unavailable = record(1), 1
    with pytest.raises(SourceUnavailable, match=r"503.*try again later"):
        available_months(SOURCE, (2020, 1))
    assert available_months(SOURCE, (2020, 1)) == record(1)


# How they are asked for

MONTHS = st.lists(st.sampled_from(record(40)), unique=True).map(sorted)


@given(MONTHS)
def test_months_without_holes_are_the_first_ones(months: list[Month]) -> None:
    found = without_holes(months, (2020, 1))
    assert found == record(len(found))
    assert set(found) <= set(months)
    assert record(len(found) + 1)[-1] not in months


@given(count=st.integers(0, 60), first=st.booleans())
def test_every_month_is_asked_for_once_and_settled_years_at_once(count: int, first: bool) -> None:
    pieces = pieces_for(record(count), first)
    assert [(year, month) for year, months in pieces for month in months] == record(count)
    whole = [year for year, months in pieces if len(months) > 1]
    assert whole == [2020 + i for i in range(6) if first and 12 * (i + 1) + 6 <= count]


# What is downloaded


def test_only_what_is_new_is_downloaded(store: CdsServer, tmp_path: Path) -> None:
    store.months = record(19)
    first = update_record(SOURCE, (), tmp_path)
    assert asked(store) == [
        ("2020", [f"{m:02d}" for m in range(1, 13)]),
        *(("2021", [f"{m:02d}"]) for m in range(1, 8)),
    ]
    assert [piece.label for piece in first[:2]] == ["2020", "2021-01"]
    assert update_record(SOURCE, first, tmp_path) == first
    assert len(store.asked) == 8
    store.months = record(21)  # a month was missed
    second = update_record(SOURCE, first, tmp_path)
    assert second[:8] == first
    assert asked(store)[8:] == [("2021", ["08"]), ("2021", ["09"])]
    assert months_of(second) == record(21)


def test_a_year_that_another_flow_has_downloaded_is_not_asked_for(
    store: CdsServer, tmp_path: Path
) -> None:
    from functory.sources.era5_cds import request_id

    year = CdsSource(years=(2020,), hours=SOURCE.hours, area=SOURCE.area)
    download_year(year, 2020, tmp_path / request_id(year))
    store.months = record(18)
    update_record(SOURCE, (), tmp_path)
    assert [months for year, months in asked(store) if year == "2020"] == [
        [f"{m:02d}" for m in range(1, 13)]
    ]


def test_preliminary_months_are_asked_for_until_they_are_final(
    store: CdsServer, tmp_path: Path
) -> None:
    store.months, store.preliminary = record(3), {(2020, 2), (2020, 3)}
    first = update_record(SOURCE, (), tmp_path)
    assert [piece.preliminary for piece in first] == [(), (2,), (3,)]
    assert update_record(SOURCE, first, tmp_path) == first
    store.preliminary = {(2020, 3)}
    second = update_record(SOURCE, first, tmp_path)
    assert [piece.preliminary for piece in second] == [(), (), (3,)]
    assert second[1].sha256 != first[1].sha256
    assert (second[0], second[2]) == (first[0], first[2])
    store.preliminary = set()
    last = update_record(SOURCE, second, tmp_path)
    assert asked(store)[3:] == [("2020", [m]) for m in ("02", "03", "02", "03", "03")]
    assert update_record(SOURCE, last, tmp_path) == last
    assert len(store.asked) == 8


def test_a_hole_is_waited_for(
    store: CdsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.months = [month for month in record(4) if month != (2020, 3)]
    with caplog.at_level(logging.WARNING, "functory.sources.era5_record"):
        first = update_record(SOURCE, (), tmp_path)
    assert months_of(first) == record(2)
    assert "2020-03" in caplog.text
    store.months = record(4)
    assert months_of(update_record(SOURCE, first, tmp_path)) == record(4)


def test_a_record_that_the_service_does_not_have(store: CdsServer, tmp_path: Path) -> None:
    store.months = record(3, first=2021)
    with pytest.raises(InputError, match=r"no 2m_temperature of 2020-01 in .*first_year"):
        update_record(SOURCE, (), tmp_path)
    assert store.asked == []


# What is preliminary


def netcdf(version: object) -> object:
    return lambda inputs: cds_server.encoded(
        cds_server.fields(inputs).drop_vars("expver").assign_coords(expver=version)
    )


def side_by_side(inputs: Inputs) -> bytes:
    """Return both versions along a dimension, with gaps, as the service did until 2024."""
    fields = cds_server.fields(inputs).drop_vars("expver")
    final = fields["valid_time"].dt.month < 3
    parts = [fields.where(final), fields.where(~final)]
    return cds_server.encoded(xr.concat(parts, xr.Variable("expver", [1, 5])))


@pytest.mark.parametrize(
    ("answer", "months"),
    [
        (netcdf(("valid_time", np.repeat(["0001", "0005"], [4, 2]))), [3]),
        (netcdf(("valid_time", np.repeat([1, 5], [4, 2]))), [3]),
        (netcdf("0005"), [1, 2, 3]),
        (netcdf("0001"), []),
        (lambda inputs: cds_server.encoded(cds_server.fields(inputs).drop_vars("expver")), []),
        (side_by_side, [3]),
    ],
    ids=["times", "numbers", "all", "none", "absent", "side-by-side"],
)
def test_what_netcdf_says_of_its_version(
    store: CdsServer, tmp_path: Path, answer: object, months: list[int]
) -> None:
    store.answer = answer  # type: ignore[assignment]
    source = CdsSource(
        years=(2020,), months=(1, 2, 3), hours=(0, 12), area=SOURCE.area, data_format="netcdf"
    )
    path = download_year(source, 2020, tmp_path)
    assert download_record(path).get("preliminary", []) == months
    download_year(source, 2020, tmp_path)
    assert len(store.asked) == 1
    download_year(source, 2020, tmp_path, renew=True)
    assert len(store.asked) == (2 if months else 1)


def test_a_piece_has_a_name_for_people() -> None:
    piece = Piece(year=2020, months=(3,), file="a/2020.grib", sha256="0")
    assert piece.label == "2020-03"
    assert piece.model_copy(update={"months": tuple(range(1, 13))}).label == "2020"
