"""Partial observations: which part of a signal is seen."""

from typing import Annotated, Literal, Self

import numpy as np
import xarray as xr
from pydantic import Field, model_validator

from functory.configuration import Config

__all__ = ["Half", "Mask", "Occlusion", "RandomPoints", "Region", "Scan", "observed"]

Share = Annotated[float, Field(ge=0, le=1)]
HALVES = {"left": "x", "front": "y", "bottom": "z"}


class Half(Config):
    """One half of a shape is seen: what is below the middle of an axis."""

    kind: Literal["half"] = "half"
    half: Literal["left", "front", "bottom"]

    @property
    def label(self) -> str:
        """What is seen, in words."""
        return f"{self.half} half"


class RandomPoints(Config):
    """A few points at random are seen, others for each signal."""

    kind: Literal["random"] = "random"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of the points."""
    seed: int = 0

    @property
    def label(self) -> str:
        """What is seen, in words."""
        return f"random {100 * self.share:g} %"


class Scan(Config):
    """A shape is scanned from its front: along every line of sight, up to the first surface."""

    kind: Literal["scan"] = "scan"

    @property
    def label(self) -> str:
        """What is seen, in words."""
        return "scan from the front"


class Region(Config):
    """A field is seen everywhere but in a box of latitudes and longitudes."""

    kind: Literal["region"] = "region"
    name: str
    """What is missing: Africa."""
    latitude: tuple[float, float]
    """South and north, in degrees."""
    longitude: tuple[float, float]
    """West and east, in degrees; from 350 to 10, say, across the meridian."""

    @model_validator(mode="after")
    def _is_a_box(self) -> Self:
        if self.latitude[0] >= self.latitude[1]:
            raise ValueError(f"latitudes {self.latitude} must go from south to north")
        return self

    @property
    def label(self) -> str:
        """What is seen, in words."""
        return f"all but {self.name}"


class Occlusion(Config):
    """An image is seen everywhere but in a box."""

    kind: Literal["occlusion"] = "occlusion"
    name: str
    """What is hidden: the lower half."""
    y: tuple[Share, Share] = (0.0, 1.0)
    """Upper and lower edge, as shares of the height."""
    x: tuple[Share, Share] = (0.0, 1.0)
    """Left and right edge, as shares of the width."""

    @model_validator(mode="after")
    def _is_a_box(self) -> Self:
        for axis in (self.y, self.x):
            if axis[0] >= axis[1]:
                raise ValueError(f"the edges {axis} of an occlusion must ascend")
        return self

    @property
    def label(self) -> str:
        """What is seen, in words."""
        return f"all but {self.name}"


Mask = Annotated[Half | RandomPoints | Scan | Region | Occlusion, Field(discriminator="kind")]


def observed(
    mask: Half | RandomPoints | Scan | Region | Occlusion, field: xr.DataArray
) -> xr.DataArray:
    """Return where each of some signals is seen: booleans like `field`, (sample, axes)."""
    match mask:
        case Half():
            axis = field[HALVES[mask.half]]
            seen = axis < float(axis.mean())
        case RandomPoints():
            places = field.isel(channel=0) if "channel" in field.dims else field
            lots = np.random.default_rng(mask.seed).random(places.shape)
            seen = xr.DataArray(lots < mask.share, dims=places.dims)
        case Scan():
            occupied = field > 0.5
            seen = (occupied.cumsum("y") - occupied) == 0
        case Region():
            seen = ~_inside(field, mask)
        case Occlusion():
            y, x = field["y"], field["x"]
            hidden = (y >= mask.y[0]) & (y <= mask.y[1]) & (x >= mask.x[0]) & (x <= mask.x[1])
            seen = ~hidden
    return seen.broadcast_like(field).transpose(*field.dims).rename("observed")


def _inside(field: xr.DataArray, region: Region) -> xr.DataArray:
    (south, north), (west, east) = region.latitude, region.longitude
    latitude, longitude = field["latitude"], field["longitude"]
    # how far east of the western edge, all the way round
    width = 360 if east - west >= 360 else (east - west) % 360
    east_of = (longitude - west) % 360
    return (latitude >= south) & (latitude <= north) & (east_of <= width)
