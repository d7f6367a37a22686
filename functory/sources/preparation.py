"""From a raw climate data set to a signal set: regrid, check, split, normalise."""

from pathlib import Path
from typing import Literal

import dask
import numpy as np
import xarray as xr
import zarr

from functory.configuration import Config
from functory.errors import InputError
from functory.progress import progress
from functory.sources.regridding import Regridding, Unchanged, regrid
from functory.sources.splits import RandomShares, Split, assign

__all__ = ["FLAT", "Preparation", "check_values", "prepare_fields"]

SCHEMA = 1
FIELD_VALUES = 2**22  # values of a chunk, of one variable
CLUSTER_BLOCKS = 64  # that are given to a cluster at once: its workers hold only what they compute
FLAT = {"name": "default", "separator": "."}
"""How the files of many small chunks are called: side by side, for folders cost more than links."""


class Preparation(Config):
    """How raw fields become a signal set."""

    regrid: Regridding = Unchanged()
    """The grid of the signals."""
    split: Split = RandomShares()
    """Which signals train, validate and test."""
    normalise_over: Literal["train", "all"] = "train"
    """Where the minimum and maximum come from; `all` is the papers' protocol."""
    mask: Literal["none", "observed"] = "none"
    """`observed` fits fields with legitimate gaps (sea surface temperature) where values exist."""


def prepare_fields(
    raw: xr.Dataset, config: Preparation, folder: Path, chunk: int | None = None
) -> xr.Dataset:
    """Write a signal set as Zarr, a few fields at a time, and return it opened.

    Parameters
    ----------
    raw
        Variables of (time, latitude, longitude), lazily (dask).
    folder
        Where to write; must not exist.
    chunk
        Fields of a chunk, where others than about 16 MB are wanted; its files lie side by side.

    Raises
    ------
    InputError
        If values are missing and the mask does not allow it, a field has no value at all, a
        variable is constant, or the split cannot be made.
    """
    times = [_iso(t) for t in raw["time"].values]
    years = [int(y) for y in raw["time"].dt.year.values]
    marks = assign(times, years, config.split)
    fields = _blocks(regrid(raw, config.regrid), chunk or 1)
    fields = fields.assign_coords(split=("time", marks.astype(object)))
    fields.attrs |= {
        "Conventions": "CF-1.11",
        "functory_schema": SCHEMA,
        "modality": "climate",
        "sample_dimension": "time",
        "mask": config.mask,
    }
    for variable in fields.variables.values():
        variable.encoding = {}
    if chunk is not None:
        for field in fields.data_vars.values():
            field.encoding = {"chunks": (chunk, *field.shape[1:]), "chunk_key_encoding": FLAT}
    _write(fields, folder)
    written = xr.open_zarr(folder, consolidated=False)
    low, high = _ranges(written, config, marks)
    group = zarr.open_group(folder, mode="r+")
    for name in low:
        group[name].attrs.update(
            {
                "normalisation_offset": low[name],
                "normalisation_scale": high[name] - low[name],
                "normalisation_over": config.normalise_over,
            }
        )
    return xr.open_zarr(folder, consolidated=False)


def _blocks(fields: xr.Dataset, multiple: int) -> xr.Dataset:
    """Cut into blocks of so many whole fields, or a multiple: about 16 MB each."""
    first = next(iter(fields.data_vars.values()))
    count = max(1, min(len(first), FIELD_VALUES // first[0].size))
    return fields.chunk(time=multiple * max(1, count // multiple))


def _write(fields: xr.Dataset, folder: Path) -> None:
    """Write block after block of whole fields, so that memory does not grow with their number.

    On a Dask cluster, workers read, regrid and write blocks side by side; the files must be where
    all of them see them.
    """
    fields.to_zarr(folder, compute=False, consolidated=False, zarr_format=3, mode="w-")
    wide = dask.config.get("scheduler", None) == "dask.distributed"
    step = fields.chunksizes["time"][0] * (CLUSTER_BLOCKS if wide else 1)
    with progress(fields.sizes["time"], "preparing", "field") as bar:
        for start in range(0, fields.sizes["time"], step):
            part = fields.isel(time=slice(start, start + step))
            part = part.drop_vars([str(n) for n, c in part.coords.items() if "time" not in c.dims])
            region = {"time": slice(start, start + len(part["time"]))}
            (part if wide else part.load()).to_zarr(folder, region=region, consolidated=False)
            bar.update(len(part["time"]))


def _ranges(
    fields: xr.Dataset, config: Preparation, marks: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each variable's minimum and maximum for normalisation, after checking all values."""
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for key, variable in fields.data_vars.items():
        name = str(key)
        check_values(variable, config.mask)
        used = variable if config.normalise_over == "all" else variable[marks == "train"]
        low[name], high[name] = float(used.min()), float(used.max())
        if not high[name] > low[name]:
            raise InputError(
                f"Variable {name} is {low[name]} everywhere in the training split: "
                "there is nothing to learn; choose another variable or split."
            )
    return low, high


def check_values(variable: xr.DataArray, mask: str) -> None:
    """Refuse missing values where the mask does not allow them, and fields without any value.

    Raises
    ------
    InputError
        Says how many there are, and where the first is.
    """
    name, points = variable.name, variable[0].size
    axes = [str(d) for d in variable.dims if d != "time"]
    finite = xr.apply_ufunc(np.isfinite, variable, dask="allowed")
    missing = (~finite).sum(axes).compute()
    bad = np.flatnonzero(missing.values)
    empty = np.flatnonzero(missing.values == points)
    if len(empty):
        first = _iso(missing["time"].values[empty[0]])
        raise InputError(
            f"Variable {name} has no value at all in {len(empty)} of {len(missing)} fields (first "
            f"at {first}); remove those times from the source."
        )
    if len(bad) and mask == "none":
        first = _iso(missing["time"].values[bad[0]])
        raise InputError(
            f"Variable {name} has {int(missing.sum())} missing values in {len(bad)} of "
            f"{len(missing)} fields (first at {first}, {int(missing[bad[0]])} of {points} points); "
            "mend the source, or set prepare.mask to 'observed' if the gaps are legitimate."
        )


def _iso(time: object) -> str:
    """Return a time (numpy's or cftime's) in ISO 8601 to the second."""
    text = str(np.datetime_as_string(time, unit="s")) if isinstance(time, np.datetime64) else ""
    return text or time.isoformat()  # type: ignore[attr-defined]
