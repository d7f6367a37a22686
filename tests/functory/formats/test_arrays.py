import json
import tracemalloc
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import soundfile
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import encoded, noise

from functory.errors import InputError
from functory.formats import read, write
from functory.formats.arrays import _plain

DIMS = ("time", "latitude", "longitude")
CLIMATE = {"modality": "climate", "sample_dimension": "time", "mask": "none"}


def field(times: int) -> xr.Dataset:
    values = np.random.default_rng(0).normal(280, 9, (times, 3, 4)).astype(np.float32)
    hours = np.datetime64("2020-01-01", "ns") + np.arange(times) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t2m": (DIMS, values, {"units": "K"})},
        {"time": hours, "latitude": [50.0, 45.0, 40.0], "longitude": np.arange(4) * 2.0},
        {**CLIMATE, "title": "a test", "time_units": "hours since 1900-01-01"},
    )


def open_options(path: Path) -> dict:
    if path.suffix == ".zarr":
        return {"engine": "zarr", "consolidated": False}
    return {"engine": "netcdf4"}


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_large_datasets_are_written_in_parts(tmp_path: Path, suffix: str) -> None:
    """Of 64 MiB, no more than a few chunks of 4 MiB are in memory at once."""
    lazy = da.ones((16, 1024, 1024), chunks=(1, -1, -1), dtype=np.float32)
    dataset, path = xr.Dataset({"t2m": (DIMS, lazy)}, attrs=CLIMATE), tmp_path / f"a{suffix}"
    with dask.config.set(scheduler="threads", num_workers=2):
        write(field(2), tmp_path / f"first{suffix}")  # modules and caches that stay
        tracemalloc.start()
        write(dataset, path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 32 * 2**20
    with xr.open_dataset(path, **open_options(path)) as written:
        assert float(written["t2m"][::5, 0].sum()) == 4 * 1024


def test_chunks_of_several_sizes(tmp_path: Path) -> None:
    """Zarr has chunks of one size, but a part of a Dataset has others."""
    dataset = field(10).chunk(time=4).isel(time=slice(3, 10))
    dataset = dataset.assign_coords(expver=("time", np.full(7, "0001")))
    with warnings.catch_warnings(action="error"):  # as of texts that are not of the standard
        write(dataset, tmp_path / "a.zarr")
    with xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as written:
        assert written["expver"].values.tolist() == ["0001"] * 7
        xr.testing.assert_equal(written["t2m"].drop_vars("expver"), field(10)["t2m"][3:])


@pytest.mark.parametrize("suffix", [".nc", ".nc4", ".zarr"])
def test_climate_files_are_plain(tmp_path: Path, suffix: str) -> None:
    """Another program finds times, units and attributes, and nothing that is ours."""
    path = tmp_path / f"a{suffix}"
    write(field(5), path)
    with xr.open_dataset(path, decode_times=False, **open_options(path)) as raw:
        assert raw.attrs == {"title": "a test"}
        assert raw["time"].attrs["units"].startswith("hours since 1900-01-01")
        assert raw["t2m"].dtype == np.float32
        assert raw["latitude"].dtype == np.float64
        assert raw["t2m"].attrs["units"] == "K"
        assert raw["t2m"].encoding.get("zlib", False) is False
    again = read(path)
    xr.testing.assert_equal(again, field(5))
    assert again["t2m"].attrs == {"units": "K"}


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_signals_of_other_kinds_come_back(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.png").write_bytes(encoded(noise(5, 7, 3)))
    soundfile.write(tmp_path / "a.wav", noise(50, 2) / 256, 8000)
    for name in ("a.png", "a.wav"):
        signals = read(tmp_path / name)
        path = tmp_path / f"{name}{suffix}"
        write(signals, path)
        again = read(path)
        xr.testing.assert_allclose(again, signals.drop_indexes("t", errors="ignore"), rtol=1e-12)
        assert again.attrs == signals.attrs
        write(again, tmp_path / f"b{name}")
        xr.testing.assert_equal(read(tmp_path / f"b{name}"), signals)


def test_some_of_the_signals(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(noise(5, 7, 3)))
    write(read(tmp_path / "a.png"), tmp_path / "a.nc")
    assert list(read(tmp_path / "a.nc", ["image"])) == ["image"]
    with pytest.raises(InputError, match="has the signals image: take of these"):
        read(tmp_path / "a.nc", ["t2m"])


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.text("ab°", max_size=3),
        st.one_of(
            st.text("ab°\n", max_size=3),
            st.integers(-(2**40), 2**40),
            st.floats(width=32).map(np.float32),
            st.lists(st.floats(), max_size=3).map(np.array),
            st.lists(st.text("ab°", max_size=3), max_size=3),
            st.none(),
            st.just({"a": [1]}),
        ),
    )
)
def test_attributes_become_json(attributes: dict) -> None:
    plain = _plain(attributes)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert _plain(plain) == plain
    for name, value in attributes.items():
        if isinstance(value, str | int):
            assert plain[name] == value


@pytest.mark.parametrize(
    ("name", "match"),
    [("a.nc", "a.nc cannot be read as NetCDF: "), ("a.zarr", "a.zarr cannot be read as Zarr: ")],
)
def test_files_of_nothing(tmp_path: Path, name: str, match: str) -> None:
    if name.endswith(".nc"):
        (tmp_path / name).write_bytes(b"nothing")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=match):
        read(tmp_path / name)


def test_a_zarr_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "mine").write_text("kept")
    with pytest.raises(InputError, match=r"a\.zarr exists already: remove it"):
        write(field(2), tmp_path / "a.zarr")
    assert [path.name for path in (tmp_path / "a.zarr").iterdir()] == ["mine"]
