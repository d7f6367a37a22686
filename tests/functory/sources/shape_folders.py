"""Small files of shapes in the layouts that data sets have."""

import gzip
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from trimesh.exchange.binvox import binvox_bytes
from trimesh.voxel.runlength import dense_to_rle

CORE = "{synset}/{model}/models/model_normalized.solid.binvox"
R2N2 = "ShapeNetVox32/{synset}/{model}/model.binvox"


def encoded(voxels: np.ndarray) -> bytes:
    """Return a binvox file of an array (x, y, z)."""
    runs = dense_to_rle(voxels.transpose(0, 2, 1).ravel().astype(np.uint8), dtype=np.uint8)
    return binvox_bytes(runs, voxels.shape)


def corner(shape: tuple[int, int, int] = (4, 5, 6), at: tuple[int, int, int] = (1, 2, 0)):
    """Return an array with one voxel set."""
    voxels = np.zeros(shape, dtype=bool)
    voxels[at] = True
    return voxels


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_array(path: Path, rows: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as file:
        np.save(file, rows)
    return path


def write_obj(path: Path, vertices: Sequence[Sequence[float]], faces: np.ndarray) -> Path:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in np.asarray(vertices, float).tolist()]
    lines += ["f " + " ".join(map(str, face)) for face in (np.asarray(faces) + 1).tolist()]
    return write(path, "\n".join(lines).encode())


BOX = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
BOX_FACES = np.array(
    [
        *[[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]],
        *[[0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]],
        *[[0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]],
    ]
)
"""Triangles of a box, two a side, seen from outside."""
