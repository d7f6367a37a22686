"""Volumes become a signal set: cut into sub-volumes, split by volume, normalised by training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from functory.errors import InputError
from functory.fields.coordinates import Patches, coordinates_for
from functory.signals import grid_axes, signals_of
from functory.sources import volume_preparation
from functory.sources.scans import NiftiFiles, Scan
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomSizes
from functory.sources.volume_preparation import VolumePreparation, prepare_volumes, sub_volumes
from functory.sources.volumes import find_volumes, scans_of
from functory.sources.volumes_demo import VolumesDemo, demo_scans

SPLIT = RandomSizes(train=2, test=1)
CONFIG = VolumePreparation(size=4, split=SPLIT)
Prepare = Callable[..., xr.Dataset]


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Return a function that prepares volumes into a folder of their own."""
    folders = iter(range(100))

    def prepare(scans: list[Scan], config: VolumePreparation = CONFIG) -> xr.Dataset:
        return prepare_volumes(scans, config, tmp_path / str(next(folders)), {"licence": "CC0"})

    return prepare


def scan(name: str, values: np.ndarray) -> Scan:
    return Scan(name, values.dtype, (3.0, 2.0, 1.0), lambda: values)


def noise(seed: int, shape: tuple[int, ...] = (8, 10, 7), dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 200, shape).astype(dtype)


def scans(**options: Any) -> list[Scan]:
    return [scan(f"head-{seed}", noise(seed, **options)) for seed in range(3)]


# Cutting


@settings(max_examples=30)
@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, min_side=4, max_side=9)),
    st.tuples(*[st.integers(2, 4)] * 3),
    st.sampled_from(["pad", "crop"]),
)
def test_sub_volumes_are_where_they_start(
    values: np.ndarray, sizes: tuple[int, int, int], edges: Any
) -> None:
    cut, starts = sub_volumes(values, sizes, edges)
    assert len(cut) == len(starts)
    assert cut.shape[1:] == sizes
    for part, start in zip(cut, starts, strict=True):
        places = [
            np.clip(np.arange(first, first + size), 0, side - 1)
            for first, size, side in zip(start, sizes, values.shape, strict=True)
        ]
        np.testing.assert_array_equal(part, values[np.ix_(*places)])


@settings(max_examples=30)
@given(st.tuples(*[st.integers(4, 20)] * 3), st.tuples(*[st.integers(2, 4)] * 3))
def test_padded_volumes_are_covered_once_and_cropped_ones_at_most(
    shape: tuple[int, int, int], sizes: tuple[int, int, int]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    padded, starts = sub_volumes(values, sizes, "pad")
    assert len(padded) == np.prod(-(-np.array(shape) // sizes))
    assert set(padded.ravel()) == set(range(values.size))
    lopsided = starts.min(0) + (starts.max(0) + sizes - shape)
    assert set(lopsided) <= {0, -1}, "as much before as behind, or one more"
    cropped, _ = sub_volumes(values, sizes, "crop")
    assert len(np.unique(cropped)) == cropped.size
    assert len(cropped) == np.prod(np.array(shape) // sizes)


# The signal set


def test_it_is_a_signal_set(prepared: Prepare) -> None:
    found = prepared(scans())
    assert found["volume"].dims == ("sample", "z", "y", "x")
    assert grid_axes(found) == ("z", "y", "x")
    assert found.sizes == {"sample": 3 * 2 * 3 * 2, "z": 4, "y": 4, "x": 4, "axis": 3}
    cut, starts = sub_volumes(noise(1), (4, 4, 4), "pad")
    second = found.isel(sample=found["origin"] == "head-1")
    np.testing.assert_array_equal(second["volume"], cut)
    np.testing.assert_array_equal(second["start"], starts)
    assert (found["spacing"] == [3, 2, 1]).all()
    assert found["axis"].values.tolist() == ["z", "y", "x"]
    attributes = {"sample_dimension": "sample", "mask": "none", "modality": "volume"}
    assert attributes.items() | {("licence", "CC0"), ("volumes", 3)} <= found.attrs.items()


def test_sub_volumes_of_a_volume_are_in_one_split(prepared: Prepare) -> None:
    found = prepared(scans())
    pairs = set(zip(found["origin"].values, found["split"].values, strict=True))
    assert len(pairs) == 3
    assert sorted(split for _, split in pairs) == ["test", "train", "train"]


def test_sizes_may_differ_from_axis_to_axis_and_volume_to_volume(prepared: Prepare) -> None:
    config = VolumePreparation(size=(2, 5, 7), split=SPLIT)
    found = prepared([*scans()[:2], scan("small", noise(2, (4, 5, 6)))], config)
    assert found["volume"].shape == (2 * 4 * 2 + 2, 2, 5, 7)
    with pytest.raises(InputError, match=r"small has 4×5×6 voxels, fewer than the 2×5×7"):
        prepared([scan("small", noise(2, (4, 5, 6)))], config.model_copy(update={"edges": "crop"}))


def test_normalisation_is_of_training_alone_or_of_the_type(prepared: Prepare) -> None:
    found = prepared(scans())
    split = found["split"].values[:: len(found["split"]) // 3]
    extreme = [scan(f"head-{i}", noise(i)) for i in range(3)]
    i = int(np.flatnonzero(split == "test")[0])
    values = noise(i)
    values[0, 0, 0], values[1, 1, 1] = 0, 255  # only the test has them
    extreme[i] = scan(f"head-{i}", values)
    training = np.concatenate([noise(j).ravel() for j in range(3) if j != i])
    attributes = prepared(extreme)["volume"].attrs
    assert attributes["normalisation_offset"] == training.min()
    assert attributes["normalisation_scale"] == np.ptp(training)
    config = CONFIG.model_copy(update={"normalisation": "type"})
    attributes = prepared(extreme, config)["volume"].attrs
    assert attributes["normalisation_offset"] == 0
    assert attributes["normalisation_scale"] == 255


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("u1", "u1", "u1"), "u1"),
        (("u1", "i2", "u1"), "i2"),
        (("u1", "f4", "u1"), "f4"),
        (("f8", "f8", "f8"), "f4"),
        (("i8", "u1", "u1"), "f4"),
    ],
)
def test_one_type_holds_all_volumes(
    prepared: Prepare, types: tuple[str, ...], expected: str
) -> None:
    mixed = [scan(f"head-{i}", noise(i, dtype=dtype)) for i, dtype in enumerate(types)]
    found = prepared(mixed)["volume"]
    assert found.dtype == expected
    np.testing.assert_array_equal(found, prepared(scans())["volume"])
    if expected == "f4":
        with pytest.raises(InputError, match="real numbers, whose type has no range"):
            prepared(mixed, CONFIG.model_copy(update={"normalisation": "type"}))


@pytest.mark.parametrize(("share", "kept"), [(1.0, 7), (0.5, 1), (0.75, 3), (0.0, 0)])
def test_empty_sub_volumes_are_kept_up_to_a_share(
    prepared: Prepare, share: float, kept: int
) -> None:
    def corner(seed: int) -> np.ndarray:
        values = np.zeros((8, 8, 8), np.uint8)
        values[:4, 4:, :4] = noise(seed, (4, 4, 4))
        return values

    heads = [scan(f"head-{seed}", corner(seed)) for seed in range(3)]
    found = prepared(heads, CONFIG.model_copy(update={"empty": share}))
    filled = found["volume"].values.any((1, 2, 3))
    assert filled.sum() == 3
    assert (~filled).sum() == 3 * kept
    assert found.attrs["subvolumes_dropped"] == 3 * (7 - kept)
    assert found["start"].values[filled].tolist() == [[0, 4, 0]] * 3


def test_empty_and_repeated_volumes_are_left_out_and_counted(prepared: Prepare) -> None:
    again = scan("again", noise(1))
    found = prepared([scan("dark", np.zeros((8, 8, 8), np.uint8)), *scans(), again])
    assert found.attrs["volumes_empty"] == 1
    assert found.attrs["volumes_repeated"] == 1
    assert list(dict.fromkeys(found["origin"].values)) == ["head-0", "head-1", "head-2"]
    with pytest.raises(InputError, match="All 1 volumes are empty"):
        prepared([scan("dark", np.zeros((8, 8, 8), np.uint8))])


def test_values_that_are_no_numbers_are_refused(prepared: Prepare) -> None:
    values = noise(0, dtype=np.float32)
    values[3, 1, 2] = np.inf
    with pytest.raises(InputError, match=r"broken has .* at \(z, y, x\) = \(3, 1, 2\)"):
        prepared([*scans(), scan("broken", values)])


def test_chunks_make_no_difference(
    tmp_path: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepared(scans()).load()
    monkeypatch.setattr(volume_preparation, "CHUNK_BYTES", 5 * 4**3)
    xr.testing.assert_identical(prepared(scans()).load(), expected)
    again = open_signals(tmp_path / "1", consolidated=False)
    assert again["volume"].encoding["chunks"] == (5, 4, 4, 4)
    xr.testing.assert_identical(again.load(), expected)


def test_patches_of_a_sub_volume_are_its_parts(prepared: Prepare) -> None:
    found = prepared(scans())
    grid = {axis: found[axis].values for axis in grid_axes(found)}
    coordinates = coordinates_for("box", grid_axes(found), grid, Patches(size=2))
    features = signals_of(found, coordinates).features.reshape(-1, 2, 2, 2, 2, 2, 2)
    wholes = features.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, 4, 4, 4)
    low, width = (found["volume"].attrs[f"normalisation_{k}"] for k in ("offset", "scale"))
    expected = (found["volume"].values - low) / width
    np.testing.assert_allclose(wholes, expected, atol=1e-6)


def test_the_demo_is_prepared(prepared: Prepare) -> None:
    found = prepared(demo_scans(VolumesDemo(volumes=3, size=16)), CONFIG)
    assert found.sizes["sample"] == 3 * 4**3
    assert found["spacing"].values[0].tolist() == [12.5] * 3


def test_real_scans_are_prepared(data: Path, prepared: Prepare) -> None:
    source = NiftiFiles(paths=(str(data / "mri" / "PD25*.nii.gz"), str(data / "mri" / "CIT*")))
    listed = scans_of(source, find_volumes(source) or [])
    config = VolumePreparation(size=32, empty=0, split=RandomSizes(train=1, test=1))
    found = prepared(listed, config)
    assert found["volume"].dtype == np.uint8
    flat = found["volume"].values.reshape(found.sizes["sample"], -1)
    assert (flat.min(1) < flat.max(1)).all()
    for which in listed:
        whole, part = which.read(), found.isel(sample=found["origin"] == which.name)
        again = np.zeros_like(whole)
        for voxels, start in zip(part["volume"].values, part["start"].values, strict=True):
            first = np.maximum(0, -start)  # of a sub-volume, what is not repeated
            place = tuple(slice(a, b) for a, b in zip(start + first, start + 32, strict=True))
            inside = again[place].shape
            again[place] = voxels[
                tuple(slice(a, a + n) for a, n in zip(first, inside, strict=True))
            ]
        np.testing.assert_array_equal(again, whole)  # what is left out is dark


@pytest.mark.parametrize(
    "wrong",
    [{"size": 1}, {"size": [4, 4]}, {"edges": "mirror"}, {"empty": 2}, {"normalisation": "test"}],
)
def test_configuration_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VolumePreparation.model_validate(wrong)
