"""Surfaces: the right place, size and side; files that come back; pictures that do not lie."""

import gzip

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.errors import InputError
from functory.reporting.surfaces import GREY, REACH, draw, surface, write_mesh

WHITE = 255
RADIUS, CENTRE = 0.31, np.array([0.55, 0.45, 0.4])  # of a ball, (x, y, z)


def ball(size: int, radius: float = RADIUS, centre: np.ndarray = CENTRE) -> np.ndarray:
    """Return a field that falls evenly outwards through 0.5 at the radius."""
    z, y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 3, indexing="ij")
    return 0.5 + radius - np.linalg.norm(np.stack([x, y, z], -1) - centre, axis=-1)


def block(x=slice(None), y=slice(None), z=slice(None), size: int = 16) -> np.ndarray:
    field = np.zeros((size,) * 3)
    field[z, y, x] = 1
    return field


def inked(picture: np.ndarray) -> np.ndarray:
    return (picture < WHITE).any(-1)


def middle(picture: np.ndarray) -> np.ndarray:
    """Return the mean row and column of what was drawn."""
    return np.argwhere(inked(picture)).mean(0)


@pytest.mark.parametrize("size", [24, 48])
def test_a_ball_has_its_volume_and_centre_on_any_grid(size):
    mesh = surface(ball(size))
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)
    np.testing.assert_allclose(mesh.center_mass, CENTRE, atol=1e-3)


def test_shapes_at_the_border_are_closed_and_stay_in_the_cube():
    mesh = surface(ball(24, 0.6, np.array([0.0, 0.5, 0.5])))
    assert mesh.is_watertight
    assert mesh.volume > 0
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [0.6, 1, 1]], atol=2e-3)


def test_a_full_field_is_the_cube():
    mesh = surface(np.ones((8, 8, 8)))
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.bounds, [[0, 0, 0], [1, 1, 1]])
    assert 0.9 < mesh.volume <= 1


@pytest.mark.parametrize("field", [np.zeros((4, 4, 4)), np.full((4, 4, 4), 0.5)])
def test_nothing_above_the_threshold_is_an_empty_mesh(field):
    assert surface(field).is_empty


def test_unknown_values_are_outside():
    field = ball(24)
    half = np.where(np.arange(24) < 12, field, np.nan)
    np.testing.assert_allclose(surface(half).bounds[1, 0], 0.5, atol=0.02)
    assert surface(half).is_watertight


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 3.0]))
def test_any_field_has_a_closed_surface_that_faces_outwards(seed, threshold):
    # few levels, some of them the threshold itself, and all ways in which voxels touch
    steps = np.random.default_rng(seed).integers(-2, 3, (5, 4, 6))
    mesh = surface(threshold + steps / 2, threshold)
    assert mesh.is_watertight
    assert mesh.volume > 0
    assert mesh.bounds.min() >= 0
    assert mesh.bounds.max() <= 1


def test_axes_are_x_y_z():
    mesh = surface(block(x=slice(0, 4), y=slice(4, 8), z=slice(10, 16)))
    np.testing.assert_allclose(mesh.bounds, [[0, 1 / 4, 5 / 8], [1 / 4, 1 / 2, 1]])


def test_ply_comes_back(tmp_path):
    mesh = surface(ball(16))
    write_mesh(mesh, tmp_path / "ball.ply")
    read = trimesh.load_mesh(tmp_path / "ball.ply")
    np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(read.faces, mesh.faces)
    assert (tmp_path / "ball.ply").read_bytes()[:40].startswith(b"ply\nformat binary")


def test_glb_comes_back_with_y_up(tmp_path):
    mesh = surface(ball(16))
    before = mesh.vertices.copy()
    write_mesh(mesh, tmp_path / "ball.glb")
    read = trimesh.load_mesh(tmp_path / "ball.glb")
    x, y, z = CENTRE
    np.testing.assert_allclose(read.center_mass, [x, z, -y], atol=1e-3)
    assert read.volume == pytest.approx(mesh.volume, rel=1e-4)
    np.testing.assert_array_equal(mesh.vertices, before)


def test_other_files_and_empty_meshes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ball\.obj: name a file that ends in \.ply or \.glb"):
        write_mesh(surface(ball(8)), tmp_path / "ball.obj")
    with pytest.raises(InputError, match=r"ball\.ply is empty"):
        write_mesh(surface(np.zeros((4, 4, 4))), tmp_path / "ball.ply")
    assert not list(tmp_path.iterdir())


def test_pictures_are_deterministic_and_on_white():
    first, second = (draw(surface(ball(20)), "#0072B2", 96) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first.shape, first.dtype) == ((96, 96, 3), np.uint8)
    assert (first[[0, 0, -1, -1], [0, -1, 0, -1]] == WHITE).all()


def test_a_ball_covers_the_area_of_its_disc():
    centre = np.full(3, 0.5)
    picture = draw(surface(ball(48, 0.3, centre)), "#0072B2", 192)
    disc = np.pi * 0.3**2 / (2 * REACH) ** 2
    # an edge pixel counts by how much of it is covered, which its colour tells but roughly
    assert inked(picture).mean() == pytest.approx(disc, rel=0.03)
    np.testing.assert_allclose(middle(picture), 95.5, atol=0.6)


def test_the_cube_fits_and_almost_fills_the_picture():
    rows, columns = np.nonzero(inked(draw(surface(np.ones((16,) * 3)), "#0072B2", 128)))
    assert rows.min() in (0, 1, 2)
    assert rows.max() in (125, 126, 127)
    assert columns.min() > 0
    assert columns.max() < 127


def test_low_x_is_left_high_z_is_up_and_the_front_is_seen():
    low, high = slice(0, 5), slice(11, 16)
    mid = slice(6, 10)

    def at(**places) -> np.ndarray:
        middles = {axis: mid for axis in "xyz"}
        return middle(draw(surface(block(**(middles | places))), "#0072B2", 96))

    assert at(x=low)[1] < 40 < 55 < at(x=high)[1]
    assert at(z=high)[0] < 40 < 55 < at(z=low)[0]
    # the front is nearer: from above, it is lower in the picture
    assert at(y=high)[0] < 45 < 50 < at(y=low)[0]
    # and a wall in front hides a ball behind it
    wall = block(y=slice(0, 2))
    hidden = wall + block(x=mid, y=slice(8, 10), z=slice(2, 6))
    np.testing.assert_array_equal(
        inked(draw(surface(wall), "red", 96)), inked(draw(surface(hidden), "red", 96))
    )


def test_light_comes_from_above_and_left():
    picture = draw(surface(ball(48, 0.4, np.full(3, 0.5))), "#808080", 96).astype(int)
    assert picture[30, 48, 0] > picture[66, 48, 0] + 20
    assert picture[48, 30, 0] > picture[48, 66, 0] + 5


def test_known_voxels_are_grey_and_others_coloured():
    mesh = surface(ball(32, 0.4, np.full(3, 0.5)))
    known = np.zeros((32, 16, 4), bool)  # any grid will do
    known[:, :, :2] = True
    plain, mixed = draw(mesh, "red", 96), draw(mesh, "red", 96, known)
    np.testing.assert_array_equal(mixed[:, 65:], plain[:, 65:])
    np.testing.assert_array_equal(mixed[:, :31], draw(mesh, GREY, 96)[:, :31])
    assert inked(mixed[:, 65:]).any()
    assert inked(mixed[:, :31]).any()


def test_an_overhang_casts_a_shadow():
    table = block(z=slice(0, 2)) + block(x=slice(2, 9), y=slice(2, 9), z=slice(11, 13))
    floor, both = (draw(surface(f), "#808080", 96) for f in (block(z=slice(0, 2)), table))
    seen = inked(floor) & (both < floor - 40.0).all(-1)
    lower = seen[60:]
    assert lower.sum() > 50


def test_an_empty_mesh_is_a_small_cross():
    picture = draw(surface(np.zeros((4, 4, 4))), "#0072B2", 96)
    share = inked(picture).mean()
    assert 0 < share < 0.02
    np.testing.assert_allclose(middle(picture), 47.5)


def test_real_chairs_are_drawn_upright(data):
    path = data / "shapes" / "chair.npy.gz"
    if not path.exists():
        pytest.skip("needs the voxels of ModelNet10")
    with gzip.open(path) as file:
        chairs = np.load(file)[[0, 5, 77], 0].transpose(0, 3, 2, 1)
    assert surface(chairs[0]).is_empty
    for chair in chairs[1:]:
        mesh = surface(chair)
        assert mesh.is_watertight
        assert mesh.volume == pytest.approx(chair.mean(), rel=0.25)
        picture = draw(mesh, "#0072B2", 64)
        assert 0.08 < inked(picture).mean() < 0.5
