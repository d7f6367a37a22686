"""Drawn faces: reproducible, smooth in what they are drawn from, and of any resolution."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from functory.sources.faces_demo import FacesDemo, attributes_of, demo_pictures, face
from functory.sources.faces_drawing import Face, draw_face

PLAIN = replace(
    face(7, 0),
    turn=0.0,
    tilt=0.0,
    shift=(0.0, 0.0),
    nod=0.0,
    smile=0.0,
    mouth=0.0,
    opening=0.9,
    curls=0.0,
    hat=None,
    glasses=None,
    beard=0.0,
    skin=(0.95, 0.76, 0.62),
)


def drawn(face: Face, side: int = 64) -> NDArray[np.float64]:
    return draw_face(face, side).astype(float)


def difference(one: Face, other: Face) -> NDArray[np.float64]:
    """Return how much pixels differ, (y, x)."""
    return abs(drawn(one) - drawn(other)).max(-1)


def test_pictures_are_named_and_all_say_the_same_of_themselves() -> None:
    pictures = demo_pictures(FacesDemo(pictures=30, side=32))
    assert [p.name for p in pictures[:2]] == ["face-000000", "face-000001"]
    assert len({p.name for p in pictures}) == 30
    assert len({tuple(p.attributes) for p in pictures}) == 1
    pixels = pictures[0].read()
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)


def test_nothing_is_drawn_before_a_picture_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr("functory.sources.faces_demo.draw_face", refuse)
    pictures = demo_pictures(FacesDemo(pictures=10))
    with pytest.raises(AssertionError, match="drawn"):
        pictures[0].read()


def test_a_face_depends_on_its_number_and_seed_alone() -> None:
    few = demo_pictures(FacesDemo(pictures=3, seed=5))
    many = demo_pictures(FacesDemo(pictures=9, seed=5))
    other = demo_pictures(FacesDemo(pictures=3, seed=6))
    for number in (2, 0, 1):
        pixels = few[number].read()
        np.testing.assert_array_equal(pixels, many[number].read())
        assert few[number].attributes == many[number].attributes
        assert (pixels != other[number].read()).mean() > 0.5


def test_a_coarse_picture_is_the_mean_of_a_fine_one() -> None:
    errors = []
    for number in range(20):
        coarse, fine = (drawn(face(number, 0), side) for side in (64, 192))
        means = fine.reshape(64, 3, 64, 3, 3).mean((1, 3))
        sampled = fine[1::3, 1::3]  # with edges of a third of a pixel
        assert abs(coarse - means).mean() < 1.5
        errors.append([np.sqrt(((values - means) ** 2).mean()) for values in (coarse, sampled)])
    smooth, sharp = np.mean(errors, axis=0)
    assert smooth < sharp / 2


@pytest.mark.parametrize(
    "change",
    [
        {"turn": 0.004},
        {"turn": -0.004},
        {"nod": 0.004},
        {"tilt": 0.004},
        {"shift": (0.003, 0.002)},
        {"zoom": PLAIN.zoom + 0.003},
        {"smile": 0.02},
        {"mouth": 0.01},
        {"opening": 0.91},
        {"gaze": PLAIN.gaze + 0.02},
        {"frown": PLAIN.frown + 0.02},
        {"length": PLAIN.length + 0.003},
        {"hairline": PLAIN.hairline + 0.003},
        {"width": PLAIN.width + 0.002},
    ],
    ids=str,
)
def test_a_small_change_is_a_small_change_of_the_picture(change: dict[str, object]) -> None:
    moved = difference(PLAIN, replace(PLAIN, **change))
    assert 0 < moved.max() < 70
    assert moved.mean() < 2


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        ({"smile": 1.0}, (34, 56)),
        ({"mouth": 1.0}, (34, 60)),
        ({"opening": 0.0}, (20, 44)),
        ({"glasses": (0.1, 0.1, 0.1)}, (20, 44)),
        ({"hat": (0.2, 0.3, 0.8)}, (0, 32)),
        ({"beard": 0.9}, (28, 62)),
    ],
    ids=str,
)
def test_an_attribute_is_seen_where_it_belongs(
    change: dict[str, object], rows: tuple[int, int]
) -> None:
    other = replace(PLAIN, **change)
    assert attributes_of(other) != attributes_of(PLAIN)
    changed = difference(PLAIN, other) > 20
    assert changed.sum() > 25
    places = np.flatnonzero(changed.any(1))
    assert rows[0] <= places.min() <= places.max() < rows[1]


def test_left_and_right_are_mirrored() -> None:
    for number in range(10):
        one = replace(face(number, 0), curls=0.0, glasses=None)
        other = replace(
            one,
            turn=-one.turn,
            tilt=-one.tilt,
            shift=(-one.shift[0], one.shift[1]),
            light=(-one.light[0], one.light[1]),
            slope=np.pi - one.slope,
            sweep=-one.sweep,
            gaze=-one.gaze,
        )
        # glints stay on their side of the eyes
        assert abs(drawn(one)[:, ::-1] - drawn(other)).mean() < 1
        said, mirrored = attributes_of(one), attributes_of(other)
        assert said["Turned_left"] == mirrored["Turned_right"]
        assert said["Turned_right"] == mirrored["Turned_left"]


def test_every_attribute_is_true_of_some_and_false_of_many() -> None:
    said = [attributes_of(face(number, 1)) for number in range(1000)]
    for name in said[0]:
        assert 0.07 < np.mean([each[name] for each in said]) < 0.65, name


def test_pictures_differ_and_use_the_range() -> None:
    pictures = np.stack([drawn(face(number, 2), 32) for number in range(60)])
    assert len({p.tobytes() for p in pictures}) == 60
    assert (pictures.std((1, 2, 3)) > 20).all()
    assert ((pictures == 0) | (pictures == 255)).mean() < 0.05
    assert pictures.std(0).mean() > 40


@pytest.mark.parametrize(
    "wrong", [{"pictures": 0}, {"side": 8}, {"side": 1024}, {"seed": -1}, {"faces": 3}], ids=str
)
def test_configuration_refuses(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        FacesDemo.model_validate(wrong)
