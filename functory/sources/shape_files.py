"""3D shapes as people have them: binvox folders and zips of ShapeNet, arrays, meshes."""

import gzip
import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from functory.configuration import Config
from functory.errors import InputError
from functory.sources.binvox import LARGEST, read_binvox
from functory.sources.file_reading import explained, open_zip
from functory.sources.finding import find_files
from functory.sources.meshes import occupancy
from functory.sources.shape_models import Y_UP, Z_UP, Axes, Axis, ShapeModel, class_name, to_zyx

__all__ = ["ShapeFiles", "find_shape_files", "list_models"]

ARRAYS = (".npy", ".npy.gz")
MESHES = (".obj", ".ply", ".off")
FORMATS = (".binvox", *ARRAYS, *MESHES, ".zip")
SURFACES = (".surface.binvox",)  # hollow: ShapeNetCore has them beside the solids

SHAPENET = re.compile(
    r"(?:.*/)?(\d{8})/([^/]+)/(?:models/model_normalized(?:\.solid)?|model)\.(?:binvox|obj)"
)
"""ShapeNetCore's `<synset>/<model>/models/...` and the `<synset>/<model>/model...` of 3D-R2N2."""
MEMBER = re.compile(r"(?:.*/)?(\d{8})/([^/]+)/models/model_normalized\.solid\.binvox")
DEFLATE_RATIO = 1032
"""What deflate can shrink bytes by, at most."""


class ShapeFiles(Config):
    """3D shapes in files that the user has."""

    kind: Literal["files"] = "files"
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs, or zips of ShapeNetCore."""
    classes: tuple[str, ...] = ()
    """Synset ids or plain names; none takes all."""
    axes: Axes | None = None
    """The files' own axes, named in a space whose z points up; if absent, y is up in binvox files
    and meshes, [-x, z, y], and z in arrays, [x, y, z]."""
    mesh_size: PositiveInt = 64
    """Voxels a side that meshes are turned into."""
    attribution: str | None = None
    """Licence and attribution of the data."""


def find_shape_files(source: ShapeFiles) -> list[Path]:
    """Return the files of the source's classes, absolute and sorted.

    A mesh is left out where the voxels of the same model are beside it.
    """
    found = set(find_files(source.paths, FORMATS, "shapes", without=SURFACES))
    voxels = (".solid.binvox", ".binvox")
    doubled = {
        path
        for path in found
        if path.name.lower().endswith(MESHES)
        and any(path.with_suffix(suffix) in found for suffix in voxels)
    }
    labels = {path: {m.label for m in _models(source, path)} for path in found - doubled}
    there = set[str]().union(*labels.values())
    for name in source.classes:
        if class_name(name) not in there:
            raise InputError(
                f"no shape is of the class {name!r}: there are {', '.join(sorted(there))}"
            )
    wanted = {class_name(name) for name in source.classes} or there
    return sorted(path for path in labels if labels[path] & wanted)


def list_models(source: ShapeFiles, paths: Sequence[Path]) -> list[ShapeModel]:
    """Return the models of the source's classes in the given files, in the order of the files.

    No shape is read: of a zip the directory, of an array the header.
    """
    wanted = {class_name(name) for name in source.classes}
    origins: dict[str, Path] = {}
    models = []
    for path in paths:
        for model in _models(source, path):
            if wanted and model.label not in wanted:
                continue
            if model.name in origins:
                raise InputError(
                    f"two shapes have the name {model.name!r}, one in {origins[model.name]} and "
                    f"one in {path}: leave one of them out"
                )
            origins[model.name] = path
            models.append(model)
    return models


def _models(source: ShapeFiles, path: Path) -> Iterator[ShapeModel]:
    """Yield what a file has, of all classes."""
    kind = path.name.lower()
    axes = source.axes or (Z_UP if kind.endswith(ARRAYS) else Y_UP)
    if kind.endswith(".zip"):
        yield from _zipped_models(path, axes)
    elif kind.endswith(ARRAYS):
        stem = path.name.split(".")[0]
        for row in range(_rows(path)):
            read = partial(_read_row, path, row, axes)
            yield ShapeModel(class_name(stem), f"{stem}/{row}", read)
    else:
        whole = Path(os.path.abspath(path))
        shapenet = SHAPENET.fullmatch(whole.as_posix())
        group, name = shapenet.groups() if shapenet else (whole.parent.name, whole.stem)
        voxels = kind.endswith(".binvox")
        read = (
            partial(_read_voxels, path, axes)
            if voxels
            else partial(_read_mesh, path, source.mesh_size, axes)
        )
        yield ShapeModel(class_name(group), f"{group}/{name}", read)


def _read_voxels(path: Path, axes: Sequence[Axis]) -> NDArray[np.bool_]:
    with explained(path, "binvox"), path.open("rb") as file:
        return to_zyx(read_binvox(file, str(path)), axes)


def _read_mesh(path: Path, size: int, axes: Sequence[Axis]) -> NDArray[np.bool_]:
    return to_zyx(occupancy(path, size), axes)


# Zips of ShapeNetCore


def _zipped_models(path: Path, axes: Sequence[Axis]) -> Iterator[ShapeModel]:
    with explained(path, "zip"):
        members = open_zip(path).namelist()
    found = [MEMBER.fullmatch(name) for name in members if ".." not in name.split("/")]
    models = [match for match in found if match]
    if not models:
        raise InputError(
            f"{path} is no zip of ShapeNetCore.v2: it has no "
            "<synset>/<model>/models/model_normalized.solid.binvox"
        )
    for match in models:
        synset, name = match.groups()
        read = partial(_read_member, path, match.string, axes)
        yield ShapeModel(class_name(synset), f"{synset}/{name}", read)


def _read_member(path: Path, member: str, axes: Sequence[Axis]) -> NDArray[np.bool_]:
    with explained(path, "zip"), open_zip(path).open(member) as file:
        return to_zyx(read_binvox(cast(BinaryIO, file), f"{member} in {path}"), axes)


# Arrays of many shapes


def _rows(path: Path) -> int:
    """Return the number of shapes that the header of an array tells of."""
    with explained(path, "npy"), _opened(path) as file:
        shape, dtype = _header(file, path)
        ratio = DEFLATE_RATIO if path.name.lower().endswith(".gz") else 1
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > path.stat().st_size * ratio:
            raise InputError(f"{path} is truncated: its header tells of an array {shape}")
        return shape[0]


def _read_row(path: Path, row: int, axes: Sequence[Axis]) -> NDArray[np.bool_]:
    # One thread unpacks while the others wait, instead of each unpacking for itself.
    with explained(path, "npy"), UNPACKING:
        rows = _unpacked(path, path.stat().st_mtime_ns)
        if row >= len(rows):
            raise ValueError(f"it has changed and has no row {row} any more")
    return to_zyx(rows[row], axes)


UNPACKING = threading.Lock()


@lru_cache(maxsize=4)
def _unpacked(path: Path, changed: int) -> NDArray[np.bool_]:
    with _opened(path) as file:
        shape, dtype = _header(file, path)
        rows = np.empty((shape[0], *shape[-3:]), dtype=bool)
        for index, row in enumerate(rows):
            # A row at a time: as float64, the whole would take eight times the memory.
            values = np.frombuffer(file.read(row.size * dtype.itemsize), dtype)
            if values.size != row.size:
                raise EOFError(f"truncated, it ends in row {index}")
            if ((values != 0) & (values != 1)).any():
                raise InputError(
                    f"{path} has values other than 0 and 1 in row {index}: threshold it first"
                )
            row[...] = values.reshape(row.shape)
        if file.read(1):  # at the end, gzip checks its sum
            raise ValueError("it has more bytes than its header tells of")
    return rows


def _opened(path: Path) -> BinaryIO:
    packed = path.name.lower().endswith(".gz")
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype]:
    version = read_magic(file)
    read = read_array_header_1_0 if version == (1, 0) else read_array_header_2_0
    shape, fortran, dtype = read(file)
    cubes = len(shape) == 4 or (len(shape) == 5 and shape[1] == 1)
    if not cubes or len(set(shape[-3:])) > 1 or not 0 < shape[-1] <= LARGEST or shape[0] < 1:
        raise InputError(
            f"{path} has an array {shape}: shapes are (n, d, d, d) or (n, 1, d, d, d), with d of "
            f"1 to {LARGEST} voxels"
        )
    if fortran or dtype.kind not in "biuf":
        raise InputError(f"{path} is not of numbers in C order: save it so, of type bool or uint8")
    return shape, dtype
