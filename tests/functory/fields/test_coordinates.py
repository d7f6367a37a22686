"""Coordinates: the sphere, boxes with their ends on ±1, pixel centres."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.errors import InputError
from functory.fields.coordinates import Sphere, coordinates_for

GRID = {"latitude": np.linspace(58, 50, 33), "longitude": np.linspace(-10, 2, 49)}
degrees = st.floats(-720, 720, allow_nan=False)


@given(st.floats(-90, 90), degrees)
def test_points_of_the_sphere_have_norm_one_and_no_seam(latitude: float, longitude: float) -> None:
    def at(lon: float) -> np.ndarray:
        return Sphere().points({"latitude": np.array([latitude]), "longitude": np.array([lon])})

    assert np.linalg.norm(at(longitude)) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(at(longitude), at(longitude + 360), atol=1e-6)


def test_poles_and_axes_of_the_sphere() -> None:
    points = Sphere().points({"latitude": np.array([90, 0]), "longitude": np.array([0, 90])})
    expected = [[0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(points, expected, atol=1e-6)


def test_a_box_has_its_ends_at_one() -> None:
    points = coordinates_for("box", ("latitude", "longitude"), GRID).points(GRID)
    assert points.shape == (33 * 49, 2)
    assert points[0].tolist() == [-1, -1]
    assert points[48].tolist() == [-1, 1]
    assert points[-1].tolist() == [1, 1]


def test_pixel_centres_lie_within_the_unit_square() -> None:
    grid = {"y": np.arange(4), "x": np.arange(8)}
    points = coordinates_for("pixel-centres", ("y", "x"), grid).points(grid)
    np.testing.assert_allclose(points.reshape(4, 8, 2)[:, 0, 0], [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(points.reshape(4, 8, 2)[0, :, 1], (np.arange(8) + 0.5) / 8)


@given(st.integers(-3, 3))
def test_a_box_knows_longitudes_by_either_convention(turns: int) -> None:
    box = coordinates_for("box", ("latitude", "longitude"), GRID)
    turned = {**GRID, "longitude": GRID["longitude"] + 360 * turns}
    np.testing.assert_allclose(box.points(turned), box.points(GRID), atol=1e-5)


def test_a_missing_axis_is_named() -> None:
    with pytest.raises(InputError, match="longitude are missing"):
        Sphere().points({"latitude": np.zeros(1)})
    with pytest.raises(InputError, match="latitude has 1 value"):
        coordinates_for("box", ("latitude",), {"latitude": np.zeros(1)})
