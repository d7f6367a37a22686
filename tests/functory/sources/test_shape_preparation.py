"""Shape preparation: one size, nothing empty or repeated, and models split before their copies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from functory.errors import InputError
from functory.sources import shape_preparation
from functory.sources.augmentation import Augmentation, rescale
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shape_models import ShapeModel
from functory.sources.shape_preparation import ShapePreparation, downscale, prepare_shapes
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomShares, RandomSizes

CUBES = st.integers(1, 12).flatmap(lambda side: hnp.arrays(bool, (side,) * 3))
SPLITS = ["test", "train", "validation"]


def blocks(voxels: np.ndarray, factor: int) -> np.ndarray:
    """Return the voxels of every new voxel, (side, side, side, factor³)."""
    side = len(voxels) // factor
    parted = voxels.reshape(side, factor, side, factor, side, factor)
    return parted.transpose(0, 2, 4, 1, 3, 5).reshape(side, side, side, -1)


def repeated(voxels: np.ndarray, factor: int) -> np.ndarray:
    return voxels.repeat(factor, 0).repeat(factor, 1).repeat(factor, 2)


def noise(side: int, share: float) -> np.ndarray:
    return np.random.default_rng(side).random((side,) * 3) < share


# Downscaling


@pytest.mark.parametrize("side", [16, 128])
def test_a_voxel_is_occupied_if_any_of_its_eight_is(side: int) -> None:
    voxels = noise(side, 0.02)
    found = downscale(voxels, side // 2, 0.05)
    np.testing.assert_array_equal(found, blocks(voxels, 2).any(-1))


def test_a_quarter_of_the_size_takes_the_share_of_64_voxels() -> None:
    voxels = noise(128, 0.05)
    shares = blocks(voxels, 4).mean(-1)
    for threshold in (0.0, 0.05, 0.5):
        np.testing.assert_array_equal(downscale(voxels, 32, threshold), shares > threshold)
    assert (shares == 0.0625).any()
    assert (downscale(voxels, 32, 0.0625) == (shares > 0.0625)).all(), "above, not at"


@settings(deadline=None, max_examples=40)
@given(CUBES, st.floats(0, 0.99))
def test_the_same_size_changes_nothing(voxels: np.ndarray, threshold: float) -> None:
    np.testing.assert_array_equal(downscale(voxels, len(voxels), threshold), voxels)


@settings(deadline=None, max_examples=40)
@given(CUBES, st.integers(2, 4))
def test_a_larger_size_repeats_voxels(voxels: np.ndarray, factor: int) -> None:
    large = downscale(voxels, factor * len(voxels), 0.05)
    np.testing.assert_array_equal(large, repeated(voxels, factor))
    np.testing.assert_array_equal(downscale(large, len(voxels), 0.05), voxels)


@settings(deadline=None, max_examples=40)
@given(CUBES, st.integers(1, 20))
def test_any_other_size_takes_shares_of_the_volume(voxels: np.ndarray, size: int) -> None:
    # both sizes divide a third, in which shares are plain means
    shares = blocks(repeated(voxels, size), len(voxels)).mean(-1)
    for threshold in (0.0497, 0.313):  # nearer to no fraction of these sizes than rounding is
        np.testing.assert_array_equal(downscale(voxels, size, threshold), shares > threshold)


@pytest.mark.parametrize("size", [24, 32, 48, 63, 65, 96])
def test_volumes_stay_whatever_the_size(size: int) -> None:
    centres = np.arange(64) - 31.5
    z, y, x = np.meshgrid(centres, centres, centres, indexing="ij")
    ball = z**2 + y**2 + x**2 < 25**2
    found = downscale(ball, size, 0.4987)  # no share of so few voxels is that
    assert found.mean() == pytest.approx(ball.mean(), rel=0.03)
    for axis in range(3):
        np.testing.assert_array_equal(found, np.flip(found, axis))


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(bool, (2, 6, 6, 6)),
    st.integers(2, 9),
    st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
def test_more_voxels_or_a_lower_threshold_never_empty_a_voxel(
    pair: np.ndarray, size: int, thresholds: tuple[float, float]
) -> None:
    fewer, more = pair[0] & pair[1], pair[0]
    low, high = sorted(thresholds)
    assert not (downscale(fewer, size, high) & ~downscale(more, size, high)).any()
    assert not (downscale(more, size, high) & ~downscale(more, size, low)).any()


# Signal sets


def random_box(seed: int, side: int = 16) -> np.ndarray:
    generator = np.random.default_rng(seed)
    low = generator.integers(0, side // 2 - 1, 3)
    high = generator.integers(side // 2 + 1, side + 1, 3)
    voxels = np.zeros((side,) * 3, dtype=bool)
    voxels[tuple(map(slice, low, high))] = True
    voxels[tuple(generator.integers(0, side, 3))] ^= True
    return voxels


def model(name: str, voxels: np.ndarray) -> ShapeModel:
    return ShapeModel(name.split("/")[0], name, lambda: voxels)


def shapes(chairs: int = 12, tables: int = 8, side: int = 16) -> list[ShapeModel]:
    names = [f"chair/{i}" for i in range(chairs)] + [f"table/{i}" for i in range(tables)]
    return [model(name, random_box(seed, side)) for seed, name in enumerate(names)]


CONFIG = ShapePreparation(size=8)
COPIED = ShapePreparation(size=8, augmentation=Augmentation(copies=3))
WRITTEN = ShapePreparation(size=8, augmentation=Augmentation(copies=3, materialise=True))
EVERY_CONFIG = pytest.mark.parametrize("config", [CONFIG, COPIED, WRITTEN])


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., xr.Dataset]:
    """Return a function that prepares models into a folder of their own."""
    folders = iter(range(100))

    def prepare(models: Sequence[ShapeModel], config: ShapePreparation = CONFIG) -> xr.Dataset:
        return prepare_shapes(models, config, tmp_path / str(next(folders)), {"licence": "CC0"})

    return prepare


def expected_of(models: Sequence[ShapeModel], size: int = 8) -> np.ndarray:
    return np.stack([downscale(m.read(), size, 0.05) for m in models])


def test_it_is_a_signal_set(prepared: Callable[..., xr.Dataset]) -> None:
    models = shapes()
    found = prepared(models)
    assert found["occupancy"].dims == ("sample", "z", "y", "x")
    np.testing.assert_array_equal(found["occupancy"].values, expected_of(models))
    assert found["model"].values.tolist() == [m.name for m in models]
    assert found["label"].values.tolist() == [m.label for m in models]
    for axis in ("z", "y", "x"):
        np.testing.assert_allclose(found[axis], (np.arange(8) + 0.5) / 8)
    attributes = {"sample_dimension": "sample", "mask": "none", "modality": "shape"}
    counts = {"models": 20, "models_empty": 0, "models_repeated": 0}
    assert attributes.items() | counts.items() | {("licence", "CC0")} <= found.attrs.items()
    scaled = {"normalisation_offset": 0.0, "normalisation_scale": 1.0, "units": "1"}
    assert scaled.items() <= found["occupancy"].attrs.items()


def test_models_keep_their_size_where_none_is_asked_for(
    prepared: Callable[..., xr.Dataset],
) -> None:
    models = shapes(side=10)
    found = prepared(models, ShapePreparation(size=None))
    np.testing.assert_array_equal(found["occupancy"].values, [m.read() for m in models])


@EVERY_CONFIG
def test_every_class_is_in_every_split_and_no_model_in_two(
    prepared: Callable[..., xr.Dataset], config: ShapePreparation
) -> None:
    found = prepared(shapes(), config)
    copies = 1 if config.augmentation is None else config.augmentation.copies
    assert found.sizes["sample"] == 20 * copies
    places = set(zip(found["model"].values, found["split"].values, strict=True))
    assert len(places) == 20, "all copies of a model are in one split"
    for label in ("chair", "table"):
        assert sorted(set(found["split"].values[found["label"] == label])) == SPLITS


def test_copies_change_nothing_about_the_split(prepared: Callable[..., xr.Dataset]) -> None:
    single, copied = prepared(shapes()), prepared(shapes(), COPIED)
    np.testing.assert_array_equal(copied["split"].values[::3], single["split"].values)
    assert copied["model"].values.tolist() == np.repeat(single["model"].values, 3).tolist()


def test_copies_are_the_same_whether_written_or_made_when_read(
    prepared: Callable[..., xr.Dataset],
) -> None:
    models = shapes()
    lazy, written = prepared(models, COPIED), prepared(models, WRITTEN)
    np.testing.assert_array_equal(lazy["occupancy"].values, written["occupancy"].values)
    xr.testing.assert_equal(lazy.drop_vars("occupancy"), written.drop_vars("occupancy"))
    assert lazy["occupancy"].attrs == written["occupancy"].attrs
    single = expected_of(models).repeat(3, 0)
    by_hand = np.stack(list(map(rescale, single, lazy["scale"].values)))
    np.testing.assert_array_equal(lazy["occupancy"].values, by_hand)
    np.testing.assert_array_equal(lazy["occupancy"].values[::3], single[::3])


def test_copies_that_are_not_written_take_no_room(
    tmp_path: Path, prepared: Callable[..., xr.Dataset]
) -> None:
    prepared(shapes(), COPIED), prepared(shapes(), WRITTEN)

    def voxels(name: str) -> int:
        return xr.open_zarr(tmp_path / name, chunks=None, consolidated=False)[stored[name]].size

    stored = {"0": "original", "1": "occupancy"}
    assert 3 * voxels("0") == voxels("1") == 60 * 8**3


@EVERY_CONFIG
def test_it_can_be_opened_again(
    tmp_path: Path, prepared: Callable[..., xr.Dataset], config: ShapePreparation
) -> None:
    found = prepared(shapes(), config)
    xr.testing.assert_identical(
        open_signals(tmp_path / "0", consolidated=False).load(), found.load()
    )


@EVERY_CONFIG
def test_models_read_at_once_and_chunks_make_no_difference(
    prepared: Callable[..., xr.Dataset],
    monkeypatch: pytest.MonkeyPatch,
    config: ShapePreparation,
) -> None:
    models = [*shapes(), model("chair/empty", np.zeros((16,) * 3, bool))]
    expected = prepared(models, config).load()
    monkeypatch.setattr(shape_preparation, "BLOCK", 7)
    monkeypatch.setattr(shape_preparation, "CHUNK_VALUES", 7 * 8**3)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    xr.testing.assert_identical(prepared(models, config).load(), expected)


def test_a_chunk_is_no_larger_than_asked_for(
    tmp_path: Path, prepared: Callable[..., xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shape_preparation, "CHUNK_VALUES", 6 * 8**3)
    prepared(shapes(), WRITTEN)
    stored = xr.open_zarr(tmp_path / "0", chunks=None, consolidated=False)
    assert stored["occupancy"].encoding["chunks"] == (6, 8, 8, 8)


# What is left out


@EVERY_CONFIG
def test_empty_and_repeated_models_are_left_out_and_counted(
    prepared: Callable[..., xr.Dataset], config: ShapePreparation
) -> None:
    sound, nothing = shapes(), np.zeros((16,) * 3, bool)
    again = model("table/again", sound[3].read())
    extra = [model("chair/a", nothing), again, model("table/b", nothing), sound[0]]
    found = prepared([extra[0], *sound[:10], *extra[1:], *sound[10:]], config)
    assert found.attrs["models"] == 20
    assert found.attrs["models_empty"] == 2
    assert found.attrs["models_repeated"] == 2
    assert list(dict.fromkeys(found["model"].values.tolist())) == [m.name for m in sound]
    xr.testing.assert_equal(found.drop_attrs(), prepared(sound, config).drop_attrs())


def test_models_may_become_equal_only_when_they_are_downscaled(
    prepared: Callable[..., xr.Dataset],
) -> None:
    sound = shapes()
    voxels = np.zeros((16,) * 3, bool)
    voxels[4, 4, 4] = True
    other = voxels.copy()
    other[5, 5, 4] = True
    models = [*sound, model("chair/one", voxels), model("chair/two", other)]
    assert prepared(models).attrs["models_repeated"] == 1
    assert prepared(models, ShapePreparation(size=16)).attrs["models_repeated"] == 0


def test_models_may_become_empty_only_when_they_are_downscaled(
    prepared: Callable[..., xr.Dataset],
) -> None:
    speck = np.zeros((16,) * 3, bool)
    speck[4, 4, 4] = True
    config = ShapePreparation(size=8, threshold=0.2)
    assert prepared([*shapes(), model("chair/speck", speck)], config).attrs["models_empty"] == 1


# What is refused


def refused(prepare: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        prepare()
    message = str(caught.value)
    assert "\n" not in message
    assert ". " not in message, "one sentence"
    assert message.endswith(".")
    return message


def test_a_class_with_too_few_models(prepared: Callable[..., xr.Dataset]) -> None:
    message = refused(lambda: prepared(shapes(tables=2)))
    assert "Class 'table' has 2 models" in message


def test_a_class_may_have_too_few_models_once_repeated_ones_are_gone(
    prepared: Callable[..., xr.Dataset],
) -> None:
    models = [*shapes(tables=2), model("table/again", shapes(tables=2)[12].read())]
    assert "Class 'table' has 2 models" in refused(lambda: prepared(models))


def test_more_models_than_there_are(prepared: Callable[..., xr.Dataset]) -> None:
    config = ShapePreparation(size=8, split=RandomSizes(train=20, test=1))
    assert "20 + 0 + 1 = 21 signals, but there are 20" in refused(
        lambda: prepared(shapes(), config)
    )


@pytest.mark.parametrize("size", [8, None])
def test_a_model_that_is_no_cube(prepared: Callable[..., xr.Dataset], size: int | None) -> None:
    models = [*shapes(), model("table/long", np.ones((16, 8, 16), bool))]
    message = refused(lambda: prepared(models, ShapePreparation(size=size)))
    assert "table/long has 16×8×16 voxels" in message


def test_models_of_several_sizes_are_brought_to_one_or_refused(
    prepared: Callable[..., xr.Dataset],
) -> None:
    models = [*shapes(), model("table/large", random_box(99, 32))]
    assert prepared(models).sizes["x"] == 8
    message = refused(lambda: prepared(models, ShapePreparation(size=None)))
    assert "table/large has 32 voxels a side, but the first model has 16" in message


@EVERY_CONFIG
def test_empty_models_alone(prepared: Callable[..., xr.Dataset], config: ShapePreparation) -> None:
    models = [model(f"chair/{i}", np.zeros((16,) * 3, bool)) for i in range(3)]
    assert "All 3 models are empty" in refused(lambda: prepared(models, config))


@EVERY_CONFIG
def test_a_broken_model_leaves_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: ShapePreparation
) -> None:
    def broken() -> np.ndarray:
        raise InputError("table/broken cannot be read.")

    monkeypatch.setattr(shape_preparation, "BLOCK", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(shape_preparation, "CHUNK_VALUES", 8**3)
    models = [*shapes(), ShapeModel("table", "table/broken", broken)]
    with pytest.raises(InputError, match="table/broken cannot be read"):
        prepare_shapes(models, config, tmp_path / "set", {})
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    left = xr.open_zarr(tmp_path / "set", chunks=None, consolidated=False)
    assert "split" not in left.variables
    assert "sample_dimension" not in left.attrs


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    prepare_shapes(shapes(), CONFIG, tmp_path / "set", {})
    before = open_signals(tmp_path / "set", consolidated=False).load()
    with pytest.raises(FileExistsError):
        prepare_shapes(shapes(chairs=5), CONFIG, tmp_path / "set", {})
    xr.testing.assert_identical(open_signals(tmp_path / "set", consolidated=False).load(), before)


# Real shapes


@pytest.fixture(scope="module")
def listed(data: Path) -> list[ShapeModel]:
    source = ShapeFiles(paths=(str(data / "shapes" / "*.npy.gz"),))
    return list_models(source, find_shape_files(source))


@pytest.fixture(scope="module")
def modelnet(listed: list[ShapeModel], tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    config = ShapePreparation(size=None, split=RandomShares(validation=0.05, test=0.15))
    return prepare_shapes(listed, config, tmp_path_factory.mktemp("modelnet") / "set", {})


def test_empty_and_repeated_shapes_of_modelnet_are_gone(
    listed: list[ShapeModel], modelnet: xr.Dataset
) -> None:
    names = modelnet["model"].values.tolist()
    assert modelnet.sizes["x"] == 32
    assert not {"chair/0", "monitor/0"} & set(names)
    assert modelnet.attrs["models_empty"] >= 2
    assert modelnet.attrs["models_repeated"] > 0
    gone = modelnet.attrs["models_empty"] + modelnet.attrs["models_repeated"]
    assert len(names) == len(listed) - gone
    packed = np.packbits(modelnet["occupancy"].values.reshape(len(names), -1), axis=1)
    assert packed.any(1).all()
    assert len(np.unique(packed, axis=0)) == len(names), "none equals another, in any split"


def test_shapes_of_modelnet_are_split_within_their_classes(modelnet: xr.Dataset) -> None:
    for label in ("chair", "monitor"):
        marks = modelnet["split"].values[modelnet["label"] == label]
        assert (marks == "test").mean() == pytest.approx(0.15, abs=0.002)
        assert (marks == "validation").mean() == pytest.approx(0.05, abs=0.002)
