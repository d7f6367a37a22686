import shutil
from collections.abc import Callable
from pathlib import Path

import eccodes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from functory.errors import InputError
from functory.sources.climate_files import FilesSource, check_units, find_files, open_files
from functory.sources.climate_variables import _unwrap

DIMS = ("time", "latitude", "longitude")


def opened(paths: str | Path | list[Path], variables: object = "t2m", **options: object):
    named = [str(p) for p in paths] if isinstance(paths, list) else str(paths)
    source = FilesSource.model_validate({"paths": named, "variables": variables, **options})
    return open_files(source, find_files(source))


def fields(
    hours: list[int],
    latitude: list[float] | np.ndarray = (90.0, 45.0, 0.0, -45.0, -90.0),
    longitude: list[float] | np.ndarray = (0.0, 90.0, 180.0, 270.0),
) -> xr.Dataset:
    """Return a data set in which every value tells its place: 200 + hour + lat + lon / 1000."""
    time = pd.Timestamp("2020-01-01") + pd.to_timedelta(hours, unit="h")
    latitude, longitude = np.asarray(latitude, float), np.asarray(longitude, float)
    values = expected(np.asarray(hours), latitude, longitude)
    return xr.Dataset(
        {"t2m": (DIMS, values, {"units": "K", "long_name": "2 metre temperature", "odd": 1})},
        {"time": time.as_unit("ns"), "latitude": latitude, "longitude": longitude},
    )


def expected(hours: np.ndarray, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    place = latitude[:, None] + (longitude % 360)[None, :] / 1000
    return (200 + hours[:, None, None] + place).astype(np.float32)


def assert_canonical(dataset: xr.Dataset) -> None:
    for field in dataset.data_vars.values():
        assert field.dims == DIMS
        assert field.dtype == np.float32
        assert field.chunks is not None
        assert field.chunks[1:] == ((field.sizes["latitude"],), (field.sizes["longitude"],))
    assert (np.diff(dataset["latitude"]) < 0).all()
    assert (np.diff(dataset["longitude"]) > 0).all()
    assert dataset.indexes["time"].is_monotonic_increasing
    assert set(dataset.coords) <= {*DIMS, "expver"}


def assert_places(dataset: xr.Dataset) -> None:
    """Every value is still at its own time and place."""
    hours = (dataset["time"].values - np.datetime64("2020-01-01")) / np.timedelta64(1, "h")
    values = expected(hours, dataset["latitude"].values, dataset["longitude"].values)
    np.testing.assert_allclose(dataset["t2m"].values, values, atol=1e-4)


# Real files


def test_era5_grib_of_a_region(data: Path) -> None:
    folder = data / "climate"
    before = sorted(folder.iterdir())
    dataset = opened(folder / "era5-2mt-2019-03-uk.grib", attribution="Copernicus")
    assert_canonical(dataset)
    assert dataset["t2m"].shape == (744, 33, 49)
    assert dataset["longitude"].values[[0, -1]].tolist() == [-10, 2]
    assert dataset["latitude"].values[[0, -1]].tolist() == [58, 50]
    assert str(dataset["time"].values[-1]).startswith("2019-03-31T23")
    assert dataset["t2m"].attrs["units"] == "K"
    assert dataset.attrs == {"attribution": "Copernicus"}
    first = float(dataset["t2m"][0].mean())
    assert 270 < first < 290
    assert sorted(folder.iterdir()) == before  # no index beside the data


def test_era5_global_field_is_one_time(data: Path) -> None:
    dataset = opened(data / "climate" / "era5_t2m_global_0p25.grib")
    assert_canonical(dataset)
    assert dataset["t2m"].shape == (1, 721, 1440)
    assert dataset["longitude"].values[[0, -1]].tolist() == [0, 359.75]
    check_units(dataset)


def test_levels_and_members_are_selected_exactly(data: Path) -> None:
    path = data / "climate" / "era5-levels-members.grib"
    dataset = opened(path, ["t", "z"], select={"number": 3, "isobaricInhPa": 500})
    assert_canonical(dataset)
    assert list(dataset.data_vars) == ["t", "z"]
    with xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as raw:
        wanted = raw.sel(number=3, isobaricInhPa=500)
        np.testing.assert_array_equal(dataset["t"].values, wanted["t"].values)
        np.testing.assert_array_equal(dataset["z"].values, wanted["z"].values)
    assert dataset["z"].attrs["units"] == "m**2 s**-2"

    with pytest.raises(InputError, match=r"no variable 't2m': it has t, z$"):
        opened(path)


def test_labels_are_exact(tmp_path: Path) -> None:
    levels = xr.concat([fields([0, 6]), fields([0, 6]) + 1], "level")
    path = tmp_path / "levels.nc"
    levels.assign_coords(level=np.array([0.1, 0.2], np.float32)).to_netcdf(path)
    dataset = opened(path, select={"level": 0.1})  # as exact as float32 is
    assert_canonical(dataset)
    assert_places(dataset)
    with pytest.raises(InputError, match=r"further dimensions, select one .*\(level: 0.1, 0.2\)"):
        opened(path)
    with pytest.raises(InputError, match=r"no level 0.15: select one of 0.1, 0.2"):
        opened(path, select={"level": 0.15})
    with pytest.raises(InputError, match=r"no dimension 'number' to select from: level, time"):
        opened(path, select={"number": 0})


def test_several_netcdf_files_along_time(data: Path) -> None:
    dataset = opened(data / "climate" / "ERA_Interim_2017?.nc", ["t2m", "u10"])
    assert_canonical(dataset)
    assert dataset["t2m"].chunks[0] == (1, 1, 1)  # a chunk never spans files
    assert [str(t)[:7] for t in dataset["time"].values] == ["2017-02", "2017-03", "2017-04"]
    with xr.open_dataset(data / "climate" / "ERA_Interim_2017b.nc") as raw:
        np.testing.assert_array_equal(
            dataset["u10"][1].values, raw["u10"][0].values.astype(np.float32)
        )
    with pytest.raises(InputError, match=r"ERA_Interim_2017a.nc has no variable 'x': it has sp, "):
        opened(data / "climate" / "ERA_Interim_2017?.nc", "x")
    with pytest.raises(InputError, match="none of the 3 files has the variable 'x'"):
        opened(data / "climate" / "ERA_Interim_2017?.nc", ["t2m", "x"])


def test_forecast_with_members_and_dates_as_text(data: Path) -> None:
    path = data / "climate" / "glosea4_surface_temperature.nc"
    dataset = opened(path, "surface_temperature", select={"member": 13})
    assert_canonical(dataset)
    assert dataset["surface_temperature"].shape == (6, 145, 192)
    assert str(dataset["time"].values[0]) == "2011-08-16T12:00:00.000000000"
    with xr.open_dataset(path) as raw:  # its latitudes ascend
        south = raw["surface_temperature"].sel(member=13).values[:, 0]
    np.testing.assert_array_equal(dataset["surface_temperature"].values[:, -1], south)
    with pytest.raises(InputError, match=r"no member 6: select one of 0, 1, 2, 3, 4, 5, 7, 8"):
        opened(path, "surface_temperature", select={"member": 6})


def test_climate_model_with_no_leap_calendar(data: Path) -> None:
    dataset = opened(data / "climate" / "tas_Amon_CanESM5*.nc", "tas")
    assert_canonical(dataset)
    assert dataset["tas"].shape == (60, 64, 128)
    assert dataset["time"].dt.calendar == "noleap"
    assert dataset["latitude"].values[0] == pytest.approx(87.8638, abs=1e-4)  # Gaussian
    check_units(dataset)


def test_different_grids_are_refused(data: Path) -> None:
    folder = data / "climate"
    paths = [folder / "ERA_Interim_2017a.nc", folder / "era5_t2m_global_0p25.grib"]
    with pytest.raises(InputError, match=r"241 x 480 .*era5_t2m_global_0p25.grib has 721 x 1440"):
        opened(paths)


@pytest.mark.parametrize("keep", [0.51, 0.999, "seam"])
def test_truncated_grib_is_refused(data: Path, tmp_path: Path, keep: float | str) -> None:
    whole = (data / "climate" / "era5-2mt-2019-03-uk.grib").read_bytes()
    # The seam: some whole messages and the first three bytes of the next.
    length = 3360 * 10 + 3 if keep == "seam" else int(len(whole) * float(keep))
    path = tmp_path / "cut.grib"
    path.write_bytes(whole[:length])
    with pytest.raises(InputError, match=r"cut.grib cannot be read as GRIB: truncated"):
        opened(path)


def test_grib_damaged_in_the_middle_is_refused(data: Path, tmp_path: Path) -> None:
    whole = bytearray((data / "climate" / "era5-2mt-2019-03-uk.grib").read_bytes())
    whole[3360 * 10 : 3360 * 10 + 4] = b"XXXX"
    path = tmp_path / "holed.grib"
    path.write_bytes(whole)
    with pytest.raises(InputError, match="no whole message begins at byte"):
        opened(path)


@pytest.mark.parametrize(
    "name", ["ERA_Interim_2017a.nc", "glosea4_surface_temperature.nc"], ids=["classic", "hdf5"]
)
def test_truncated_netcdf_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    whole = (data / "climate" / name).read_bytes()
    path = tmp_path / "cut.nc"
    path.write_bytes(whole[: len(whole) - 2000])
    with pytest.raises(InputError, match=r"cut.nc cannot be read as NetCDF"):
        opened(path, ["t2m", "surface_temperature"])


# Files made here, in the forms that people have


def rename_valid_time(dataset: xr.Dataset) -> xr.Dataset:
    """Return the form of the present CDS: valid_time, expver as text along it, scalar number."""
    versions = ["0001"] * (dataset.sizes["time"] - 1) + ["0005"]
    renamed = dataset.rename(time="valid_time")
    return renamed.assign_coords(number=0, expver=("valid_time", versions))


def version_dimension(dataset: xr.Dataset) -> xr.Dataset:
    """Return the form of the former CDS: a dimension expver, of which the final data (1) win."""
    settled = dataset["time"] < dataset["time"][-1]
    final = dataset.where(settled)
    preliminary = dataset.where(~settled, dataset + 7)
    both = xr.concat([preliminary, final], "expver").assign_coords(expver=[5, 1])
    return both.transpose("time", "expver", "latitude", "longitude")


FORMS: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "plain": lambda dataset: dataset,
    "short names": lambda dataset: dataset.rename(latitude="lat", longitude="lon"),
    "ascending latitudes": lambda dataset: dataset.isel(latitude=slice(None, None, -1)),
    "longitudes from -180": lambda dataset: dataset.assign_coords(
        longitude=(dataset["longitude"] + 180) % 360 - 180
    ).sortby("longitude"),
    "longitudes unsorted": lambda dataset: dataset.assign_coords(
        longitude=(dataset["longitude"] + 180) % 360 - 180
    ),
    "cyclic column": lambda dataset: xr.concat(
        [dataset, dataset.isel(longitude=[0]).assign_coords(longitude=[360.0])], "longitude"
    ),
    "valid_time": rename_valid_time,
    "expver dimension": version_dimension,
    "scalar coordinates": lambda dataset: dataset.assign_coords(height=2.0, surface=0.0, step=0),
    "dimension of one": lambda dataset: dataset.expand_dims(number=[0], axis=1),
    "other order": lambda dataset: dataset.transpose("longitude", "time", "latitude"),
    "unsorted times": lambda dataset: dataset.isel(time=[2, 0, 1]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_forms_are_brought_to_one(tmp_path: Path, form: str, suffix: str) -> None:
    given_ = FORMS[form](fields([0, 6, 12]))
    path = tmp_path / f"given.{suffix}"
    given_.to_netcdf(path) if suffix == "nc" else given_.to_zarr(path, consolidated=False)
    dataset = opened(path)
    assert_canonical(dataset)
    assert_places(dataset)
    assert dataset["t2m"].shape == (3, 5, 4)
    assert dataset["longitude"].values.tolist() == [0, 90, 180, 270]
    assert dataset["t2m"].attrs == {"units": "K", "long_name": "2 metre temperature"}
    if form == "valid_time":
        assert dataset["expver"].values.tolist() == ["0001", "0001", "0005"]
        assert dataset["expver"].dims == ("time",)
    else:
        assert "expver" not in dataset.coords


@given(
    west=st.integers(-180, 359),
    width=st.integers(2, 300),
    shift=st.sampled_from([-360, 0, 360]),
)
def test_longitudes_of_a_region_have_no_gap(west: int, width: int, shift: int) -> None:
    true = west + np.arange(width, dtype=float)
    # However a file writes them: wrapped at -180 or at 0, or running on.
    for written in ((true + 180) % 360 - 180, true % 360, true + shift):
        order, unwrapped = _unwrap(np.sort(written))
        np.testing.assert_allclose(np.diff(unwrapped), 1)
        assert -180 <= unwrapped[0] < 180
        np.testing.assert_allclose((unwrapped - true) % 360, 0)
        np.testing.assert_allclose((np.sort(written)[order] - true) % 360, 0)


def test_region_across_greenwich_keeps_its_negative_longitudes(tmp_path: Path) -> None:
    dataset = fields([0], latitude=[58.0, 50.0], longitude=[350.0, 356.0, 2.0])
    dataset.to_netcdf(tmp_path / "uk.nc")
    found = opened(tmp_path / "uk.nc")
    assert found["longitude"].values.tolist() == [-10, -4, 2]
    assert_places(found)


def test_single_time_as_a_scalar(tmp_path: Path) -> None:
    fields([6]).isel(time=0).to_netcdf(tmp_path / "one.nc")
    dataset = opened(tmp_path / "one.nc")
    assert_canonical(dataset)
    assert_places(dataset)
    fields([6]).isel(time=0, drop=True).to_netcdf(tmp_path / "none.nc")
    with pytest.raises(InputError, match="has no times"):
        opened(tmp_path / "none.nc")


def test_files_overlapping_in_time(tmp_path: Path) -> None:
    fields([6, 12, 18]).to_netcdf(tmp_path / "a.nc")
    fields([0, 6]).to_netcdf(tmp_path / "b.nc")
    dataset = opened(tmp_path / "*.nc")
    assert_canonical(dataset)
    assert_places(dataset)
    assert dataset.sizes["time"] == 4

    changed = fields([18, 24])
    changed["t2m"][0, 2, 2] += 0.5
    changed.to_netcdf(tmp_path / "c.nc")
    with pytest.raises(InputError, match=r"different values, for 2020-01-01T18.*a.nc and .*c.nc"):
        opened(tmp_path / "*.nc")


def test_variables_in_files_of_their_own(tmp_path: Path) -> None:
    fields([0, 6]).to_netcdf(tmp_path / "t2m.nc")
    wind = fields([0, 6]).rename(t2m="u10")
    wind.to_netcdf(tmp_path / "u10.nc")
    dataset = opened(tmp_path / "*.nc", ["u10", "t2m"])
    assert list(dataset.data_vars) == ["u10", "t2m"]
    assert_places(dataset)
    fields([12]).to_netcdf(tmp_path / "more.nc")
    with pytest.raises(InputError, match="not given at the same times: 1 times"):
        opened(tmp_path / "*.nc", ["u10", "t2m"])


def test_chunks_follow_the_chunks_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = fields(list(range(100)))
    dataset.to_netcdf(tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (7, 5, 4)}})
    size = 5 * 4 * 4
    monkeypatch.setattr("functory.sources.climate_variables.CHUNK", 31 * size)
    assert opened(tmp_path / "a.nc")["t2m"].chunks[0][:2] == (28, 28)
    monkeypatch.setattr("functory.sources.climate_variables.CHUNK", 3 * size)
    assert opened(tmp_path / "a.nc")["t2m"].chunks[0][:2] == (3, 3)


def test_accumulations_of_several_steps_become_hours(data: Path, tmp_path: Path) -> None:
    """Two starts with three steps each, as ERA5 has its precipitation in GRIB."""
    with (data / "climate" / "era5-2mt-2019-03-uk.grib").open("rb") as file:
        message = eccodes.codes_grib_new_from_file(file)
    path = tmp_path / "steps.grib"
    with path.open("wb") as file:
        for start in (600, 1800):
            for step in (1, 2, 3):
                eccodes.codes_set(message, "dataTime", start)
                eccodes.codes_set(message, "step", step)
                eccodes.codes_set_values(message, np.full(33 * 49, start / 100.0 + step))
                eccodes.codes_write(message, file)
    eccodes.codes_release(message)
    dataset = opened(path)
    assert_canonical(dataset)
    assert dataset["time"].dt.hour.values.tolist() == [7, 8, 9, 19, 20, 21]
    np.testing.assert_allclose(
        dataset["t2m"].mean(["latitude", "longitude"]), [7, 8, 9, 19, 20, 21]
    )
    second = opened(path, select={"step": 2})
    np.testing.assert_allclose(second["t2m"].mean(["latitude", "longitude"]), [8, 20])


# Refusals


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file: nothing matches '.*none\*.nc'"):
        find_files(FilesSource(paths=str(tmp_path / "none*.nc")))
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        open_files(FilesSource(paths="x.nc"), [tmp_path / "gone.nc"])


def test_globs_leave_indexes_out_and_name_a_file_once(tmp_path: Path) -> None:
    for name in ("b.grib", "a.grib", "a.grib.5b7b6.idx"):
        (tmp_path / name).touch()
    source = FilesSource(paths=(f"{tmp_path}/*grib*", f"{tmp_path}/a.grib"))
    assert [path.name for path in find_files(source)] == ["a.grib", "b.grib"]


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match="neither GRIB, NetCDF nor Zarr: it begins with b'<htm'"):
        opened(tmp_path / "text.nc")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "text.nc")
    with pytest.raises(InputError, match="zip archive: unpack it"):
        opened(tmp_path / "packed.zip")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder but no Zarr store"):
        opened(tmp_path / "folder")
    (tmp_path / "hollow.zarr").mkdir()
    (tmp_path / "hollow.zarr" / "zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"hollow.zarr cannot be read as Zarr"):
        opened(tmp_path / "hollow.zarr")


def test_grid_that_is_not_latitude_longitude(tmp_path: Path) -> None:
    fields([0]).rename(latitude="y", longitude="x").to_netcdf(tmp_path / "xy.nc")
    with pytest.raises(InputError, match="dimensions time, y, x: only regular"):
        opened(tmp_path / "xy.nc")


def test_times_that_are_no_dates(tmp_path: Path) -> None:
    fields([0, 1]).assign_coords(time=[0.0, 1.0]).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match="times that are not dates"):
        opened(tmp_path / "a.nc")


def test_grids_that_differ_in_a_coordinate(tmp_path: Path) -> None:
    fields([0]).to_netcdf(tmp_path / "a.nc")
    fields([6], latitude=[90, 40, 0, -45, -90]).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match=r"a.nc and .*b.nc .*latitude number 1 is 45 .* 40"):
        opened(tmp_path / "*.nc")


def test_grids_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    longitude = np.arange(0, 360, 0.1)
    fields([0], longitude=longitude).to_netcdf(tmp_path / "a.nc")
    rough = fields([6], longitude=longitude)
    rough.assign_coords(longitude=longitude.astype(np.float32)).to_netcdf(tmp_path / "b.nc")
    dataset = opened(tmp_path / "*.nc")
    assert_canonical(dataset)
    assert dataset["t2m"].shape == (2, 5, 3600)


def test_mixed_calendars(tmp_path: Path) -> None:
    fields([0]).to_netcdf(tmp_path / "a.nc")
    other = fields([6]).convert_calendar("noleap", use_cftime=True)
    other.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(InputError, match=r"calendar proleptic_gregorian and .*b.nc has noleap"):
        opened(tmp_path / "*.nc")


def test_units(tmp_path: Path) -> None:
    celsius = fields([0, 6]) - 273.15
    celsius["t2m"].attrs["units"] = "degC"
    celsius.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match="is in degC but the configuration says K"):
        opened(tmp_path / "a.nc", units={"t2m": "K"})
    check_units(opened(tmp_path / "a.nc", units={"t2m": "degC"}))

    celsius["t2m"].attrs["units"] = "K"
    celsius.to_netcdf(tmp_path / "wrong.nc")
    with pytest.raises(InputError, match=r"declared in K but has values from -163.1 to 23.1"):
        check_units(opened(tmp_path / "wrong.nc"))
    del celsius["t2m"].attrs["units"]
    celsius.to_netcdf(tmp_path / "none.nc")
    assert opened(tmp_path / "none.nc", units={"t2m": "degC"})["t2m"].attrs["units"] == "degC"
    with pytest.raises(InputError, match=r"different units \(degC in .*a.nc, None in .*none.nc\)"):
        opened([tmp_path / "a.nc", tmp_path / "none.nc"])


def test_units_are_checked_beside_missing_values(tmp_path: Path) -> None:
    dataset = fields([0])
    dataset["t2m"][0, :3] = np.nan
    dataset.to_netcdf(tmp_path / "a.nc")
    check_units(opened(tmp_path / "a.nc"))
    (dataset - 273.15).assign(t2m=lambda d: d["t2m"].assign_attrs(units="K")).to_netcdf(
        tmp_path / "b.nc"
    )
    with pytest.raises(InputError, match="degrees Celsius"):
        check_units(opened(tmp_path / "b.nc"))
