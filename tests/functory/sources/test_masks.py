"""Masks: what is seen of shapes and fields, and what is not."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter, ValidationError

from functory.sources.masks import Half, Mask, RandomPoints, Region, Scan, observed

SHAPES = st.integers(2, 7).flatmap(
    lambda side: hnp.arrays(bool, st.integers(1, 3).map(lambda count: (count, side, side, side)))
)
EVERY_MASK = [
    *[Half(half=half) for half in ("left", "front", "bottom")],
    RandomPoints(share=0.3),
    Scan(),
]


def shapes(voxels: np.ndarray) -> xr.DataArray:
    centres = (np.arange(voxels.shape[-1]) + 0.5) / voxels.shape[-1]
    axes = ("z", "y", "x")
    return xr.DataArray(voxels, {axis: centres for axis in axes}, ("sample", *axes), "occupancy")


def fields(west: float, step: float = 2.5) -> xr.DataArray:
    """Return two fields of the whole Earth whose longitudes begin in the west."""
    latitude, longitude = np.arange(90, -90 - step, -step), west + np.arange(0, 360, step)
    values = np.random.default_rng(0).random((2, len(latitude), len(longitude)))
    coordinates = {"latitude": latitude, "longitude": longitude}
    return xr.DataArray(values, coordinates, ("time", "latitude", "longitude"), "t2m")


@pytest.mark.parametrize("mask", EVERY_MASK, ids=lambda mask: mask.label)
def test_masks_are_booleans_like_the_field(mask: Mask) -> None:
    field = shapes(np.random.default_rng(0).random((3, 6, 6, 6)) < 0.2)
    turned = field.transpose("x", "sample", "z", "y")
    for each in (field, turned):
        seen = observed(mask, each)
        assert seen.dtype == bool
        assert seen.dims == each.dims
        assert seen.shape == each.shape
        assert seen.any()
        assert not seen.all()
    if mask.kind != "random":
        assert (observed(mask, turned).transpose(*field.dims) == observed(mask, field)).all()


@pytest.mark.parametrize("mask", EVERY_MASK, ids=lambda mask: mask.label)
def test_configurations_survive_json(mask: Mask) -> None:
    adapter = TypeAdapter(Mask)
    assert adapter.validate_json(adapter.dump_json(mask)) == mask


@pytest.mark.parametrize(("half", "axis"), [("left", "x"), ("front", "y"), ("bottom", "z")])
@settings(max_examples=25, deadline=None)
@given(SHAPES.filter(lambda voxels: voxels.shape[-1] % 2 == 0))
def test_a_half_and_its_mirror_image_are_everything(
    half: str, axis: str, voxels: np.ndarray
) -> None:
    field = shapes(voxels)
    seen = observed(Half(half=half), field)  # type: ignore[arg-type]
    mirrored = seen.isel({axis: slice(None, None, -1)})
    assert 2 * int(seen.sum()) == seen.size
    assert (seen.values != mirrored.values).all()
    assert seen.isel({axis: slice(0, voxels.shape[-1] // 2)}).all()


def test_random_points_are_others_for_each_signal_and_the_same_again() -> None:
    field = shapes(np.zeros((4, 24, 24, 24), dtype=bool))
    mask = RandomPoints(share=0.05)
    seen = observed(mask, field)
    share = seen.mean(("z", "y", "x")).values
    np.testing.assert_allclose(share, 0.05, atol=4 * (0.05 * 0.95 / 24**3) ** 0.5)
    both = float((seen[0] & seen[1]).mean())
    assert both == pytest.approx(0.05**2, abs=0.002)
    assert (observed(mask, field) == seen).all()
    assert (observed(RandomPoints(share=0.05, seed=1), field) != seen).any()


def test_more_points_include_the_fewer() -> None:
    field = shapes(np.zeros((2, 12, 12, 12), dtype=bool))
    few, many = (observed(RandomPoints(share=share), field) for share in (0.1, 0.4))
    assert not (few & ~many).any()


@settings(max_examples=25, deadline=None)
@given(SHAPES)
def test_a_scan_sees_up_to_the_first_surface(voxels: np.ndarray) -> None:
    seen = observed(Scan(), shapes(voxels)).values
    for sample, z, x in np.ndindex(voxels.shape[0], voxels.shape[1], voxels.shape[3]):
        sight, met = voxels[sample, z, :, x], seen[sample, z, :, x]
        hits = np.flatnonzero(sight)
        depth = hits[0] + 1 if len(hits) else len(sight)
        assert met[:depth].all()
        assert not met[depth:].any()


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.data())
def test_what_is_behind_a_surface_cannot_be_told_from_a_scan(
    voxels: np.ndarray, data: st.DataObject
) -> None:
    seen = observed(Scan(), shapes(voxels)).values
    other = data.draw(hnp.arrays(bool, voxels.shape))
    changed = np.where(seen, voxels, other)
    np.testing.assert_array_equal(observed(Scan(), shapes(changed)).values, seen)


def test_occupancies_between_0_and_1_are_surfaces_above_a_half() -> None:
    field = shapes(np.zeros((1, 4, 4, 4), dtype=np.float32))
    field[0, 1, :, 2] = [0.4, 0.6, 0.0, 1.0]
    seen = observed(Scan(), field)
    assert seen[0, 1, :, 2].values.tolist() == [True, True, False, False]
    assert int((~seen).sum()) == 2


@pytest.mark.parametrize("west", [0.0, -180.0, -90.0])
@pytest.mark.parametrize(
    ("longitude", "hidden"),
    [
        ((350, 10), 9),
        ((-10, 10), 9),
        ((170, -170), 9),
        ((170, 190), 9),
        ((0, 0), 1),
        ((20, 50), 13),
        ((-20, 340), 144),
        ((-180, 180), 144),
        ((0, 360), 144),
        ((0, 357.5), 144),
        ((0, 355), 143),
    ],
)
def test_a_region_is_the_same_in_any_convention(
    west: float, longitude: tuple[float, float], hidden: int
) -> None:
    field = fields(west)
    region = Region(name="here", latitude=(-10, 20), longitude=longitude)
    seen = observed(region, field)
    assert seen.dims == field.dims
    assert int((~seen).sum()) == 2 * 13 * hidden
    rows = (field["latitude"] > 20) | (field["latitude"] < -10)
    assert seen.where(rows, True).sel(latitude=field["latitude"][rows]).all()
    degrees = np.where(~seen[0].all("latitude").values, field["longitude"].values, np.nan)
    east_of = (degrees[~np.isnan(degrees)] - longitude[0]) % 360
    width = longitude[1] - longitude[0]
    assert east_of.max() <= (width if width >= 0 else width + 360)


def test_a_region_is_hidden_whichever_way_latitudes_run() -> None:
    field = fields(0.0)
    region = Region(name="Africa", latitude=(-35, 37.5), longitude=(-17.5, 50))
    upside_down = observed(region, field.isel(latitude=slice(None, None, -1)))
    xr.testing.assert_equal(
        upside_down.sortby("latitude", ascending=False), observed(region, field)
    )


def test_a_region_goes_from_south_to_north() -> None:
    with pytest.raises(ValidationError, match="must go from south to north"):
        Region(name="nowhere", latitude=(20, -10), longitude=(0, 10))
