"""The synthetic shapes: reproducible solids of ten classes that any resolution samples."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import label as components

from functory.sources.shapes_demo import CLASSES, ShapesDemo, demo_models, solid
from functory.sources.solids import Solid, box, cut, ellipsoid, loft, mirrored, moved, rod, union

LOPSIDED = {"lamp", "sofa"}  # arms at any angle; a long seat on one side
RESOLUTIONS = 16, 32, 64


@pytest.fixture(scope="module", params=CLASSES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def shapes() -> dict[tuple[str, int], NDArray[np.bool_]]:
    """Return 50 models (20 at 64 voxels a side) of every class by class and resolution."""
    stacks = {}
    for size in RESOLUTIONS:
        models = demo_models(ShapesDemo(models=20 if size == 64 else 50, size=size))
        for name in CLASSES:
            stacks[name, size] = np.stack([m.read() for m in models if m.label == name])
    return stacks


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> NDArray[np.float64]:
    return (one & other).sum((1, 2, 3)) / (one | other).sum((1, 2, 3))


def test_ten_classes_of_named_models_in_order():
    models = demo_models(ShapesDemo(models=3, size=8))
    assert len(set(CLASSES)) == 10
    assert [model.name for model in models] == [f"{c}/000{n}" for c in CLASSES for n in range(3)]
    assert all(model.name.startswith(f"{model.label}/") for model in models)
    shape = models[0].read()
    assert shape.shape == (8, 8, 8)
    assert shape.dtype == bool


def test_nothing_is_computed_before_a_model_is_read(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("demo_models computed a shape")

    monkeypatch.setattr("functory.sources.shapes_demo.solid", refuse)
    models = demo_models(ShapesDemo(models=1000, size=256))
    with pytest.raises(AssertionError, match="computed"):
        models[0].read()


def test_a_model_depends_on_its_class_number_and_seed_alone():
    few = demo_models(ShapesDemo(models=3, seed=5, size=24))
    many = {model.name: model for model in demo_models(ShapesDemo(models=8, seed=5, size=24))}
    other = {model.name: model for model in demo_models(ShapesDemo(models=3, seed=6, size=24))}
    for model in reversed(few):
        np.testing.assert_array_equal(model.read(), many[model.name].read())
        np.testing.assert_array_equal(model.read(), model.read())
        assert (model.read() != other[model.name].read()).any()


def test_voxels_are_the_solid_at_their_centres(name):
    models = {model.name: model for model in demo_models(ShapesDemo(models=5, size=40))}
    x, y, z = np.random.default_rng(0).integers(40, size=(3, 5000))
    inside = solid(name, 4, 0)((x + 0.5) / 40, (y + 0.5) / 40, (z + 0.5) / 40)
    np.testing.assert_array_equal(models[f"{name}/0004"].read()[z, y, x], inside)
    assert inside.any()


def test_a_coarse_grid_is_the_middle_of_a_grid_three_times_as_fine(name):
    coarse, fine = (demo_models(ShapesDemo(models=3, size=size)) for size in (16, 48))
    for one, other in zip(coarse, fine, strict=True):
        if one.label == name:
            middles = other.read()[1::3, 1::3, 1::3]
            assert (one.read() != middles).mean() < 1e-3  # a surface may pass through a centre


def test_resolutions_agree_up_to_the_surface(shapes):
    agreement = {}
    for name in CLASSES:
        coarse = shapes[name, 32][:20]
        filled = shapes[name, 64].reshape(20, 32, 2, 32, 2, 32, 2).mean((2, 4, 6))
        assert coarse[filled == 1].mean() > 0.995
        assert coarse[filled == 0].mean() < 0.001
        agreement[name] = iou(coarse, filled >= 0.5).mean()
    # Boards of two voxels lose or gain one of their four halves, hence not more.
    assert min(agreement.values()) > 0.7
    assert np.mean(list(agreement.values())) > 0.8


def test_shapes_stand_on_the_floor_in_the_middle_with_a_free_border(shapes, name):
    for shape in shapes[name, 64]:
        spans = np.array([[at.min(), at.max() + 1] for at in np.nonzero(shape)]) / 64
        assert spans.min() >= 0.06
        assert spans.max() <= 0.94
        assert spans[0, 0] == 5 / 64
        off = 0.08 if name == "lamp" else 0.02
        np.testing.assert_allclose(spans[1:].mean(1), 0.5, rtol=0, atol=off)


@pytest.mark.parametrize("size", [32, 64])
def test_shapes_are_in_one_piece(shapes, name, size):
    for shape in shapes[name, size]:
        assert components(shape, np.ones((3, 3, 3)))[1] == 1


def test_shapes_are_solid_but_leave_most_of_the_cube_empty(shapes, name):
    occupancy = shapes[name, 32].mean((1, 2, 3))
    assert occupancy.min() > 0.004
    assert occupancy.max() < 0.25


def test_no_two_models_of_a_class_are_alike_and_they_vary(shapes, name):
    models = shapes[name, 32]
    assert len({model.tobytes() for model in models}) == len(models)
    assert iou(models[:-1], models[1:]).mean() < 0.75


def test_left_and_right_are_alike_in_most_classes(shapes, name):
    alike = [(shape == shape[..., ::-1]).all() for shape in shapes[name, 32]]
    assert 0 < np.mean(alike) < 1 if name in LOPSIDED else all(alike)


@pytest.mark.parametrize("tall_behind", ["airplane", "bed", "chair", "sofa"])
def test_the_front_faces_minus_y(shapes, tall_behind):
    """The fin, the headboard and the backs are behind: there the shape is higher on average."""
    for shape in shapes[tall_behind, 32]:
        height, y, _ = np.nonzero(shape)
        near, far = np.quantile(np.unique(y), [0.25, 0.75])
        assert height[y < near].mean() < height[y > far].mean()


def test_legs_of_a_chair_are_apart(shapes):
    for shape in shapes["chair", 64]:
        below = shape[9]  # 0.07 above the floor
        assert components(below, np.ones((3, 3)))[1] == 4


def test_classes_differ(shapes):
    """The nearest mean of a class tells most of the models that it was not made from."""
    stacks = np.stack([shapes[name, 16] for name in CLASSES]).reshape(10, 50, -1).astype(float)
    means = stacks[:, :30].mean(1)
    held_out = stacks[:, 30:].reshape(200, -1)
    nearest = ((held_out[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == np.repeat(np.arange(10), 20)).mean() > 0.8


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (box(0.3, (0.1, 0.4), (-0.2, 0.3)), 0.6 * 0.3 * 0.5),
        (rod((-0.2, -0.2, -0.1), (0.2, 0.1, 0.2), 0.2), np.pi * 0.2**2 * np.sqrt(0.34)),
        (rod((0, 0, -0.3), (0, 0, 0.3), 0.4, 0), np.pi * 0.4**2 * 0.6 / 3),
        (ellipsoid((0.1, 0, 0), (0.3, 0.2, 0.4)), 4 / 3 * np.pi * 0.3 * 0.2 * 0.4),
        (ellipsoid((0, 0, 0), (0.4, 0.4, 0.4), 1), 4 / 3 * 0.4**3),
        (loft("x", 0.4, (0.1, 0.2), ((0, 0.4), 0.2)), 0.8 * 0.4 * 0.3),
        (mirrored(box((0.1, 0.3), (0, 0.2), 0.1), "xy"), 4 * 0.2 * 0.2 * 0.2),
        (moved(cut(box(0.3, 0.3, 0.3), box(0.2, 0.2, 1)), (0.1, 0, -0.1)), 0.6 * (0.36 - 0.16)),
        (union(box(0.3, 0.3, 0.3), box((0, 0.4), 0.1, 0.1)), 0.6**3 + 0.1 * 0.2 * 0.2),
    ],
)
def test_solids_have_their_volume(shape: Solid, volume: float):
    centres = (np.arange(120) + 0.5) / 120 - 0.5
    measured = shape(centres, centres[:, None], centres[:, None, None]).mean()
    assert measured == pytest.approx(volume, rel=0.03)


@pytest.mark.parametrize(
    "wrong",
    [{"models": 0}, {"models": 10_001}, {"size": 7}, {"size": 257}, {"seed": -1}, {"shape": 3}],
)
def test_configuration_refuses(wrong):
    with pytest.raises(ValidationError):
        ShapesDemo(**wrong)
