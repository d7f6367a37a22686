"""Voxels in binvox files, the run-length format of ShapeNet's voxelisations."""

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from trimesh.exchange.binvox import parse_binvox
from trimesh.voxel.runlength import rle_to_dense

from functory.errors import InputError

__all__ = ["read_binvox"]

LARGEST = 1024
"""Voxels along an axis, at most: as many as the program binvox itself can make."""
HEADER = 4096
"""Bytes within which the header ends; real ones take a hundred."""


def read_binvox(file: BinaryIO, where: str) -> NDArray[np.bool_]:
    """Return the voxels of a binvox file, bool (x, y, z) in the file's own axes.

    Parameters
    ----------
    file
        At the beginning of the content, of which no more is read than a sound file can have.
    where
        What to call the file in errors.

    Raises
    ------
    InputError
        Where the bytes are no binvox file, or a truncated or damaged one.
    """
    shape, runs = _header(file.read(HEADER), where)
    voxels = int(np.prod(shape))
    # Runs of one voxel take two bytes a voxel; the rest is for empty runs.
    runs += file.read(2 * voxels + 2**16)
    code = np.frombuffer(runs, np.uint8)
    # Before anything is expanded: a few bytes can stand for gigabytes.
    counted = int(code[1::2].sum(dtype=np.int64))
    if counted != voxels:
        raise InputError(
            f"{where} is {'truncated' if counted < voxels else 'damaged'}: its runs have {counted} "
            f"voxels and its header tells of {voxels}"
        )
    if code.size % 2:
        raise InputError(f"{where} is truncated: its last run of voxels has no length")
    if (code[::2] > 1).any():
        raise InputError(f"{where} is damaged: voxels have the values 0 and 1 alone")
    x, y, z = shape
    # In files x is slowest and y is fastest.
    return rle_to_dense(code, dtype=bool).reshape(x, z, y).transpose(0, 2, 1)


def _header(head: bytes, where: str) -> tuple[tuple[int, ...], bytes]:
    """Return the numbers of voxels along (x, y, z) and what follows the header."""
    if not head.startswith(b"#binvox"):
        raise InputError(f"{where} is no binvox file: it begins with {head[:8]!r}")
    try:
        parsed = parse_binvox(io.BytesIO(head))
        shape = tuple(int(size) for size in parsed.shape)
    except Exception as error:  # the parser raises all sorts on lines that it does not expect
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where} has no binvox header that can be read: {reason}") from error
    if len(shape) != 3 or not all(0 < size <= LARGEST for size in shape):
        raise InputError(
            f"{where} has the dimensions {' x '.join(map(str, shape))} in its header: three of 1 "
            f"to {LARGEST} voxels can be read"
        )
    return shape, parsed.rle_data.tobytes()
