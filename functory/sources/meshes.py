"""Closed triangle meshes turned into voxels."""

from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from functory.errors import InputError

__all__ = ["SHARE", "occupancy"]

SHARE = 0.9
"""Part of the grid's side that the longest side of a mesh takes."""
BATCH = 2**18
"""Voxels tested at once: what bounds memory, at some 150 MB."""


def occupancy(mesh_path: Path, size: int) -> NDArray[np.bool_]:
    """Return which voxels have their centre inside a mesh, bool (x, y, z) in the mesh's own axes.

    The mesh is centred and scaled to `SHARE` of the grid. Parts that overlap are united; a part
    within another whose surface is turned the other way is cut out, as in a hollow ball.

    Parameters
    ----------
    mesh_path
        An OBJ, PLY or OFF file. Vertices at the same place count as one.
    size
        Voxels along each side of the grid.

    Raises
    ------
    InputError
        Where the file cannot be read or the mesh is not closed, so that it has no inside.
    """
    mesh = _read(mesh_path)
    _require_closed(mesh, mesh_path)
    parts = mesh.split(only_watertight=False, repair=False)
    if not all(part.is_watertight for part in parts):
        parts = [mesh]  # surfaces that are closed only together
    inside = np.empty(size**3, dtype=bool)
    for start in range(0, size**3, BATCH):
        voxels = np.arange(start, min(start + BATCH, size**3))
        index = np.stack(np.unravel_index(voxels, (size, size, size)), axis=1)
        centres = ((index + 0.5) / size - 0.5) / SHARE
        layers = sum(np.sign(part.volume) * part.contains(centres) for part in parts)
        inside[voxels] = layers != 0
    return inside.reshape(size, size, size)


def _read(path: Path) -> trimesh.Trimesh:
    """Return a mesh centred on the origin, its longest side of length 1, its seams merged."""
    try:
        mesh = trimesh.load_mesh(path, process=False, skip_materials=True)
        faces = len(mesh.faces)
        sound = bool(faces) and np.isfinite(mesh.vertices[mesh.faces]).all()
    except Exception as error:  # the parsers raise all sorts on text that they do not expect
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path} cannot be read as a mesh: {reason}") from error
    if not faces:
        raise InputError(f"{path} has no faces: only meshes of triangles or polygons can be read")
    mesh.remove_unreferenced_vertices()
    extent = mesh.extents.max() if sound else 0
    if not extent > 0:
        raise InputError(f"{path} has vertices that are not finite or all at one place: correct it")
    # Vertices are merged by absolute distance, so the scale comes first.
    mesh.apply_translation(-mesh.bounds.mean(axis=0))
    mesh.apply_scale(1 / extent)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    a, b, c = mesh.faces.T
    mesh.update_faces((a != b) & (b != c) & (c != a))
    return mesh


def _require_closed(mesh: trimesh.Trimesh, path: Path) -> None:
    faces_of_edge = np.unique(mesh.edges_sorted, axis=0, return_counts=True)[1]
    # A ray enters and leaves as often only where every edge has an even number of faces.
    open_edges = int((faces_of_edge % 2).sum())
    if open_edges:
        raise InputError(
            f"{path} is not closed, {open_edges} of its edges belong to one face only (or to an "
            "odd number): close its holes in a mesh editor, or give its voxels as a binvox file"
        )
