"""Regridding: fields on a regular latitude-longitude grid brought to a coarser or finer one."""

from typing import Annotated, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field
from xarray_regrid import Regridder

from functory.configuration import Config
from functory.errors import InputError

OBSERVED_SHARE = 0.5  # a cell of which less is observed stays missing


class Unchanged(Config):
    """Keep the grid of the data."""

    method: Literal["none"] = "none"


class Subsample(Config):
    """Keep every `factor`-th point, starting at the first (the north-west corner)."""

    method: Literal["subsample"] = "subsample"
    factor: int = Field(ge=1)
    """Step along latitude and longitude: 16 brings 721 x 1440 points to 46 x 90."""


class Conservative(Config):
    """Average over the cells of a coarser grid, weighted by area."""

    method: Literal["conservative"] = "conservative"
    latitude: int = Field(ge=2)
    """Number of latitudes of the new grid."""
    longitude: int = Field(ge=2)
    """Number of longitudes of the new grid."""


class Linear(Config):
    """Interpolate linearly, first along one axis and then along the other."""

    method: Literal["linear"] = "linear"
    latitude: int = Field(ge=2)
    """Number of latitudes of the new grid."""
    longitude: int = Field(ge=2)
    """Number of longitudes of the new grid."""


Regridding = Annotated[Unchanged | Subsample | Conservative | Linear, Field(discriminator="method")]


def regrid(
    dataset: xr.Dataset, config: Unchanged | Subsample | Conservative | Linear
) -> xr.Dataset:
    """Bring every variable to the configured grid, lazily where the data are lazy.

    The new latitudes run from 90 to -90 where the data reach the poles, the new longitudes from
    0 around the globe where the data close the circle; otherwise they span the data's own extent.
    Missing values: a conservative cell is the mean of what is observed in it, and is missing where
    less than half of it is observed; linear interpolation needs all the points around it.

    Parameters
    ----------
    dataset
        Variables (..., latitude, longitude); latitudes descending, longitudes ascending, degrees.

    Returns
    -------
    Dataset with the same variables, attributes and other coordinates, as float32.
    """
    if isinstance(config, Unchanged):
        regridded = dataset
    elif isinstance(config, Subsample):
        regridded = _subsample(dataset, config.factor)
    else:
        regridded = _resample(dataset, config)
    return regridded.astype(np.float32, copy=False)


def _subsample(dataset: xr.Dataset, factor: int) -> xr.Dataset:
    rows, columns = dataset.sizes["latitude"], dataset.sizes["longitude"]
    if factor >= min(rows, columns):
        raise InputError(
            f"every {factor}th point of a grid of {rows} x {columns} points leaves less than two "
            f"along an axis: use a factor below {min(rows, columns)}"
        )
    step = slice(None, None, factor)
    return dataset.isel(latitude=step, longitude=step)


def _resample(dataset: xr.Dataset, config: Conservative | Linear) -> xr.Dataset:
    rows, columns = dataset.sizes["latitude"], dataset.sizes["longitude"]
    size = f"{config.latitude} x {config.longitude}"
    if min(rows, columns) < 2:
        raise InputError(f"a grid of {rows} x {columns} points cannot be regridded to {size}")
    grid = ["latitude", "longitude"]
    # The library hands further coordinates on as variables: they are put back afterwards.
    further = {name: c for name, c in dataset.coords.items() if not set(grid) & set(c.dims)}
    fields = dataset.drop_vars([name for name in dataset.coords if name not in grid])
    fields = fields.assign_coords(longitude=_closed(dataset["longitude"].values))
    target = xr.Dataset(
        coords={
            "latitude": _latitudes(dataset["latitude"].values, config.latitude),
            "longitude": _longitudes(fields["longitude"].values, config.longitude),
        }
    )
    if isinstance(config, Linear):
        regridded = Regridder(fields).linear(target)
    elif config.latitude >= rows or config.longitude > columns:
        raise InputError(
            f"conservative regridding averages, and {size} points are not coarser than the data's "
            f"{rows} x {columns}: use method linear, or fewer points"
        )
    else:
        regridded = Regridder(fields).conservative(target, nan_threshold=1 - OBSERVED_SHARE)
    assert isinstance(regridded, xr.Dataset)
    regridded = regridded.transpose(..., *grid).assign_coords(further)
    for name in [*dataset.data_vars, *grid]:
        regridded[name].attrs = dataset[name].attrs
    return regridded.assign_attrs(dataset.attrs)


def _latitudes(source: NDArray[np.floating], number: int) -> NDArray[np.float64]:
    """Return `number` latitudes, from pole to pole where the source comes within a step of both."""
    north, south = source[0], source[-1]
    step = np.abs(np.diff(source)).max()
    if north >= 90 - step and south <= step - 90:
        north, south = 90, -90
    return np.linspace(north, south, number)


def _longitudes(source: NDArray[np.floating], number: int) -> NDArray[np.float64]:
    """Return `number` longitudes, around the globe where the source closes the circle."""
    if source[-1] - source[0] >= 360 - np.diff(source).max():
        return np.arange(number) * 360 / number
    return np.linspace(source[0], source[-1], number)


def _closed(longitude: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the longitudes with rounding taken out of the step from the last to the first.

    The library takes a grid as periodic if that step is no wider than the widest of the others,
    which the last bit of a float can spoil.
    """
    closed = longitude.astype(np.float64)
    excess = 360 - (closed[-1] - closed[0]) - np.diff(closed).max()
    if 0 < excess < 1e-4:
        closed[-1] += excess + 1e-9
    return closed
