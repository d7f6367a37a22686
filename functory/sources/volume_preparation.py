"""From volumes of any origin to a signal set of sub-volumes."""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.signals import some
from functory.sources.growing_array import GrowingArray
from functory.sources.scans import Scan
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomShares, RandomSplit, draw

__all__ = ["VolumePreparation", "prepare_volumes", "sub_volumes"]

LOG = logging.getLogger("functory.sources")
SCHEMA = 1
CHUNK_BYTES = 2**20  # of a chunk: what one random sub-volume costs to read
AXES = ("z", "y", "x")
TOWARDS = {"z": "upwards", "y": "from back to front", "x": "from left to right"}

Side = Annotated[int, Field(ge=2, le=512)]
Edges = Literal["pad", "crop"]


class VolumePreparation(Config):
    """How volumes become a signal set."""

    size: Side | tuple[Side, Side, Side] = 32
    """Voxels of a sub-volume each way, or along z, y and x."""
    edges: Edges = "pad"
    """What becomes of sizes that do not divide: outermost voxels are repeated all around, or left
    out."""
    empty: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest share of a volume's sub-volumes that may be empty, of one value throughout: 1 keeps
    all, 0 none."""
    normalisation: Literal["training", "type"] = "training"
    """What becomes 0 to 1: the range of the training split, or all that whole numbers of the
    volumes' type can be."""
    split: RandomSplit = RandomShares()
    """Which volumes train, validate and test, with all their sub-volumes."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Voxels of a sub-volume along z, y and x."""
        return (self.size,) * 3 if isinstance(self.size, int) else self.size


@dataclass
class _Kept:
    """The volumes that are used, what is kept of each, and the names of those that are not."""

    scans: list[Scan] = field(default_factory=list)
    starts: list[NDArray[np.int32]] = field(default_factory=list)
    ranges: list[tuple[float, float]] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    dropped: int = 0  # empty sub-volumes


def prepare_volumes(
    scans: Sequence[Scan], config: VolumePreparation, folder: Path, attributes: dict[str, Any]
) -> xr.Dataset:
    """Write a signal set as Zarr, one volume at a time, and return it opened.

    Empty volumes, and all but the first of equal ones, are left out and counted.

    Raises
    ------
    InputError
        If a volume cannot be read, is too small or has values that are not finite, or if the split
        or the normalisation cannot be made.
    """
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    stored = _create(group, config, _common_type([scan.dtype for scan in scans]))
    kept = _write(scans, config, GrowingArray(stored))
    marks = draw([scan.name for scan in kept.scans], config.split)
    stored.attrs.update(_normalisation(kept, marks, config, stored.dtype))
    described = _describe(kept, marks, config)
    described.attrs = {
        "functory_schema": SCHEMA,
        "modality": "volume",
        "sample_dimension": "sample",
        "mask": "none",
        "volumes": len(kept.scans),
        "volumes_empty": len(kept.empty),
        "volumes_repeated": len(kept.repeated),
        "subvolumes_dropped": kept.dropped,
        **attributes,
    }
    described.to_zarr(folder, mode="a", zarr_format=3, consolidated=False)
    return open_signals(folder, consolidated=False)


def sub_volumes(
    values: NDArray[Any], sizes: Sequence[int], edges: Edges
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Cut a volume, (z, y, x), into sub-volumes around its middle.

    Returns
    -------
    tuple
        (sub-volumes, z, y, x), slab by slab and row by row, and the place of the first voxel of
        each in the volume, (sub-volumes, 3), which is negative where voxels are repeated.
    """
    cells, lines = [], []
    for axis, (side, size) in enumerate(zip(values.shape, sizes, strict=True)):
        count = math.ceil(side / size) if edges == "pad" else side // size
        cells.append(count)
        first = (side - count * size) // 2
        places = np.arange(first, first + count * size)
        values = values.take(places.clip(0, side - 1), axis)
        lines.append(places[::size])
    parted = values.reshape([n for pair in zip(cells, sizes, strict=True) for n in pair])
    starts = np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 3)
    return parted.transpose(0, 2, 4, 1, 3, 5).reshape(-1, *sizes), starts.astype(np.int32)


def _common_type(types: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """Return the type that all volumes are stored in: whole numbers where all have them."""
    common = np.result_type(*types)
    return common if common.kind in "iu" and common.itemsize <= 4 else np.dtype(np.float32)


def _create(group: zarr.Group, config: VolumePreparation, dtype: np.dtype[Any]) -> zarr.Array:
    size = math.prod(config.sizes) * dtype.itemsize
    return group.create_array(
        "volume",
        shape=(0, *config.sizes),
        chunks=(max(1, CHUNK_BYTES // size), *config.sizes),
        dtype=dtype,
        dimension_names=("sample", *AXES),
        attributes={"long_name": "intensity", "units": "1"},
    )


def _write(scans: Sequence[Scan], config: VolumePreparation, stored: GrowingArray) -> _Kept:
    """Write every volume that is neither empty nor there already."""
    kept = _Kept()
    with progress(len(scans), "preparing", "volume") as bar:
        for scan in scans:
            values = _checked(scan, config)
            bar.update(1)
            digest = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
            if values.min() == values.max() or digest in kept.digests:
                (kept.repeated if digest in kept.digests else kept.empty).append(scan.name)
                continue
            cut, starts = sub_volumes(values, config.sizes, config.edges)
            chosen = _chosen(cut, config.empty)
            if not len(chosen):
                kept.empty.append(scan.name)
                continue
            kept.digests.add(digest)
            kept.scans.append(scan)
            kept.starts.append(starts[chosen])
            kept.ranges.append((float(cut[chosen].min()), float(cut[chosen].max())))
            kept.dropped += len(cut) - len(chosen)
            stored.extend(cut[chosen].astype(stored.array.dtype))
    stored.flush()
    if not kept.scans:
        raise InputError(f"All {len(scans)} volumes are empty: there is nothing to learn.")
    for what, names in (("empty", kept.empty), ("repeated", kept.repeated)):
        if names:
            LOG.warning("%d %s volumes are left out (first: %s)", len(names), what, names[0])
    return kept


def _checked(scan: Scan, config: VolumePreparation) -> NDArray[Any]:
    """Read a volume, or refuse it."""
    values = scan.read()
    if config.edges == "crop" and (np.array(values.shape) < config.sizes).any():
        sides, sizes = ("×".join(map(str, shape)) for shape in (values.shape, config.sizes))
        raise InputError(
            f"{scan.name} has {sides} voxels, fewer than the {sizes} of a sub-volume; set "
            "preparation.edges to 'pad', or preparation.size to less."
        )
    if not (finite := np.isfinite(values)).all():
        place = tuple(map(int, np.argwhere(~finite)[0]))
        raise InputError(
            f"{scan.name} has a value that is no number at (z, y, x) = {place}; repair it or leave "
            "it out."
        )
    return values


def _chosen(cut: NDArray[Any], share: float) -> NDArray[np.intp]:
    """Return which sub-volumes are kept, with at most a share of empty ones, spread over all."""
    flat = cut.reshape(len(cut), -1)
    is_empty = flat.min(1) == flat.max(1)
    filled, empty = np.flatnonzero(~is_empty), np.flatnonzero(is_empty)
    most = len(empty) if share == 1 else int(share / (1 - share) * len(filled))
    if most < len(empty):
        empty = some(empty, most)
    return np.sort(np.concatenate([filled, empty]))


def _normalisation(
    kept: _Kept, marks: np.ndarray, config: VolumePreparation, dtype: np.dtype[Any]
) -> dict[str, Any]:
    if config.normalisation == "type":
        if dtype.kind == "f":
            raise InputError(
                "The volumes are of real numbers, whose type has no range; set "
                "preparation.normalisation to 'training', or source.scaled to false."
            )
        low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    else:
        training = [kept.ranges[i] for i in np.flatnonzero(marks == "train")]
        low, high = min(low for low, _ in training), max(high for _, high in training)
    return {
        "normalisation_offset": low,
        "normalisation_scale": high - low,
        "normalisation_over": "none" if config.normalisation == "type" else "train",
    }


def _describe(kept: _Kept, marks: np.ndarray, config: VolumePreparation) -> xr.Dataset:
    """Return all of a signal set but its voxels."""
    rows = np.repeat(np.arange(len(kept.scans)), [len(starts) for starts in kept.starts])
    spacing = np.array([scan.spacing for scan in kept.scans])[rows]
    first = {"long_name": "place of the first voxel in its volume", "units": "1"}
    sides = {"long_name": "sides of a voxel", "units": "mm"}
    centres: dict[str, Any] = {
        axis: (axis, np.arange(size) + 0.5, {"long_name": f"voxels, {TOWARDS[axis]}", "units": "1"})
        for axis, size in zip(AXES, config.sizes, strict=True)
    }
    return xr.Dataset(
        coords=centres
        | {
            "axis": np.array(AXES, object),
            "split": ("sample", marks.astype(object)[rows]),
            "origin": ("sample", np.array([scan.name for scan in kept.scans], object)[rows]),
            "start": (("sample", "axis"), np.concatenate(kept.starts), first),
            "spacing": (("sample", "axis"), spacing, sides),
        }
    )
