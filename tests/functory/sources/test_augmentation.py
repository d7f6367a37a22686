"""Augmentation: reproducible factors, shapes that stay whole, and copies made when read."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import label
from xarray.backends import BackendArray
from xarray.core import indexing

from functory.sources.augmentation import Augmentation, draw_scales, rescale, with_rescaled
from functory.sources.signal_sets import open_signals

MARGIN = 8


def ball(side: int, radius: float) -> np.ndarray:
    centres = np.arange(side) + 0.5 - side / 2
    z, y, x = np.meshgrid(centres, centres, centres, indexing="ij")
    return z**2 + y**2 + x**2 <= radius**2


def box(side: int, low: list[int], high: list[int], hollow: bool = False) -> np.ndarray:
    """Return a box, or the shell of one voxel around it."""
    voxels = np.zeros((side,) * 3, dtype=bool)
    voxels[tuple(map(slice, low, high))] = True
    if hollow:
        voxels[tuple(slice(a + 1, b - 1) for a, b in zip(low, high, strict=True))] = False
    return voxels


@st.composite
def boxes(draw: st.DrawFn, hollow: bool = False) -> np.ndarray:
    """Boxes of seven voxels a side or more, often up to the grid's border."""
    side = draw(st.integers(8, 24))
    low = [draw(st.integers(0, side - 7)) for _ in range(3)]
    high = [draw(st.integers(start + 7, side)) for start in low]
    return box(side, low, high, hollow)


def one_scale(name: str, occupied: np.ndarray, **changes: Any) -> np.ndarray:
    return draw_scales(name, occupied, Augmentation(copies=2, **changes))[1]


def test_the_first_copy_is_the_model_itself() -> None:
    shape = ball(12, 4)
    scales = draw_scales("chair/1", shape, Augmentation(copies=5))
    assert (scales[0] == 1).all()
    assert (scales[1:] != 1).all()
    assert rescale(shape, scales[0]) is shape


def test_factors_depend_on_the_seed_the_name_and_the_number_of_the_copy() -> None:
    shape, few, many = ball(12, 4), Augmentation(copies=3), Augmentation(copies=9)
    names = ["chair/1", "chair/2", "chair/11", "table/1"]
    forwards = {name: draw_scales(name, shape, few) for name in names}
    for name in reversed(names):
        np.testing.assert_array_equal(draw_scales(name, shape, many)[:3], forwards[name])
    assert len({scales[1:].tobytes() for scales in forwards.values()}) == len(names)
    other = draw_scales("chair/1", shape, Augmentation(copies=3, seed=1))
    assert (other[1:] != forwards["chair/1"][1:]).any()


def test_factors_are_uniform_within_their_range() -> None:
    config = Augmentation(copies=4001, low=0.8, high=1.4)
    scales = draw_scales("chair/1", ball(32, 5), config)[1:]
    assert scales.min() >= np.float32(0.8)
    assert scales.max() <= np.float32(1.4)
    np.testing.assert_allclose(scales.mean(0), 1.1, atol=0.01)
    np.testing.assert_allclose(scales.std(0), 0.6 / 12**0.5, atol=0.01)


def test_a_range_must_not_be_upside_down() -> None:
    with pytest.raises(ValidationError, match=r"low is 1\.2, above high, 0\.8"):
        Augmentation(low=1.2, high=0.8)


@settings(deadline=None)
@given(boxes(), st.integers(0, 99))
def test_a_shape_never_leaves_its_grid(shape: np.ndarray, seed: int) -> None:
    scale = one_scale("chair/1", shape, low=0.75, high=2.0, seed=seed)
    wide = rescale(np.pad(shape, MARGIN), scale)
    np.testing.assert_array_equal(wide, np.pad(rescale(shape, scale), MARGIN))
    assert wide.any()


def test_a_shape_grows_up_to_the_border_and_no_further() -> None:
    shape = box(16, [4, 0, 6], [12, 16, 10])
    scale = one_scale("chair/1", shape, low=3.0, high=3.0)
    np.testing.assert_allclose(scale, [2, 1, 3])
    assert rescale(shape, scale).any((1, 2)).all()


@settings(deadline=None)
@given(boxes())
def test_factors_of_one_change_nothing(shape: np.ndarray) -> None:
    almost = np.array([1, 1, 1 + 1e-6], np.float32)
    np.testing.assert_array_equal(rescale(shape, np.ones(3, np.float32)), shape)
    np.testing.assert_array_equal(rescale(shape, almost), shape)


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.floats(0.75, 1.25)] * 3))
def test_the_volume_of_a_ball_grows_with_the_product_of_its_factors(
    scale: tuple[float, float, float],
) -> None:
    shape, factors = ball(64, 22), np.array(scale, np.float32)
    # the surface is rounded to voxels, and lies up to 0.6 of one off: of the smallest ball's
    # radius, 16.5 voxels, that is 3 x 0.6 / 16.5 = 11 % of the volume
    assert rescale(shape, factors).sum() / shape.sum() == pytest.approx(factors.prod(), rel=0.12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_factor_is_of_its_own_axis(axis: int) -> None:
    shape, scale = box(32, [8, 8, 8], [24, 24, 24]), np.ones(3, np.float32)
    scale[axis] = 0.75
    found = np.argwhere(rescale(shape, scale))
    expected = np.full(3, 16)
    expected[axis] = 12
    assert (np.ptp(found, 0) + 1).tolist() == expected.tolist()


@settings(deadline=None)
@given(boxes(hollow=True), st.data())
def test_a_shell_of_one_voxel_stays_closed(shape: np.ndarray, data: st.DataObject) -> None:
    drawn = [data.draw(st.one_of(st.just(0.75), st.floats(0.75, 1.25))) for _ in range(3)]
    # beyond these the shell would be cut by the border, which draw_scales prevents
    room = one_scale("chair/1", shape, low=9.0, high=9.0)
    shrunk = rescale(shape, np.minimum(drawn, room).astype(np.float32))
    empty, regions = label(~np.pad(shrunk, 1))
    assert regions == 2, "an outside and an inside"
    middle = np.argwhere(empty == 2).mean(0)
    assert ((middle > 1) & (middle < len(shape))).all()


@settings(deadline=None)
@given(st.integers(8, 20), st.data())
def test_symmetric_shapes_stay_symmetric(side: int, data: st.DataObject) -> None:
    low = [data.draw(st.integers(0, side // 2 - 1)) for _ in range(3)]
    shape = box(side, low, [side - start for start in low], data.draw(st.booleans()))
    factor = data.draw(st.floats(0.75, 1.25))
    scale = np.array([data.draw(st.floats(0.75, 1.25)), factor, factor], np.float32)
    found = rescale(shape, scale)
    for axis in range(3):
        np.testing.assert_array_equal(found, np.flip(found, axis))
    turned = rescale(shape.transpose(0, 2, 1), scale)
    np.testing.assert_array_equal(turned, found.transpose(0, 2, 1))


# Copies that are made when they are read

MODELS, COPIES, SIDE = 4, 3, 8
SIZES = {"sample": MODELS * COPIES, "z": SIDE, "y": SIDE, "x": SIDE}


class Recorder(BackendArray):
    """Models on a disk, as far as xarray knows, that note which are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.dtype = values, values.shape, values.dtype
        self.read = list[int]()

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        self.read += np.atleast_1d(np.arange(len(self.values))[key[0]]).tolist()
        return xr.Variable(("model", "z", "y", "x"), self.values)[key].values


def models() -> xr.Dataset:
    generator = np.random.default_rng(0)
    voxels = generator.random((MODELS, SIDE, SIDE, SIDE)) < 0.3
    names = np.array([f"chair/{i}" for i in range(MODELS)], dtype=object)
    config = Augmentation(copies=COPIES, low=0.6, high=1.0)
    scales = [draw_scales(name, shape, config) for name, shape in zip(names, voxels, strict=True)]
    return xr.Dataset(
        {
            "original": (("model", "z", "y", "x"), voxels, {"units": "1"}),
            "row": ("sample", np.repeat(np.arange(MODELS, dtype=np.int32), COPIES)),
            "scale": (("sample", "axis"), np.concatenate(scales)),
        },
        {axis: (axis, np.arange(SIDE) / SIDE) for axis in ("z", "y", "x")}
        | {"model": ("sample", names.repeat(COPIES))},
        {"sample_dimension": "sample"},
    )


def made() -> np.ndarray:
    """Return all copies, made one by one."""
    dataset = models()
    originals = dataset["original"].values[dataset["row"].values]
    return np.stack(list(map(rescale, originals, dataset["scale"].values)))


@pytest.fixture(scope="module")
def lazy(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = tmp_path_factory.mktemp("signals") / "set"
    models().to_zarr(path, zarr_format=3, consolidated=False)
    return open_signals(path, consolidated=False)


@pytest.fixture(scope="module")
def eager() -> xr.DataArray:
    return xr.DataArray(made(), dims=("sample", "z", "y", "x"))


def slices(size: int) -> st.SearchStrategy[slice]:
    # xarray itself fails on a reversed slice of nothing, of any array on disk
    return st.slices(size).filter(lambda s: (s.step or 1) > 0 or range(size)[s])


def indexers(size: int) -> st.SearchStrategy:
    """Every kind of index that xarray knows for one dimension."""
    numbers = st.integers(-size, size - 1)
    arrays = st.lists(numbers, max_size=2 * size).map(lambda found: np.array(found, int))
    masks = st.lists(st.booleans(), min_size=size, max_size=size).map(np.array)
    return st.one_of(numbers, slices(size), arrays, masks)


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional={d: indexers(n) for d, n in SIZES.items()}))
def test_copies_are_indexed_as_an_array_is(
    lazy: xr.Dataset, eager: xr.DataArray, chosen: dict[str, Any]
) -> None:
    found, expected = lazy["occupancy"].isel(chosen), eager.isel(chosen)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.values, expected.values)


@settings(deadline=None, max_examples=30)
@given(slices(SIZES["sample"]), st.integers(0, SIDE - 1), st.booleans())
def test_indices_of_indices(
    lazy: xr.Dataset, eager: xr.DataArray, first: slice, row: int, turned: bool
) -> None:
    chain: list[dict[str, Any]] = [{"sample": first}, {"y": [row, 0]}]
    if range(SIZES["sample"])[first]:
        chain.append({"sample": slice(None, None, -1 if turned else 2), "x": row})
    found, expected = lazy["occupancy"], eager
    for chosen in chain:
        found, expected = found.isel(chosen), expected.isel(chosen)
    np.testing.assert_array_equal(found.values, expected.values)


def test_single_points(lazy: xr.Dataset, eager: xr.DataArray) -> None:
    generator = np.random.default_rng(0)
    points = {
        dimension: xr.DataArray(generator.integers(0, size, 20), dims="point")
        for dimension, size in SIZES.items()
        if dimension != "y"
    }
    found, expected = lazy["occupancy"].isel(points), eager.isel(points)
    np.testing.assert_array_equal(found.transpose("point", "y"), expected.transpose("point", "y"))


def test_nothing_is_read_or_made_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = models()
    recorder, expected, copies = Recorder(dataset["original"].values), made(), list[np.ndarray]()
    stored = indexing.LazilyIndexedArray(recorder)
    dataset["original"] = xr.Variable(dataset["original"].dims, stored)

    def counted(occupied: np.ndarray, scale: np.ndarray) -> np.ndarray:
        copies.append(scale)
        return rescale(occupied, scale)

    monkeypatch.setattr("functory.sources.augmentation.rescale", counted)
    occupancy = with_rescaled(dataset)["occupancy"]
    assert occupancy.shape == expected.shape
    chosen = occupancy.isel(sample=[10, 4, 11])
    assert not recorder.read
    np.testing.assert_array_equal(chosen.values, expected[[10, 4, 11]])
    assert sorted(recorder.read) == [1, 3]
    assert len(copies) == 3


def test_a_set_with_copies_is_a_signal_set_like_any_other(lazy: xr.Dataset) -> None:
    assert "original" not in lazy
    assert lazy["occupancy"].attrs["units"] == "1"
    assert lazy["occupancy"].dtype == bool
    np.testing.assert_array_equal(lazy["occupancy"].values[::COPIES], models()["original"].values)
    one = lazy.sel(z=0.25, method="nearest").where(lazy["model"] == "chair/2", drop=True)
    expected = made()[2 * COPIES : 3 * COPIES, 2]
    np.testing.assert_array_equal(one["occupancy"].values, expected)
