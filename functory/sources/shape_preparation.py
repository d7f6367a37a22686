"""From shapes of any origin to a signal set of occupancies."""

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import dask
import numpy as np
import xarray as xr
import zarr
from pydantic import Field
from skimage.transform import resize_local_mean

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.sources.augmentation import (
    AXES,
    Augmentation,
    draw_scales,
    rescale,
)
from functory.sources.shape_models import ShapeModel
from functory.sources.signal_sets import open_signals
from functory.sources.splits import RandomShares, RandomSplit, draw_by_class

__all__ = ["ShapePreparation", "downscale", "prepare_shapes"]

LOG = logging.getLogger("functory.sources")
SCHEMA = 1
CHUNK_VALUES = 2**20  # voxels of a chunk: what one random shape costs to read
BLOCK = 64  # signals that are held at once while models are read side by side


class ShapePreparation(Config):
    """How shapes become a signal set."""

    size: Annotated[int, Field(ge=8, le=512)] | None = 64
    """Voxels a side; null keeps those of the models, which must all have the same."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of a new voxel above which it is occupied (functa's, section 5.A.1)."""
    split: RandomSplit = RandomShares()
    """Which models train, validate and test, with all their copies."""
    augmentation: Augmentation | None = None
    """Copies with other proportions; null has one signal for each model."""


@dataclass
class _Prepared:
    """One model as it is written: (signals, z, y, x), and the factors of its copies."""

    model: ShapeModel
    signals: np.ndarray
    scales: np.ndarray


@dataclass
class _Kept:
    """What is known of the models that are kept, and the names of those that are not."""

    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    scales: list[np.ndarray] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    empty: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)


def prepare_shapes(
    models: Sequence[ShapeModel], config: ShapePreparation, folder: Path, attributes: dict[str, Any]
) -> xr.Dataset:
    """Write a signal set as Zarr, some models at a time, and return it opened.

    Empty shapes, and all but the first of equal ones, are left out and counted: an equal shape in
    another split would be known from training. Models are split before they are augmented. Copies
    that are not materialised are made when they are read, by `open_signals`.

    Raises
    ------
    InputError
        If a model cannot be read, is no cube or of another size, or the split cannot be made.
    """
    group = zarr.open_group(folder, mode="w-", zarr_format=3)
    kept, side = _write_voxels(models, config, group)
    marks = draw_by_class(kept.names, kept.labels, config.split)
    described = _describe(kept, marks, config, side)
    described.attrs = {
        "functory_schema": SCHEMA,
        "modality": "shape",
        "sample_dimension": "sample",
        "mask": "none",
        "models": len(kept.names),
        "models_empty": len(kept.empty),
        "models_repeated": len(kept.repeated),
        **attributes,
    }
    described.to_zarr(folder, mode="a", zarr_format=3, consolidated=False)
    return open_signals(folder, consolidated=False)


def downscale(occupied: np.ndarray, size: int, threshold: float) -> np.ndarray:
    """Bring a cube of voxels to another size; a voxel is occupied above a share of its volume.

    The share is exact whatever the sizes: of half the size, a voxel is the mean of eight. (The
    splines of `scipy.ndimage.zoom` ring, and would occupy voxels beside a solid.)
    """
    values = resize_local_mean(occupied.astype(np.float32), (size,) * 3, preserve_range=True)
    return values > threshold


def _write_voxels(
    models: Sequence[ShapeModel], config: ShapePreparation, group: zarr.Group
) -> tuple[_Kept, int]:
    """Write every model that is neither empty nor there already; return also voxels a side."""
    kept, waiting, written = _Kept(), list[np.ndarray](), 0
    voxels: zarr.Array | None = None
    for prepared in _read(models, config):
        if voxels is None:
            voxels = _create(group, prepared, len(models), config)
        if not _is_kept(kept, prepared, voxels.shape[1:]):
            continue
        waiting.extend(prepared.signals)
        ready = len(waiting) - len(waiting) % voxels.chunks[0]
        if ready:
            voxels[written : written + ready] = np.stack(waiting[:ready])
            written, waiting = written + ready, waiting[ready:]
    if voxels is None or not kept.names:
        raise InputError(f"All {len(models)} models are empty: there is nothing to learn.")
    voxels.resize((written + len(waiting), *voxels.shape[1:]))
    if waiting:
        voxels[written:] = np.stack(waiting)
    for what, names in (("empty", kept.empty), ("repeated", kept.repeated)):
        if names:
            LOG.warning("%d %s models are left out (first: %s)", len(names), what, names[0])
    return kept, voxels.shape[-1]


def _create(
    group: zarr.Group, first: _Prepared, models: int, config: ShapePreparation
) -> zarr.Array:
    """Create the array of voxels: of all signals, or of the models that copies are made from."""
    signals, side = len(first.signals), first.signals.shape[-1]
    lazily = config.augmentation is not None and not config.augmentation.materialise
    return group.create_array(
        "original" if lazily else "occupancy",
        shape=(models * signals, side, side, side),
        chunks=(max(1, CHUNK_VALUES // side**3), side, side, side),
        dtype=bool,
        dimension_names=("model" if lazily else "sample", *AXES),
        attributes={
            "long_name": "occupancy",
            "units": "1",
            "normalisation_offset": 0.0,
            "normalisation_scale": 1.0,
            "normalisation_over": "none",
        },
    )


def _read(models: Sequence[ShapeModel], config: ShapePreparation) -> Iterator[_Prepared]:
    """Read and downscale models on all processors, in their order and not far ahead."""
    augmentation = config.augmentation
    copies = augmentation.copies if augmentation and augmentation.materialise else 1
    size = max(2 * (os.cpu_count() or 1), BLOCK // copies)
    prepare = dask.delayed(_prepared, pure=False)
    with progress(len(models), "preparing", "model") as bar:
        for start in range(0, len(models), size):
            part = [prepare(model, config) for model in models[start : start + size]]
            yield from dask.compute(*part, scheduler="threads", num_workers=os.cpu_count())
            bar.update(len(part))


def _prepared(model: ShapeModel, config: ShapePreparation) -> _Prepared:
    shape, augmentation = model.read(), config.augmentation
    if len(set(shape.shape)) > 1:
        sides = "×".join(map(str, shape.shape))
        raise InputError(f"{model.name} has {sides} voxels, which is no cube; pad it.")
    if config.size is not None:
        shape = downscale(shape, config.size, config.threshold)
    if augmentation is None or not shape.any():
        return _Prepared(model, shape[None], np.ones((1, 3), np.float32))
    scales = draw_scales(model.name, shape, augmentation)
    made = scales if augmentation.materialise else scales[:1]
    return _Prepared(model, np.stack([rescale(shape, scale) for scale in made]), scales)


def _is_kept(kept: _Kept, prepared: _Prepared, expected: tuple[int, ...]) -> bool:
    """Tell whether a model is to be kept, and take note of it."""
    model, shape = prepared.model, prepared.signals[0]
    if shape.shape != expected:
        raise InputError(
            f"{model.name} has {len(shape)} voxels a side, but the first model has {expected[0]}; "
            "set preparation.size to bring all to one size."
        )
    if not shape.any():
        kept.empty.append(model.name)
        return False
    digest = hashlib.blake2b(np.packbits(shape).tobytes(), digest_size=16).digest()
    if digest in kept.digests:
        kept.repeated.append(model.name)
        return False
    kept.digests.add(digest)
    kept.names.append(model.name)
    kept.labels.append(model.label)
    kept.scales.append(prepared.scales)
    return True


def _describe(kept: _Kept, marks: np.ndarray, config: ShapePreparation, side: int) -> xr.Dataset:
    """Return all of a signal set but its voxels."""
    copies = len(kept.scales[0])
    rows = np.repeat(np.arange(len(kept.names), dtype=np.int32), copies)
    centres = (np.arange(side) + 0.5) / side
    names = {"z": "height", "y": "depth, from front to back", "x": "width, from left to right"}
    coordinates: dict[str, Any] = {
        axis: (axis, centres, {"long_name": names[axis], "units": "1"}) for axis in AXES
    } | {
        "split": ("sample", marks.astype(object)[rows]),
        "label": ("sample", np.array(kept.labels, object)[rows]),
        "model": ("sample", np.array(kept.names, object)[rows]),
    }
    if config.augmentation is None:
        return xr.Dataset(coords=coordinates)
    factors = {"long_name": "factors of the axes", "units": "1"}
    return xr.Dataset(
        {
            "row": ("sample", rows, {"long_name": "which model"}),
            "scale": (("sample", "axis"), np.concatenate(kept.scales), factors),
        },
        coords=coordinates | {"axis": np.array(AXES, object)},
    )
