import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from functory.errors import InputError
from functory.formats import read, write

AFFINE = np.array([[0, -2, 0.1, 5], [1.5, 0, 0, -7], [0, 0.2, 3, 11], [0, 0, 0, 1]], float)


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(np.float32).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(max(limits.min, -(2**20)), min(limits.max, 2**20), shape, endpoint=True)
    return values.astype(dtype)


def save(path: Path, values: np.ndarray, slope: float = 1, inter: float = 0) -> Path:
    image = nibabel.Nifti1Image(values, AFFINE, dtype=values.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"a scan"
    if (slope, inter) != (1, 0):
        image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


def assert_alike(one: Path, other: Path) -> None:
    a, b = nibabel.load(one), nibabel.load(other)
    np.testing.assert_array_equal(a.dataobj.get_unscaled(), b.dataobj.get_unscaled())
    np.testing.assert_array_equal(a.affine, b.affine)
    assert a.get_data_dtype() == b.get_data_dtype()
    assert (a.dataobj.slope, a.dataobj.inter) == (b.dataobj.slope, b.dataobj.inter)
    assert a.shape == b.shape
    for field in ("pixdim", "xyzt_units", "sform_code", "qform_code", "descrip"):
        np.testing.assert_array_equal(a.header[field], b.header[field], err_msg=field)


@settings(max_examples=20)
@given(
    array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=6),
    st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
    st.sampled_from([(1.0, 0.0), (0.5, -3.0), (2.0, 0.0)]),
    st.sampled_from([".nii", ".nii.gz"]),
)
def test_round_trip(
    shape: tuple[int, ...], dtype: str, scaling: tuple[float, float], suffix: str
) -> None:
    stored = numbers(shape, dtype)
    with TemporaryDirectory() as folder:
        path = save(Path(folder, f"a{suffix}"), stored, *scaling)
        volume = read(path)
        values = (stored * scaling[0] + scaling[1]).astype(np.float32)
        values = values.reshape(*shape[:3], -1).T
        np.testing.assert_array_equal(volume["volume"], values)
        assert volume["volume"].dims == ("sample", "z", "y", "x")
        write(volume, Path(folder, "b.nii"))
        if np.dtype(dtype).kind == "f" and scaling != (1, 0):
            return  # what was rounded to float32 is not divided to the same bits
        assert_alike(path, Path(folder, "b.nii"))


def test_real_scans(data: Path, tmp_path: Path) -> None:
    for path in sorted((data / "mri").glob("*.nii.gz"))[1:]:  # both kinds of units, quick ones
        volume = read(path).isel(z=slice(0, 40))
        assert volume.attrs["modality"] == "volume"
        write(volume, tmp_path / "b.nii")
        one, other = nibabel.load(path), nibabel.load(tmp_path / "b.nii")
        np.testing.assert_array_equal(one.dataobj[..., :40], np.asarray(other.dataobj))
        np.testing.assert_array_equal(one.affine, other.affine)
        assert one.get_data_dtype() == other.get_data_dtype()
        assert one.header.get_xyzt_units() == other.header.get_xyzt_units()
        assert one.header["qform_code"] == other.header["qform_code"]
        sizes = np.array(one.header.get_zooms())
        step = [float(volume[axis][1] - volume[axis][0]) for axis in "xyz"]
        np.testing.assert_allclose(step, sizes)


def test_every_voxel_keeps_its_place_on_another_grid(tmp_path: Path) -> None:
    """The affine of a finer grid, and of a part, sends its voxels where the old one did."""
    volume = read(save(tmp_path / "a.nii", numbers((5, 6, 7), "int16")))
    finer = volume.interp(x=volume["x"].values[1] + np.arange(4) * 0.5).isel(z=slice(2, 6))
    write(finer, tmp_path / "b.nii")
    old, new = nibabel.load(tmp_path / "a.nii"), nibabel.load(tmp_path / "b.nii")
    assert new.shape == (4, 6, 4)
    sizes = np.array(old.header.get_zooms())
    for index in np.ndindex(4, 6, 4):
        x, y, z = index
        place = [finer[axis].values[i] for axis, i in zip("xyz", (x, y, z), strict=True)]
        expected = nibabel.affines.apply_affine(old.affine, np.array(place) / sizes)
        actual = nibabel.affines.apply_affine(new.affine, index)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
    np.testing.assert_allclose(new.header.get_zooms(), [0.5, *sizes[1:]], rtol=1e-6)


def test_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    values = np.array([-4.0, 0.4, 0.6, 254.6, 300.0]).reshape(1, 1, 1, 5)
    volume = xr.Dataset({"volume": (("sample", "z", "y", "x"), values)}, attrs={"dtype": "uint8"})
    write(volume, tmp_path / "a.nii")
    again = nibabel.load(tmp_path / "a.nii")
    assert again.get_data_dtype() == np.uint8
    assert np.asarray(again.dataobj).ravel().tolist() == [0, 0, 1, 255, 255]


def test_volumes_without_a_header(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    write(xr.Dataset({"volume": (("z", "y", "x"), values)}), tmp_path / "a.nii.gz")
    again = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), values.T)
    np.testing.assert_array_equal(again.affine, np.eye(4))


def test_parts_are_those_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functory.formats.volumes.PIECE", 60)
    stored = numbers((5, 6, 7, 2), "int16")
    volume = read(save(tmp_path / "a.nii.gz", stored))["volume"]
    assert volume.chunks is not None
    assert volume.chunks[:2] == ((1, 1), (2, 2, 2, 1))
    np.testing.assert_array_equal(volume[1, 3:6], stored.T[1, 3:6])


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    values = np.zeros((3, 4, 5), np.float32)
    values[1, 2, 3] = np.nan
    with pytest.raises(InputError, match=r"the first at the voxel \(1, 2, 3\): replace"):
        read(save(tmp_path / "a.nii", values)).compute()


@pytest.mark.parametrize("shape", [(4,), (4, 4), (2, 2, 2, 2, 2)])
def test_other_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.nii", np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="only plain numbers of three or four dimensions"):
        read(path)


def test_other_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        read(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_cut_anywhere(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", numbers((5, 6, 7), "int16"))
    whole = path.read_bytes()
    for end in [*range(0, len(whole) - 16, 97), len(whole) - 16]:
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=rf"a{suffix} (cannot be read as NIfTI|is trunc)") as e:
            read(path).compute()
        assert "\n" not in str(e.value)


def test_impossible_sizes_take_no_memory(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", numbers((2, 2, 2), "uint8"))
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()
    for name, packed in (("a.nii", bytes(content)), ("a.nii.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        with pytest.raises(InputError, match="is truncated: its header tells of 27000000000000"):
            read(tmp_path / name)
