"""Signal sets as they are read: lazily, with copies made on the way."""

from pathlib import Path

import xarray as xr

from functory.sources.augmentation import with_rescaled

__all__ = ["open_signals"]


def open_signals(folder: Path, consolidated: bool = True) -> xr.Dataset:
    """Open a signal set; nothing is read, and no copy of a shape made, before it is needed.

    Where the metadata are not consolidated (yet), variables come in any order.
    """
    dataset = xr.open_zarr(folder, chunks=None, consolidated=consolidated)
    return with_rescaled(dataset) if "original" in dataset else dataset
