import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from functory.errors import InputError
from functory.formats import read, write

MESSAGE = 3360  # bytes of a field of the UK


@pytest.fixture
def uk(data: Path, tmp_path: Path) -> Path:
    """Return a GRIB file of the first day of real fields."""
    with (data / "climate" / "era5-2mt-2019-03-uk.grib").open("rb") as file:
        (tmp_path / "uk.grib").write_bytes(file.read(24 * MESSAGE))
    return tmp_path / "uk.grib"


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_grib(uk: Path, tmp_path: Path, suffix: str) -> None:
    fields = read(uk)
    assert fields["t2m"].shape == (24, 33, 49)
    assert fields["t2m"].chunks is not None
    assert fields["t2m"].attrs["units"] == "K"
    assert fields.attrs == {"modality": "climate", "sample_dimension": "time", "mask": "none"}
    write(fields, tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")
    xr.testing.assert_equal(again, fields)
    assert again["t2m"].attrs == fields["t2m"].attrs
    assert again["latitude"].attrs == fields["latitude"].attrs


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_climate_model(data: Path, tmp_path: Path, suffix: str) -> None:
    """Values, the calendar, attributes and the height come back; the source agrees."""
    (path,) = (data / "climate").glob("tas_Amon_CanESM5*.nc")
    fields = read(path)
    assert list(fields.data_vars) == ["tas"]
    write(fields, tmp_path / f"a{suffix}")
    again = read(tmp_path / f"a{suffix}")
    xr.testing.assert_identical(again, fields)
    assert again["time"].dt.calendar == "noleap"
    assert json.loads(json.dumps(again.attrs)) == again.attrs
    with xr.open_dataset(path) as raw:
        source = raw["tas"].sel(lat=again["latitude"].values, method="nearest")
        np.testing.assert_array_equal(again["tas"], source)
        assert {name: again.attrs[name] for name in ("institution", "title")} == {
            name: raw.attrs[name] for name in ("institution", "title")
        }
        assert again["tas"].attrs["cell_methods"] == raw["tas"].attrs["cell_methods"]
        assert float(again["height"]) == float(raw["height"]) == 2
        assert again["height"].attrs == raw["height"].attrs
    options = {"engine": "zarr", "consolidated": False} if suffix == ".zarr" else {}
    with xr.open_dataset(tmp_path / f"a{suffix}", decode_times=False, **options) as raw:
        assert raw["time"].attrs["units"] == "days since 1850-01-01"


def test_some_variables(data: Path) -> None:
    path = data / "climate" / "ERA_Interim_2017a.nc"
    assert list(read(path)) == ["sp", "t2m", "tp", "u10", "v10"]
    assert list(read(path, ["u10", "t2m"])) == ["u10", "t2m"]
    with pytest.raises(InputError, match=r"has no variable 'x': it has sp, t2m"):
        read(path, ["x"])


def test_labels_of_further_dimensions(data: Path) -> None:
    path = data / "climate" / "glosea4_surface_temperature.nc"
    with pytest.raises(InputError, match=r"select one label of each \(member: 0, 1, 2"):
        read(path)
    assert read(path, select={"member": 3})["surface_temperature"].shape == (6, 145, 192)


def test_files_without_fields(uk: Path, tmp_path: Path) -> None:
    xr.Dataset({"a": ("n", [1.0])}).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(InputError, match=r"no variable on latitudes and longitudes: it has a\."):
        read(tmp_path / "a.nc")
    (tmp_path / "a.grib").write_bytes(b"nothing at all")
    with pytest.raises(InputError, match=r"a\.grib "):
        read(tmp_path / "a.grib")
    uk.write_bytes(uk.read_bytes()[: 10 * MESSAGE + 5])
    with pytest.raises(InputError, match=r"uk\.grib cannot be read as GRIB: truncated"):
        read(uk)


def test_truncated_netcdf(data: Path, tmp_path: Path) -> None:
    whole = (data / "climate" / "ERA_Interim_2017a.nc").read_bytes()
    for keep in (100, len(whole) // 2, len(whole) - 2000):
        (tmp_path / "a.nc").write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"a\.nc cannot be read as NetCDF"):
            read(tmp_path / "a.nc")
