"""Volumes in NIfTI files: how their axes lie, what their values are, and what is refused."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.errors import InputError
from functory.sources.scans import NiftiFiles, Scan
from functory.sources.volumes import find_volumes, licence_of, scans_of
from functory.sources.volumes_demo import VolumesDemo, demo_scans

SHAPE = (5, 6, 7)  # x, y, z
SPACING = (1.0, 2.0, 3.0)


def values(dtype: Any = np.uint8) -> np.ndarray:
    """Return another value at every voxel, (x, y, z)."""
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def write(
    path: Path, array: np.ndarray, affine: np.ndarray | None = None, slope: float | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*SPACING, 1]) if affine is None else affine)
    if slope is not None:
        image.header.set_slope_inter(slope, 10)
    nibabel.save(image, path)
    return path


def scans(*paths: Path, **options: Any) -> list[Scan]:
    source = NiftiFiles(paths=tuple(map(str, paths)), **options)
    return scans_of(source, find_volumes(source) or [])


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        [scan.read() for scan in scans(path)]
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, ">i2"])
def test_values_and_their_type_come_back(tmp_path: Path, suffix: str, dtype: Any) -> None:
    (scan,) = scans(write(tmp_path / f"head.{suffix}", values(dtype)))
    found = scan.read()
    assert scan.name == "head"
    assert scan.dtype == found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, values().T)  # z, y, x
    assert scan.spacing == SPACING[::-1]


def test_axes_are_turned_so_that_z_points_up_and_x_right(tmp_path: Path) -> None:
    turned = values().transpose(2, 0, 1)[::-1, :, ::-1]  # of axes down, right, back
    affine = np.zeros((4, 4))
    affine[[2, 0, 1], [0, 1, 2]] = (-3, 1, -2)
    affine[3, 3] = 1
    (scan,) = scans(write(tmp_path / "turned.nii", turned, affine))
    np.testing.assert_array_equal(scan.read(), values().T)
    assert scan.spacing == SPACING[::-1]


def test_slope_and_intercept_are_applied_or_not(tmp_path: Path) -> None:
    stored = nibabel.Nifti1Image(values(), np.eye(4))
    stored.header.set_slope_inter(0.5, 10)
    path = tmp_path / "scaled.nii.gz"
    nibabel.save(stored, path)
    # saving with a slope divides by it, so that the scaled values are those that were given
    (scaled,), (plain,) = scans(path), scans(path, scaled=False)
    assert scaled.dtype == scaled.read().dtype == np.float32
    assert plain.dtype == plain.read().dtype == np.uint8
    np.testing.assert_allclose(scaled.read(), plain.read() * 0.5 + 10)


def test_a_series_of_one_is_a_volume(tmp_path: Path) -> None:
    (scan,) = scans(write(tmp_path / "one.nii", values()[..., None]))
    np.testing.assert_array_equal(scan.read(), values().T)


@pytest.mark.parametrize("array", [values()[..., None].repeat(2, 3), values()[0]])
def test_what_is_no_volume_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    assert "is no volume" in refused(write(tmp_path / "other.nii", array))


def test_complex_values_are_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "complex.nii", values(np.complex64)))
    assert "type complex64" in message


def test_axes_that_lie_nowhere_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.nii", values())
    content = bytearray(path.read_bytes())
    content[280:328] = bytes(48)  # the rows of the matrix
    path.write_bytes(content)
    assert "how its axes lie" in refused(path)


NOT_VOLUMES = [b"", b"no image", gzip.compress(b"no image", mtime=0), bytes(400)]


@pytest.mark.parametrize("content", NOT_VOLUMES)
@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert "cannot be read as NIfTI" in refused(path)


@settings(max_examples=40)
@given(share=st.floats(0, 0.99))
@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz"])
def test_truncated_files_are_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    path = write(tmp_path_factory.getbasetemp() / name, values())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cannot be read as NIfTI" in refused(path)


def test_names_are_paths_below_the_folder_and_are_unique(tmp_path: Path) -> None:
    write(tmp_path / "a" / "brain.nii.gz", values())
    write(tmp_path / "b" / "brain.nii", values())
    assert [scan.name for scan in scans(tmp_path)] == ["a/brain", "b/brain"]
    with pytest.raises(InputError, match="two volumes have the name 'brain'"):
        scans(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match="no volumes found"):
        scans(tmp_path / "c")


# The demo


def test_a_demo_s_volume_depends_on_its_number_and_seed_alone() -> None:
    few, many = (demo_scans(VolumesDemo(volumes=n, size=16)) for n in (2, 5))
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one.read(), other.read())
    found = [scan.read() for scan in many]
    assert len({volume.tobytes() for volume in found}) == 5
    for volume, scan in zip(found, many, strict=True):
        assert volume.dtype == scan.dtype == np.uint8
        assert volume[[0, -1]].max() == volume[:, [0, -1]].max() == 0, "dark all around"
        assert 0.1 < (volume > 0).mean() < 0.6


def test_a_demo_s_size_only_samples_it() -> None:
    coarse, fine = (demo_scans(VolumesDemo(volumes=1, size=size))[0] for size in (16, 48))
    np.testing.assert_array_equal(fine.read()[1::3, 1::3, 1::3], coarse.read())
    assert coarse.spacing[0] == 3 * fine.spacing[0]


def test_licences_are_carried_on() -> None:
    assert "CC0" in licence_of(VolumesDemo())
    assert licence_of(NiftiFiles(paths=("x",), attribution="mine")) == "mine"


# Real scans


def test_real_scans(data: Path) -> None:
    found = scans(data / "mri", scaled=False)
    assert [scan.dtype for scan in found] == [np.uint8] * 3
    sides = {scan.name: scan.read().shape for scan in found}
    assert sides == {
        "CIT168toMNI152-2009c_T1w_brain": (168, 198, 165),
        "PD25-fusion-template-1mm": (165, 192, 156),
        "spm152": (215, 256, 207),
    }
    scaled = {scan.name: scan.dtype for scan in scans(data / "mri")}
    assert scaled["spm152"] == np.float32, "its header has a slope"
    assert found[2].spacing == pytest.approx((0.737,) * 3, abs=1e-3)
