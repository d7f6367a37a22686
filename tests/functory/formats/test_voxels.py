import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from functory.errors import InputError
from functory.formats import read, write

DIMS = ("sample", "z", "y", "x")


def shape(size: tuple[int, ...], seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).random((1, *size)) < 0.3
    return xr.Dataset({"occupancy": (DIMS, values)})


@settings(max_examples=20)
@given(
    array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9),
    st.sampled_from([".npy", ".binvox"]),
    st.integers(0, 99),
)
def test_round_trip(size: tuple[int, ...], suffix: str, seed: int) -> None:
    voxels = shape(size, seed)
    with TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        write(voxels, path)
        again = read(path)
        np.testing.assert_array_equal(again["occupancy"], voxels["occupancy"])
        assert again["occupancy"].dtype == bool
        write(again, path.with_stem("b"))
        assert path.read_bytes() == path.with_stem("b").read_bytes()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "int64"])
def test_arrays_are_x_y_z_and_keep_their_type(tmp_path: Path, dtype: str) -> None:
    values = (np.random.default_rng(0).random((3, 4, 5)) < 0.5).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    voxels = read(tmp_path / "a.npy")
    assert dict(voxels.sizes) == {"sample": 1, "z": 5, "y": 4, "x": 3}
    assert bool(voxels["occupancy"][0, 4, 2, 1]) == bool(values[1, 2, 4])
    np.testing.assert_allclose(voxels["x"], [1 / 6, 3 / 6, 5 / 6])
    write(voxels, tmp_path / "b.npy")
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_binvox_keeps_where_it_lies(tmp_path: Path) -> None:
    voxels = shape((4, 4, 4)).assign_attrs(translate=[0.1, -2.0, 3.5], scale=0.75)
    write(voxels, tmp_path / "a.binvox")
    again = read(tmp_path / "a.binvox")
    assert again.attrs["translate"] == [0.1, -2.0, 3.5]
    assert again.attrs["scale"] == 0.75
    assert again.attrs["modality"] == "shape"


def test_probabilities_above_one_half_are_occupied(tmp_path: Path) -> None:
    values = np.array([0.0, 0.4, 0.6, 1.7], np.float32).reshape(1, 1, 1, 4)
    write(xr.Dataset({"occupancy": (DIMS, values)}), tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").ravel().tolist() == [False, False, True, True]


def test_real_shape(data: Path, tmp_path: Path) -> None:
    with gzip.open(data / "shapes" / "chair.npy.gz") as file:
        content = file.read(128 + 8 * 8 * 32**3)  # a header and eight of the chairs
    chair = np.frombuffer(content, np.float64, 32**3, len(content) - 8 * 32**3).reshape(32, 32, 32)
    np.save(tmp_path / "a.npy", chair)
    write(read(tmp_path / "a.npy"), tmp_path / "b.binvox")
    write(read(tmp_path / "b.binvox"), tmp_path / "c.npy")
    again = np.load(tmp_path / "c.npy")
    assert again.sum() > 100
    np.testing.assert_array_equal(again, chair)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.full((2, 2, 2), 0.5), "values other than 0 and 1 at index 0"),
        (np.full((2, 2, 2), np.nan), "values other than 0 and 1"),
        (np.zeros((2, 2)), r"the shape \(2, 2\)"),
        (np.zeros((1, 1, 2000), bool), r"three axes of 1 to 1024"),
        (np.zeros((0, 2, 2)), r"the shape \(0, 2, 2\)"),
        (np.full((2, 2, 2), "a"), "save voxels as bool"),
        (np.full((2, 2, 2), None), "cannot be read as npy"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, values: np.ndarray, match: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=match):
        read(tmp_path / "a.npy")


def test_arrays_with_a_damaged_header(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2), bool))
    content = (tmp_path / "a.npy").read_bytes()
    for place in range(len(content) - 8):
        (tmp_path / "a.npy").write_bytes(content[:place] + b"(" + content[place + 1 :])
        try:
            assert not read(tmp_path / "a.npy")["occupancy"].any()
        except InputError as error:
            assert "a.npy" in str(error)  # noqa: PT017


@pytest.mark.parametrize("suffix", [".npy", ".binvox"])
def test_files_cut_anywhere(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(shape((4, 3, 2)), path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=f"a{suffix}"):
            read(path)


def test_arrays_of_impossible_size_take_no_memory(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2), bool))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(2, 2, 2)", b"(999, 999, 999)"))
    with pytest.raises(InputError, match="cannot be read as npy"):
        read(tmp_path / "a.npy")
