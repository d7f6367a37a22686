from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from functory.errors import InputError
from functory.sources.climate_files import FilesSource, find_files, open_files
from functory.sources.regridding import (
    Conservative,
    Linear,
    Regridding,
    Subsample,
    Unchanged,
    regrid,
)

COARSE = [
    Subsample(factor=16),
    Conservative(latitude=46, longitude=90),
    Linear(latitude=46, longitude=90),
]
FINE = [
    Subsample(factor=4),
    Conservative(latitude=181, longitude=360),
    Linear(latitude=181, longitude=360),
]


@pytest.fixture(scope="module")
def era5(data: Path) -> xr.Dataset:
    """Return the real global field, 721 x 1440."""
    source = FilesSource(paths=str(data / "climate" / "era5_t2m_global_0p25.grib"))
    return open_files(source, find_files(source))


@pytest.fixture(scope="module")
def canesm5(data: Path) -> xr.Dataset:
    """Return two real months on the Gaussian grid of a climate model, 64 x 128."""
    source = FilesSource(paths=str(data / "climate" / "tas_Amon_CanESM5*.nc"), variables="tas")
    return open_files(source, find_files(source)).isel(time=slice(0, 2))


def global_mean(field: xr.DataArray) -> float:
    """Return the mean over the sphere; cells meet half-way and the outermost end at the poles."""
    latitude = field["latitude"].values
    edges = np.concatenate([[90], (latitude[1:] + latitude[:-1]) / 2, [-90]])
    weights = -np.diff(np.sin(np.radians(edges)))
    weighted = field.astype(np.float64) * xr.DataArray(weights, dims="latitude")
    return float(weighted.sum("latitude").mean()) / weights.sum()


def grid(latitude: np.ndarray, longitude: np.ndarray, values: np.ndarray) -> xr.Dataset:
    """Return two times of one field."""
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), np.stack([values, values + 1]))},
        {"time": [0, 1], "latitude": latitude, "longitude": longitude},
    ).astype(np.float32)


# The real global field


@pytest.mark.parametrize("config", [*COARSE, *FINE], ids=repr)
def test_real_field_to_both_grids(era5: xr.Dataset, config: Linear) -> None:
    regridded = regrid(era5, config)
    field = regridded["t2m"]
    assert field.chunks is not None  # still lazy
    assert field.dims == ("time", "latitude", "longitude")
    assert field.dtype == np.float32
    assert field.shape == ((1, 46, 90) if config in COARSE else (1, 181, 360))
    assert field.attrs == era5["t2m"].attrs
    assert regridded["latitude"].attrs == era5["latitude"].attrs
    assert regridded.attrs == era5.attrs
    assert regridded["latitude"].values[[0, -1]].tolist() == [90, -90]
    step = 360 / field.sizes["longitude"]
    np.testing.assert_allclose(regridded["longitude"], np.arange(field.sizes["longitude"]) * step)
    values = field.values
    assert np.isfinite(values).all()
    original = era5["t2m"].values
    assert original.min() - 1e-3 <= values.min() < values.max() <= original.max() + 1e-3


def test_the_papers_subsampling_takes_points_as_they_are(era5: xr.Dataset) -> None:
    np.testing.assert_array_equal(
        regrid(era5, Subsample(factor=16))["t2m"].values, era5["t2m"].values[:, ::16, ::16]
    )


@pytest.mark.parametrize("config", [COARSE[1], FINE[1]], ids=repr)
def test_conservative_keeps_the_global_mean(era5: xr.Dataset, config: Conservative) -> None:
    change = global_mean(regrid(era5, config)["t2m"]) - global_mean(era5["t2m"])
    assert abs(change) < 2e-4  # K, 1e-6 of the mean; measured 1e-4


def test_conservative_keeps_the_global_mean_of_a_gaussian_grid(canesm5: xr.Dataset) -> None:
    regridded = regrid(canesm5, Conservative(latitude=46, longitude=90))["tas"]
    assert np.isfinite(regridded.values).all()
    change = global_mean(regridded) - global_mean(canesm5["tas"])
    assert abs(change) < 1e-2  # K, 4e-5 of the mean: cell edges lie half-way between latitudes


def test_linear_from_a_gaussian_grid(canesm5: xr.Dataset) -> None:
    regridded = regrid(canesm5, Linear(latitude=46, longitude=90))
    assert np.isfinite(regridded["tas"].values).all()
    assert regridded["time"].dt.calendar == "noleap"
    # The poles have no points of their own: the mean of the ring around them.
    ring = canesm5["tas"].isel(latitude=0).mean("longitude").values
    pole = regridded["tas"].isel(latitude=0).values
    np.testing.assert_allclose(pole, np.broadcast_to(ring[:, None], pole.shape), rtol=1e-5)


# Laws


@given(
    rows=st.integers(9, 40),
    columns=st.integers(9, 60),
    to_rows=st.integers(2, 60),
    to_columns=st.integers(2, 80),
    method=st.sampled_from([Linear, Conservative]),
    kind=st.sampled_from(["poles", "centres"]),
)
@settings(max_examples=40, deadline=None)
def test_constant_stays_constant_without_gaps(
    rows: int, columns: int, to_rows: int, to_columns: int, method: type, kind: str
) -> None:
    shift = 0.5 if kind == "centres" else 0
    if kind == "poles":
        latitude = np.linspace(90, -90, rows)
    else:
        latitude = 90 - (np.arange(rows) + 0.5) * 180 / rows
    longitude = (np.arange(columns) + shift) * (360 / columns)
    dataset = grid(latitude, longitude, np.full((rows, columns), 280.0))
    if method is Conservative:
        to_rows, to_columns = min(to_rows, rows - 1), min(to_columns, columns)
    regridded = regrid(dataset, method(latitude=to_rows, longitude=to_columns))["t2m"]
    assert regridded.shape == (2, to_rows, to_columns)
    np.testing.assert_allclose(regridded[0], 280, rtol=1e-6)
    np.testing.assert_allclose(regridded[1], 281, rtol=1e-6)


def test_linear_is_exact_in_latitude() -> None:
    latitude, longitude = np.linspace(90, -90, 19), np.arange(36) * 10.0
    dataset = grid(latitude, longitude, np.tile(3 * latitude[:, None], (1, 36)))
    regridded = regrid(dataset, Linear(latitude=31, longitude=50))["t2m"]
    wanted = np.tile(3 * regridded["latitude"].values[:, None], (1, 50))
    np.testing.assert_allclose(regridded[0], wanted, atol=1e-4)


@pytest.mark.parametrize("method", [Linear, Conservative])
def test_a_turn_of_the_globe_turns_the_result(method: type) -> None:
    """Shifting the data by whole target cells shifts the result: no seam at 0/360."""
    latitude, longitude = np.linspace(90, -90, 19), np.arange(40) * 9.0
    values = np.random.default_rng(0).normal(280, 10, (19, 40))
    config = method(latitude=10, longitude=20)
    straight = regrid(grid(latitude, longitude, values), config)["t2m"].values
    turned = regrid(grid(latitude, longitude, np.roll(values, 14, axis=1)), config)["t2m"].values
    np.testing.assert_allclose(turned, np.roll(straight, 7, axis=2), rtol=1e-5)


def test_linear_interpolates_across_greenwich() -> None:
    latitude, longitude = np.linspace(90, -90, 5), np.arange(4) * 90.0
    dataset = grid(latitude, longitude, np.tile([0.0, 10.0, 20.0, 30.0], (5, 1)))
    regridded = regrid(dataset, Linear(latitude=5, longitude=8))["t2m"]
    np.testing.assert_allclose(regridded[0, 2], [0, 5, 10, 15, 20, 25, 30, 15], atol=1e-5)


@pytest.mark.parametrize("columns", [638, 1276, 1987])
def test_rounding_does_not_open_the_circle(columns: int) -> None:
    """Longitudes of which the last step is wider by one bit than all the others."""
    shift = 0.5 if columns == 1987 else 0
    longitude = (np.arange(columns) + shift) * (360 / columns)
    dataset = grid(np.linspace(90, -90, 5), longitude, np.full((5, columns), 280.0))
    regridded = regrid(dataset, Linear(latitude=5, longitude=2 * columns))
    assert regridded["longitude"].values[0] == 0
    assert np.isfinite(regridded["t2m"].values).all()


@pytest.mark.parametrize("method", [Linear, Conservative])
def test_a_region_keeps_its_extent(method: type) -> None:
    latitude, longitude = np.linspace(58, 50, 33), np.linspace(-10, 2, 49)
    values = latitude[:, None] + longitude[None, :] / 10
    dataset = grid(latitude, longitude, values)
    regridded = regrid(dataset, method(latitude=17, longitude=25))["t2m"]
    np.testing.assert_allclose(regridded["latitude"], np.linspace(58, 50, 17))
    np.testing.assert_allclose(regridded["longitude"], np.linspace(-10, 2, 25))
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(regridded[0][inside], values[::2, ::2][inside], atol=0.01)
    assert np.isfinite(regridded.values).all()


def test_gaps_stay_gaps_and_do_not_grow() -> None:
    latitude, longitude = np.linspace(90, -90, 37), np.arange(72) * 5.0
    values = np.full((37, 72), 280.0)
    values[:, 24:48] = np.nan  # longitudes 120 to 235
    regridded = regrid(grid(latitude, longitude, values), Conservative(latitude=19, longitude=36))[
        "t2m"
    ][0]
    missing = np.isnan(regridded.values)
    assert not missing[:, :12].any()
    assert not missing[:, 25:].any()
    assert missing[:, 13:24].all()
    np.testing.assert_allclose(regridded.values[~missing], 280, rtol=1e-6)


def test_other_coordinates_and_variables_stay() -> None:
    dataset = grid(np.linspace(90, -90, 9), np.arange(16) * 22.5, np.ones((9, 16)))
    dataset = dataset.assign(u10=dataset["t2m"] * 2).assign_coords(expver=("time", ["1", "5"]))
    for config in (
        Unchanged(),
        Subsample(factor=2),
        Conservative(latitude=5, longitude=8),
        Linear(latitude=5, longitude=8),
    ):
        regridded = regrid(dataset, config)
        assert set(regridded.data_vars) == {"t2m", "u10"}
        assert regridded.coords["expver"].values.tolist() == ["1", "5"]
        np.testing.assert_allclose(regridded["u10"], 2 * regridded["t2m"])
    assert regrid(dataset, Unchanged()).equals(dataset)


# Refusals


def test_refusals() -> None:
    dataset = grid(np.linspace(90, -90, 19), np.arange(36) * 10.0, np.ones((19, 36)))
    with pytest.raises(InputError, match="every 19th point of a grid of 19 x 36"):
        regrid(dataset, Subsample(factor=19))
    with pytest.raises(InputError, match="20 x 36 points are not coarser than the data's 19 x 36"):
        regrid(dataset, Conservative(latitude=20, longitude=36))
    with pytest.raises(InputError, match="19 x 18 points are not coarser"):
        regrid(dataset, Conservative(latitude=19, longitude=18))
    with pytest.raises(InputError, match="a grid of 1 x 36 points cannot be regridded"):
        regrid(dataset.isel(latitude=[3]), Linear(latitude=5, longitude=8))


def test_configuration_is_chosen_by_its_method() -> None:
    adapter = TypeAdapter(Regridding)
    assert adapter.validate_python({"method": "subsample", "factor": 16}) == COARSE[0]
    assert adapter.validate_python({"method": "none"}) == Unchanged()
    for wrong in (
        {"method": "nearest"},
        {"method": "subsample", "factor": 0},
        {"method": "linear", "latitude": 46},
        {"method": "none", "factor": 4},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)
