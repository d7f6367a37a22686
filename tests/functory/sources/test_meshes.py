from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from shape_folders import BOX, BOX_FACES, write, write_obj

from functory.errors import InputError
from functory.sources.meshes import SHARE, _read, _require_closed, occupancy

MESHES = (
    *["boat", "boot", "cat-low-resolution", "goathead", "penguin"],
    *["plane", "skull_low_resolution", "sphere", "spot_low_resolution", "torus"],
)


def exported(mesh: trimesh.Trimesh, path: Path) -> Path:
    mesh.export(path)
    return path


def filled(mesh: trimesh.Trimesh) -> float:
    """Return the share of the grid that a mesh should fill."""
    return mesh.volume * (SHARE / mesh.extents.max()) ** 3


@pytest.mark.parametrize("suffix", ["obj", "ply", "off"])
def test_the_volume_of_a_ball(tmp_path: Path, suffix: str) -> None:
    path = exported(trimesh.creation.icosphere(subdivisions=4), tmp_path / f"ball.{suffix}")
    voxels = occupancy(path, 64)
    assert voxels.shape == (64, 64, 64)
    assert voxels.dtype == bool
    assert voxels.mean() == pytest.approx(np.pi / 6 * SHARE**3, rel=0.01)
    for axis in range(3):
        np.testing.assert_array_equal(voxels, np.flip(voxels, axis))


def test_a_box_to_the_voxel(tmp_path: Path) -> None:
    path = write_obj(tmp_path / "box.obj", BOX * [4, 2, 1], BOX_FACES)
    voxels = occupancy(path, 24)
    found = [int(voxels.any(axis=other).sum()) for other in ((1, 2), (0, 2), (0, 1))]
    # The sides are 21.6, 10.8 and 5.4 voxels about the middle, where two voxels meet.
    assert found == [22, 10, 6]
    assert voxels.sum() == np.prod(found)


def test_a_torus_has_a_hole(tmp_path: Path) -> None:
    mesh = trimesh.creation.torus(major_radius=1, minor_radius=0.3)
    voxels = occupancy(exported(mesh, tmp_path / "torus.obj"), 64)
    assert voxels.mean() == pytest.approx(filled(mesh), rel=0.02)
    assert not voxels[28:36, 28:36].any()
    assert voxels[:28, 31:33, 31:33].any()
    assert voxels[36:, 31:33, 31:33].any()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-6, 6).map(lambda power: 10**power),
    st.tuples(*[st.floats(-100, 100)] * 3),
)
def test_place_size_and_order_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    scale: float,
    shift: tuple[float, float, float],
) -> None:
    folder = tmp_path_factory.mktemp("meshes")
    mesh = trimesh.creation.icosphere(subdivisions=2)
    vertices = mesh.vertices * [1, 0.7, 0.4]
    expected = occupancy(write_obj(folder / "one.obj", vertices, mesh.faces), 24)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(vertices))
    faces = rng.permutation(np.argsort(order)[mesh.faces])
    moved = scale * (vertices[order] + shift)
    found = occupancy(write_obj(folder / "other.obj", moved, faces), 24)
    # Where the surface passes within a rounding error of a voxel's centre, either may be right.
    assert (found != expected).mean() < 1e-3


def test_vertices_at_one_place_count_as_one(tmp_path: Path) -> None:
    corners = BOX[BOX_FACES.ravel()]
    soup = write_obj(tmp_path / "soup.obj", corners, np.arange(36).reshape(12, 3))
    whole = write_obj(tmp_path / "whole.obj", BOX, BOX_FACES)
    np.testing.assert_array_equal(occupancy(soup, 16), occupancy(whole, 16))


def test_seams_of_texture_and_normals_are_closed(tmp_path: Path) -> None:
    # Each side has texture coordinates and a normal of its own.
    lines = [f"v {x} {y} {z}" for x, y, z in BOX] + [f"vt {i / 12} {i % 2}" for i in range(12)]
    lines += [f"vn {i} 1 {-i}" for i in range(12)] + ["mtllib none.mtl", "usemtl oak"]
    for number, face in enumerate(BOX_FACES + 1):
        lines.append("f " + " ".join(f"{v}/{number + 1}/{number + 1}" for v in face))
    path = write(tmp_path / "box.obj", "\n".join(lines).encode())
    assert occupancy(path, 10).sum() == pytest.approx((0.9 * 10) ** 3, rel=0.5)


def test_parts_that_overlap_are_united(tmp_path: Path) -> None:
    two = write_obj(
        tmp_path / "two.obj",
        np.concatenate([BOX * [2, 1, 1], BOX * [2, 1, 1] + [1, 0.2, 0.3]]),
        np.concatenate([BOX_FACES, BOX_FACES + 8]),
    )
    voxels = occupancy(two, 32)
    side = 3 / SHARE / 32
    assert voxels.sum() * side**3 == pytest.approx(2 + 2 - 0.8 * 0.7, rel=0.1)
    assert voxels[14:18, 14:18, 14:18].all()


@pytest.mark.parametrize("turned", [False, True])
def test_a_hollow_ball_is_hollow(tmp_path: Path, turned: bool) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3)
    hole = ball.copy().apply_scale(0.5)
    faces = np.concatenate([ball.faces, hole.faces[:, ::-1] + len(ball.vertices)])
    vertices = np.concatenate([ball.vertices, hole.vertices])
    path = write_obj(tmp_path / "hollow.obj", vertices, faces[:, ::-1] if turned else faces)
    voxels = occupancy(path, 48)
    assert not voxels[20:28, 20:28, 20:28].any()
    assert voxels.mean() == pytest.approx(np.pi / 6 * SHARE**3 * 7 / 8, rel=0.03)


def test_a_part_turned_inside_out_is_there_all_the_same(tmp_path: Path) -> None:
    faces = np.concatenate([BOX_FACES, BOX_FACES[:, ::-1] + 8])
    path = write_obj(tmp_path / "two.obj", np.concatenate([BOX, BOX + np.eye(3)[0] * 2]), faces)
    voxels = occupancy(path, 32)
    np.testing.assert_array_equal(voxels, voxels[::-1])
    assert voxels.any()


@pytest.mark.parametrize(("removed", "count"), [([0, 1], 4), ([0], 3), ([0, 2], 6), ([0, 1, 5], 5)])
def test_open_edges_are_counted(tmp_path: Path, removed: list[int], count: int) -> None:
    path = write_obj(tmp_path / "open.obj", BOX, np.delete(BOX_FACES, removed, axis=0))
    with pytest.raises(InputError, match=f"open.obj is not closed, {count} of its edges"):
        occupancy(path, 8)


def test_an_inner_wall_is_refused(tmp_path: Path) -> None:
    faces = np.concatenate([BOX_FACES, [[0, 1, 7], [0, 7, 6]]])
    with pytest.raises(InputError, match="is not closed, 4 of its edges"):
        occupancy(write_obj(tmp_path / "wall.obj", BOX, faces), 8)


def test_faces_without_area_leave_a_mesh_closed(tmp_path: Path) -> None:
    faces = np.concatenate([BOX_FACES, [[0, 0, 1], [3, 3, 3]]])
    odd = write_obj(tmp_path / "odd.obj", BOX, faces)
    plain = write_obj(tmp_path / "plain.obj", BOX, BOX_FACES)
    np.testing.assert_array_equal(occupancy(odd, 8), occupancy(plain, 8))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.obj", b""),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"),
        ("a.obj", b"v 0 0 0\nf 1 2 3\n"),
        ("a.obj", b"v x y z\nf 1 2 3\n"),
        ("a.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n"),
        ("a.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n"),
        ("a.off", b"OFF\n3 1 0\n0 0 0\n"),
        ("a.off", b"something else"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 9\n"),
        ("a.ply", b"\x00\x01\x02"),
    ],
)
def test_files_that_are_no_mesh(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as caught:
        occupancy(path, 8)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.obj cannot be read as a mesh"):
        occupancy(tmp_path / "absent.obj", 8)


@pytest.mark.parametrize("name", MESHES)
def test_real_meshes_are_closed_and_keep_their_volume(data: Path, name: str) -> None:
    path = data / "shapes" / "meshes" / f"{name}.obj"
    mesh = _read(path)
    _require_closed(mesh, path)
    assert occupancy(path, 64).mean() == pytest.approx(filled(mesh), rel=0.02)
