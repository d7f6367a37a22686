"""The description of a Dataset: real and made Datasets come back, hostile ones do not."""

import warnings
from pathlib import Path

import cftime
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from functory.coding.coordinate_values import Values, compress
from functory.coding.description import Description, Variable, coordinates, describe, restore
from functory.errors import InputError
from functory.sources.climate_files import FilesSource, open_files

CANESM5 = "tas_Amon_CanESM5_historical_r13i1p1f1_gn_185001-201412_subset.nc"
UNITS = ("units", "calendar", "_FillValue")


def through_description(dataset, variables):
    """Return a Dataset that was described and restored, the description, and what was lost."""
    description, arrays, lost = describe(dataset, variables)
    again = Description.model_validate_json(description.model_dump_json(exclude_defaults=True))
    values = {name: dataset[name].data for name in variables}
    return restore(again, arrays, values), description, lost


def made():
    """Return a Dataset with a coordinate of every kind."""
    times = np.array(["2001-01-16", "2001-02-14", "2001-03-16"], "M8[ns]")
    dataset = xr.Dataset(
        {
            "t2m": (("time", "y", "x"), np.zeros((3, 2, 4), "float32"), {"units": "K"}),
            "edges": (("y", "edge"), np.array([[0.0, 1.1], [1.1, 2.5]])),
            "crs": ((), 0, {"grid_mapping_name": "latitude_longitude"}),
            "other": ("x", np.arange(4.0)),
        },
        {
            "time": ("time", times, {"long_name": "time"}),
            "y": ("y", [0.5, 1.8], {"bounds": "edges"}),
            "latitude": (("y", "x"), np.random.default_rng(0).normal(size=(2, 4))),
            "name": ("x", ["a", "bb", "", "d"]),
            "day": cftime.Datetime360Day(2001, 2, 30),
            "step": np.timedelta64(3, "h").astype("m8[ns]"),
        },
        {"title": "made", "valid_range": np.array([1, 2], "int16")},
    )
    dataset["time"].encoding = {"units": "days since 1900-01-01", "calendar": "standard"}
    dataset["t2m"].encoding = {"_FillValue": np.float32(-999), "chunksizes": (1, 2, 4)}
    dataset["t2m"].encoding["grid_mapping"] = "crs"
    dataset.encoding["unlimited_dims"] = {"time"}
    return dataset


def test_a_dataset_comes_back_as_it_was():
    dataset = made()
    found, _, lost = through_description(dataset, ["t2m"])
    xr.testing.assert_identical(found, dataset.drop_vars("other"))
    assert list(found.variables) == [name for name in dataset.variables if name != "other"]
    assert lost == ["The variable 'other' is left out, since the model does not know it."]
    assert found["time"].encoding == dataset["time"].encoding
    assert found["t2m"].encoding == {"_FillValue": np.float32(-999), "grid_mapping": "crs"}
    assert type(found["t2m"].encoding["_FillValue"]) is np.float32
    assert found.encoding["unlimited_dims"] == {"time"}


def test_lazy_values_stay_lazy():
    dataset = made().chunk(time=1)
    found, _, _ = through_description(dataset, ["t2m"])
    assert isinstance(found["t2m"].data, da.Array)
    xr.testing.assert_identical(found, dataset.drop_vars("other"))


def opened(data, name):
    path = data / "climate" / name
    with warnings.catch_warnings(action="ignore"):
        options = {"backend_kwargs": {"indexpath": ""}} if path.suffix == ".grib" else {}
        return xr.open_dataset(path, **options)


@pytest.mark.parametrize(
    ("name", "variables", "most"),
    [
        (CANESM5, ["tas"], 4000),  # of these, 6 kB of attributes and three uneven axes
        ("ERA_Interim_2017a.nc", ["t2m", "sp"], 1000),
        ("glosea4_surface_temperature.nc", ["surface_temperature"], 500),
        ("era5-levels-members.grib", ["t"], 1000),
    ],
)
def test_climate_files_come_back(data, name, variables, most):
    with opened(data, name) as dataset:
        found, _, _ = through_description(dataset, variables)
        left_out = set(dataset.data_vars) - set(found.data_vars)
        xr.testing.assert_identical(found, dataset.drop_vars(left_out))
        assert not any("bnds" in name for name in left_out)
        for name, variable in found.variables.items():
            encoding, before = variable.encoding, dataset.variables[name].encoding
            packed = "scale_factor" in before
            kept = [key for key in UNITS if key in before and not packed]
            np.testing.assert_equal({k: encoding[k] for k in kept}, {k: before[k] for k in kept})


def test_a_file_of_what_is_restored_is_what_it_was_in_the_original(data, tmp_path):
    with opened(data, CANESM5) as dataset:
        found, _, _ = through_description(dataset, ["tas"])
        found.to_netcdf(tmp_path / "again.nc")
        undecoded = {"decode_times": False, "decode_cf": False}
        with (
            xr.open_dataset(tmp_path / "again.nc", **undecoded) as again,
            xr.open_dataset(dataset.encoding["source"], **undecoded) as before,
        ):
            for name in ("time", "time_bnds", "lat", "lat_bnds", "lon"):
                np.testing.assert_array_equal(again[name], before[name])
                assert again[name].dtype == before[name].dtype
            for key in ("units", "calendar"):
                assert again["time"].attrs[key] == before["time"].attrs[key]


def test_canonical_signals_come_back(data):
    path: Path = data / "climate" / CANESM5
    dataset = open_files(FilesSource(paths=str(path), variables=["tas"]), [path])
    found, description, lost = through_description(dataset, ["tas"])
    xr.testing.assert_identical(found, dataset)
    assert not lost
    assert description.variables["longitude"].values.stored is None


def test_packing_into_integers_is_not_kept_for_signals():
    dataset = xr.Dataset({"t": ("x", np.zeros(3))})
    dataset["t"].encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    found, _, lost = through_description(dataset, ["t"])
    assert found["t"].encoding == {}
    assert len(lost) == 1
    assert "packing of 't'" in lost[0]


def test_what_has_no_place_is_named():
    dataset = xr.Dataset(
        {"t": ("x", np.zeros(2), {"made": object()})},
        {"x": [1j, 2j], "y": ("x", [1, 2])},
    )
    found, _, lost = through_description(dataset, ["t"])
    assert set(found.variables) == {"t", "y"}
    assert [sentence.split(" is left out")[0] for sentence in sorted(lost)] == [
        "The attribute 'made' of the variable 't'",
        "The variable 'x'",
    ]


def test_coordinates_come_alone():
    description, arrays, _ = describe(made(), ["t2m"])
    found = coordinates(description, arrays)
    assert found.keys() == set(made().coords)
    for name, variable in found.items():
        xr.testing.assert_identical(variable, made().variables[name].to_base_variable())


def test_datasets_that_cannot_be_coded_are_refused(monkeypatch):
    dataset = made()
    with pytest.raises(InputError, match="no variable 'absent'"):
        describe(dataset, ["absent"])
    with pytest.raises(InputError, match="rename"):
        describe(dataset.rename(x=3), ["t2m"])
    with pytest.raises(InputError, match="convert it to float32"):
        describe(dataset.assign(t2m=dataset["t2m"].astype(complex)), ["t2m"])
    monkeypatch.setattr("functory.coding.description.LARGEST", 2**20)
    with pytest.raises(InputError, match="coordinates take more than 1 MiB"):
        describe(dataset.assign_coords(long=("long", np.arange(2**17))), ["t2m"])


def test_values_have_the_shape_that_was_described():
    description, arrays, _ = describe(made(), ["t2m"])
    with pytest.raises(ValueError, match=r"\(3, 2, 5\), but is described as \(3, 2, 4\)"):
        restore(description, arrays, {"t2m": np.zeros((3, 2, 5), "float32")})


LINE = {"dims": ["x"], "dtype": "float64", "coordinate": True}


@pytest.mark.parametrize(
    "hostile",
    [
        {"sizes": {"x": -1}},
        {"sizes": {"x": 2**60}},
        {"sizes": {"x": 2**30}, "variables": {"x": LINE | {"values": {}}}},
        {"sizes": {"x": 9}, "variables": {"x": LINE}},
        {"sizes": {"x": 9}, "variables": {"x": LINE | {"values": {"step": 1e999}}}},
        {"sizes": {"x": 9}, "variables": {"x": LINE | {"values": {"start": 10**400}}}},
        {"sizes": {"x": 9}, "variables": {"x": LINE | {"values": {}, "dims": ["x", "x"]}}},
        {"sizes": {"x": 9}, "variables": {"x": LINE | {"values": {}, "dims": []}}},
        {"sizes": {"x": 9}, "variables": {"t": LINE | {"values": {}, "dims": ["y"]}}},
        {"sizes": {"x": 9}, "variables": {"t": {"dims": ["x"], "dtype": "object"}}},
        {"sizes": {"x": 9}, "variables": {"t": LINE | {"values": {}, "encoding": {"a": 1}}}},
        {"sizes": {"x": 9}, "variables": {"t": LINE | {"values": {}, "encoding": {"dtype": "O"}}}},
        {
            "sizes": {str(i): 1 for i in range(40)},
            "variables": {"t": {"dims": [*map(str, range(40))], "dtype": "int8"}},
        },
        {"variables": {str(i): {"dims": [], "dtype": "int8"} for i in range(2000)}},
        {"sizes": {"x": 9}, "variables": {"t": LINE | {"values": {}, "encoding": {"dtype": [1]}}}},
        {"unlimited": ["x"]},
        {"unknown": 1},
    ],
    ids=lambda hostile: str(hostile)[:60],
)
def test_hostile_descriptions_are_refused(hostile):
    with pytest.raises(ValidationError):
        Description.model_validate(hostile)


@pytest.mark.parametrize(
    ("dtype", "values", "raw"),
    [
        ("U2", Values(stored="S2"), b"\xff\xff" * 3),
        ("object", Values(stored="S2"), b"\xff\xff" * 3),
        ("cftime[nonsense]", Values(), b""),
        ("cftime[standard]", Values(start=2**62, step=2**62), b""),
        ("float64", Values(stored="f8"), bytes(25)),
        ("float64", Values(stored="f8"), b""),
        ("float64", Values(), b"too much"),
        ("U2", Values(stored="S0"), b""),
    ],
)
def test_arrays_that_do_not_fit_are_refused(dtype, values, raw):
    axis = Variable(dims=("x",), dtype=dtype, values=values, coordinate=True)
    description = Description(sizes={"x": 3}, variables={"x": axis})
    with pytest.raises(InputError, match="damaged"):
        restore(description, compress([raw]), {})
    with pytest.raises(InputError, match="damaged"):
        restore(description, b"no compressed values", {})
