"""The synthetic data: reproducible samples of smooth functions that behave like a climate."""

import dask
import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from functory.sources.era5_demo import DemoSource, generate


@pytest.fixture(scope="module")
def year() -> xr.DataArray:
    return generate(DemoSource(years=1, shape=(46, 90))).t2m.compute()


def month(fields: xr.DataArray, number: int) -> xr.DataArray:
    return fields.sel(time=fields.time.dt.month == number).mean("time")


def near(field: xr.DataArray, latitude: float, longitude: float) -> xr.DataArray:
    return field.sel(latitude=latitude, longitude=longitude % 360, method="nearest")


def test_nothing_is_computed_before_it_is_asked_for():
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("generate computed something")

    with dask.config.set(scheduler=refuse):
        dataset = generate(DemoSource(years=70, hours=tuple(range(24)), shape=(721, 1440)))
    assert dataset.t2m.shape == (20160, 721, 1440)
    assert max(dataset.t2m.chunks[0]) <= 32


def test_it_says_that_it_is_synthetic_and_follows_cf():
    dataset = generate(DemoSource(years=1))
    assert dataset.attrs["source"] == "synthetic: functory demo generator"
    assert dataset.attrs["licence"] == "CC0-1.0"
    assert "synthetic" in dataset.attrs["title"].lower()
    assert dataset.t2m.attrs["units"] == "K"
    assert dataset.t2m.attrs["standard_name"] == "air_temperature"
    assert dataset.t2m.dtype == np.float32
    assert dataset.t2m.dims == ("time", "latitude", "longitude")


def test_coordinates():
    dataset = generate(DemoSource(years=2, hours=(18, 6), start_year=1999, shape=(5, 4)))
    np.testing.assert_array_equal(dataset.latitude, [90, 45, 0, -45, -90])
    np.testing.assert_array_equal(dataset.longitude, [0, 90, 180, 270])
    times = dataset.time.dt.strftime("%Y-%m-%dT%H").values
    assert times[:3].tolist() == ["1999-01-01T06", "1999-01-01T18", "1999-02-01T06"]
    assert times[-1] == "2000-12-01T18"
    assert len(times) == 48


def test_the_same_configuration_gives_the_same_fields_and_another_seed_other_weather(year):
    again = generate(DemoSource(years=1, shape=(46, 90))).t2m
    xr.testing.assert_identical(again.compute(scheduler="sync"), year)
    other = generate(DemoSource(years=1, shape=(46, 90), seed=1)).t2m
    difference = abs(other.isel(time=slice(0, 48, 4)) - year.isel(time=slice(0, 48, 4)))
    assert 0.5 < float(difference.mean()) < 3


@pytest.mark.parametrize(
    "other", [{"years": 2}, {"hours": (6,)}, {"start_year": 2000, "years": 2}], ids=str
)
def test_a_field_does_not_depend_on_the_record_around_it(year, other):
    record = generate(DemoSource(**{"years": 1, "shape": (46, 90)} | other)).t2m
    for name in ("2001-02-01T06", "2001-11-01T06"):
        np.testing.assert_array_equal(record.sel(time=name), year.sel(time=name))


def test_a_finer_grid_agrees_where_the_grids_meet():
    coarse, fine = (
        generate(DemoSource(years=1, hours=(0,), shape=shape)).t2m.isel(time=[0, 6])
        for shape in ((46, 90), (91, 180))
    )
    np.testing.assert_allclose(fine[:, ::2, ::2], coarse, rtol=0, atol=1e-4)


def steps(shape: tuple[int, int], axis: int) -> np.ndarray:
    """Return the steps between neighbours along an axis, longitudes around the whole circle."""
    fields = generate(DemoSource(years=1, hours=(0,), shape=shape)).t2m.isel(time=[0, 7]).values
    around = {"append": fields[..., :1]} if axis == 2 else {}
    return abs(np.diff(fields, axis=axis, **around))


def test_fields_are_continuous_around_the_circles_of_latitude():
    coarse, fine = (steps((13, longitudes), axis=2) for longitudes in (360, 720))
    assert fine.max() < 0.6 * coarse.max()
    assert (fine[..., -1] <= fine[..., :-1].max(axis=2) + 1e-3).all()


def test_fields_are_continuous_over_the_poles():
    coarse, fine = (steps((latitudes, 12), axis=1) for latitudes in (361, 721))
    assert fine.max() < 0.6 * coarse.max()
    assert fine[:, [0, -1]].max() < 0.5
    assert steps((5, 12), axis=2)[:, [0, -1]].max() < 1e-3


def test_temperatures_are_those_of_an_earth(year):
    assert 200 < float(year.min()) < 225
    assert 305 < float(year.max()) < 320
    zonal = year.mean(("time", "longitude"))
    assert 295 < float(zonal.sel(latitude=0, method="nearest")) < 303
    assert 250 < float(zonal.sel(latitude=90)) < 265
    assert 220 < float(zonal.sel(latitude=-90)) < 245


def test_summer_is_warmer_than_winter_in_each_hemisphere_and_more_so_on_land(year):
    warming = month(year, 7) - month(year, 1)
    assert (warming.sel(latitude=slice(70, 30)).mean("longitude") > 5).all()
    assert (warming.sel(latitude=slice(-30, -70)).mean("longitude") < -3).all()
    assert near(warming, 62, 115) > 35
    assert 2 < near(warming, 45, -35) < 20


def test_the_sea_is_warmest_later_than_land(year):
    monthly = year.groupby("time.month").mean()
    assert int(near(monthly, 55, 80).argmax("month")) + 1 in (6, 7)
    assert int(near(monthly, 40, -160).argmax("month")) + 1 in (8, 9, 10)


def test_afternoons_are_warmer_than_nights_on_land_but_hardly_at_sea(year):
    july = year.sel(time=year.time.dt.month == 7)
    noon, midnight = july.isel(time=2), july.isel(time=0)
    assert near(noon - midnight, 22, 10) > 5
    assert near(noon - midnight, 35, -100) < -3
    assert abs(near(noon - midnight, 0, -30)) < 1.5


def test_mountains_and_ice_sheets_are_colder_than_their_latitude(year):
    mean = year.mean("time")
    for latitude, longitude in [(33, 88), (-18, -68), (73, -40)]:
        assert (
            near(mean, latitude, longitude)
            < mean.sel(latitude=latitude, method="nearest").mean() - 8
        )


def test_weather_is_not_exhausted_by_a_few_patterns(year):
    fields = year.values.reshape(len(year), -1).astype(np.float64)
    spectrum = np.linalg.svd(fields - fields.mean(0), compute_uv=False) ** 2 / fields.size

    def psnr(components: int) -> float:
        return float(10 * np.log10(np.ptp(fields) ** 2 / spectrum[components:].sum()))

    assert psnr(4) < 40
    assert psnr(8) < 44


@pytest.mark.parametrize(
    "wrong", [{"years": 0}, {"hours": ()}, {"hours": (24,)}, {"shape": (1, 90)}, {"seed": -1}]
)
def test_configuration_refuses(wrong):
    with pytest.raises(ValidationError):
        DemoSource(**wrong)
