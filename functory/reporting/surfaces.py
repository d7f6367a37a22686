"""Surfaces of shapes: meshes out of fields, files of them, and shaded pictures."""

from pathlib import Path

import numpy as np
import trimesh
from matplotlib.colors import to_rgb
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from functory.errors import InputError

__all__ = ["draw", "surface", "write_mesh"]

GREY = "#B4B9BE"  # of what was known about a shape
AZIMUTH, ELEVATION = np.radians(-32.0), np.radians(24.0)  # of the eye, from the front (−y)
RIGHT = np.array([np.cos(AZIMUTH), np.sin(AZIMUTH), 0.0])
LEVEL = np.array([np.sin(AZIMUTH), -np.cos(AZIMUTH), 0.0])
EYE = LEVEL * np.cos(ELEVATION) + [0.0, 0.0, np.sin(ELEVATION)]
UP = np.cross(EYE, RIGHT)
REACH = float(np.abs(UP).sum() / 2)  # the unit cube just fits between top and bottom
KEY = -0.55 * RIGHT + 0.75 * UP + 0.9 * EYE  # the lamp: over the left shoulder
KEY /= np.linalg.norm(KEY)
FILL = 0.9 * RIGHT + 0.1 * UP + 0.5 * EYE  # a weak one from the right, which casts no shadow
FILL /= np.linalg.norm(FILL)
FINER = 2  # rays to a pixel, each way: smooth edges


def surface(field: np.ndarray, threshold: float = 0.5) -> trimesh.Trimesh:
    """Return the surface of the shape where a field exceeds a threshold.

    Parameters
    ----------
    field
        Values at the centres of voxels that fill the unit cube, (z, y, x); NaN is outside.

    Returns
    -------
    trimesh.Trimesh
        Closed, also where the shape meets the cube's sides, and facing outwards; vertices are
        (x, y, z) within the unit cube. It is empty where no value exceeds the threshold.
    """
    values = np.asarray(field, dtype=np.float32).transpose(2, 1, 0)
    inside = values > threshold
    if not inside.any():
        return trimesh.Trimesh()
    values = np.nan_to_num(values, nan=2 * threshold - values[inside].max())
    # around the cube the field is mirrored in the threshold, so that its sides cut the shape
    padded = threshold - abs(np.pad(values, 1, mode="edge") - threshold)
    padded[1:-1, 1:-1, 1:-1] = values
    # Lewiner's variant leaves holes where binary voxels touch at their edges; Lorensen's does not
    vertices, faces, _, _ = marching_cubes(
        padded, threshold, gradient_direction="ascent", method="lorensen"
    )
    return trimesh.Trimesh((vertices - 0.5) / inside.shape, faces, process=False)


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write a mesh as binary PLY or as GLB, whichever the suffix says.

    The vertical is z in PLY, and y in GLB, as that format asks.

    Raises
    ------
    InputError
        If the suffix is another, or the mesh is empty.
    """
    if path.suffix not in (".ply", ".glb"):
        raise InputError(f"Cannot write a mesh to {path}: name a file that ends in .ply or .glb.")
    if mesh.is_empty:
        raise InputError(
            f"The mesh for {path} is empty: choose a shape that exceeds its threshold."
        )
    if path.suffix == ".glb":
        turn = trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0])
        mesh = mesh.copy().apply_transform(turn)
    mesh.export(path)


def draw(
    mesh: trimesh.Trimesh, colour: str, pixels: int = 192, known: np.ndarray | None = None
) -> np.ndarray:
    """Return a shaded picture of a mesh in the unit cube, seen from the left of its front, above.

    The vertical is z and the front faces −y. All pictures have one scale; that of an empty mesh
    is a small cross.

    Parameters
    ----------
    known
        (z, y, x), true in the voxels in which the surface is grey instead: what was given.

    Returns
    -------
    numpy.ndarray
        (pixels, pixels, 3), uint8, on white.
    """
    size = FINER * pixels
    across = ((np.arange(size) + 0.5) / size * 2 - 1) * REACH
    x, y = (axis.ravel() for axis in np.meshgrid(across, -across))
    picture = np.ones((size * size, 3))
    if mesh.is_empty:
        picture[(abs(abs(x) - abs(y)) < 0.015) & (abs(x) < 0.06)] = to_rgb(GREY)
    else:
        silhouette = (mesh.vertices - 0.5) @ np.transpose([RIGHT, UP])
        low, high = silhouette.min(0), silhouette.max(0)
        near = np.flatnonzero((x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1]))
        # the eye is so far away that all rays are parallel
        origins = 0.5 + 2 * EYE + x[near, None] * RIGHT + y[near, None] * UP
        faces = mesh.ray.intersects_first(origins, np.broadcast_to(-EYE, origins.shape))
        origins, hit, faces = (rays[faces >= 0] for rays in (origins, near, faces))
        points, normals = _met(mesh, origins, faces)
        base = np.broadcast_to(to_rgb(colour), points.shape)
        if known is not None:
            base = np.where(_within(known, points)[:, None], to_rgb(GREY), base)
        shadow = _shadow(mesh, points + 0.01 * normals, hit, size)
        key, fill = (np.clip(normals @ lamp, 0, None) for lamp in (KEY, FILL))
        picture[hit] = _lit(base, 0.29 + 0.66 * key * (1 - 0.75 * shadow) + 0.22 * fill)
    picture = picture.reshape(pixels, FINER, pixels, FINER, 3).mean((1, 3))
    return np.rint(255 * picture).astype(np.uint8)


def _met(
    mesh: trimesh.Trimesh, origins: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays from the eye meet their faces, and the normals there, smooth."""
    corners, flat = mesh.triangles[faces], mesh.face_normals[faces]
    distance = ((origins - corners[:, 0]) * flat).sum(1) / (flat @ EYE)
    points = origins - distance[:, None] * EYE
    weights = trimesh.triangles.points_to_barycentric(corners, points)
    normals = np.einsum("ij,ijk->ik", weights, mesh.vertex_normals[mesh.faces[faces]])
    return points, trimesh.unitize(normals)


def _shadow(mesh: trimesh.Trimesh, points: np.ndarray, hit: np.ndarray, size: int) -> np.ndarray:
    """Return how much of the lamp is hidden from each point, with soft edges in the picture."""
    dark, seen = np.zeros((2, size * size))
    dark[hit] = mesh.ray.intersects_first(points, np.broadcast_to(KEY, points.shape)) >= 0
    seen[hit] = 1
    dark, seen = (
        gaussian_filter(layer.reshape(size, size), size / 130).ravel()[hit]
        for layer in (dark, seen)
    )
    return dark / seen


def _within(known: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return which points lie in voxels (z, y, x) that are known."""
    size = known.shape[::-1]
    x, y, z = np.clip((points * size).astype(int), 0, np.array(size) - 1).T
    return known[z, y, x]


def _lit(base: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return colours under a light: darker below 0.8, and whiter above."""
    light = light[:, None]
    return np.clip(
        np.where(light < 0.8, base * light / 0.8, base + (1 - base) * (light - 0.8)), 0, 1
    )
