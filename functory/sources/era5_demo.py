"""Synthetic global 2 m temperature, so that the main job runs with no data at hand.

The fields have the ingredients of climate: insolation by latitude, season and hour; land and sea,
with their inertia; mountains, ice, currents and deserts; the weather of each month. They are
smooth functions on the sphere that a grid only samples. They forecast nothing.
"""

from itertools import groupby
from typing import Annotated, Literal, NamedTuple

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.sources.demo_planet import Planet, grid, planet

__all__ = ["DemoSource", "generate"]

Array = NDArray[np.float64]


class Surface(NamedTuple):
    """How the air over a surface answers to insolation (the cosine of the zenith angle)."""

    sunless: float  # K, in the annual mean: what the transport of heat keeps up without sun
    gain: float  # K per unit of annual mean insolation
    season_memory: float  # time constant, in years: the deeper what warms, the later and weaker
    day_memory: float  # time constant, in days
    weather: float  # K: standard deviation of a month outside the tropics


LAND = Surface(sunless=216, gain=272, season_memory=0.08, day_memory=0.17, weather=3.0)
SEA = Surface(sunless=239, gain=200, season_memory=0.55, day_memory=2.5, weather=1.1)
SEASON_GAIN = 160.0  # K per unit of the anomaly in the year, if the surface had no memory
DAY_GAIN = 20.0  # K per unit of the anomaly in the day, likewise
HARMONICS = 4  # of the year and of the day; memory damps what is faster
OBLIQUITY = np.radians(23.44)
SOLSTICE = 11.7  # months from the start of the year to the northern winter solstice
LAPSE_RATE = 6.5  # K/km
FREEZING = 271.3  # K: sea water
ICE_EDGE = 2.5  # K over which sea turns to ice
WAVES = 24  # in the weather of a month: enough for no two months to be alike
WAVE_NUMBERS = (2.0, 12.0)  # per radian: waves of 3,300 to 20,000 km
EL_NINO = 1.2  # K: standard deviation of a year in the eastern tropical Pacific
CHUNK = 16  # fields: 66 MB at a quarter of a degree


class DemoSource(Config):
    """The embedded generator of synthetic fields, one per year, month and hour of the day."""

    kind: Literal["demo"] = "demo"
    years: int = Field(default=3, gt=0, le=200)
    """Number of years."""
    hours: tuple[Annotated[int, Field(ge=0, le=23)], ...] = Field((0, 6, 12, 18), min_length=1)
    """Hours of the day, UTC."""
    shape: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(ge=1)]] = (91, 180)
    """Latitudes, from 90 to -90 degrees, and longitudes, from 0 eastwards."""
    seed: int = Field(default=0, ge=0)
    """Chooses the weather; the climate stays."""
    start_year: int = Field(default=2001, ge=1700, le=2050)
    """First year."""


def generate(source: DemoSource) -> xr.Dataset:
    """Return the fields of `source`, lazily: `t2m(time, latitude, longitude)`, float32 in K.

    A value depends on its place, its time and the seed alone, so that a longer record or a finer
    grid agrees with a shorter or coarser one where they meet.
    """
    months = pd.period_range(f"{source.start_year}-01", periods=12 * source.years, freq="M")
    starts = months.to_timestamp().to_numpy()[:, None]
    times = (starts + np.array(sorted(set(source.hours)), "timedelta64[h]")).ravel()
    fields = da.map_blocks(
        _fields,
        da.from_array(times, chunks=CHUNK),
        source.shape,
        source.seed,
        new_axis=(1, 2),
        chunks=(da.core.normalize_chunks(CHUNK, times.shape)[0], *((n,) for n in source.shape)),
        meta=np.empty((0, 0, 0), np.float32),
    )
    latitude, longitude = grid(source.shape)
    t2m = xr.DataArray(
        fields,
        dims=("time", "latitude", "longitude"),
        coords={
            "time": ("time", times, {"standard_name": "time", "long_name": "month and hour, UTC"}),
            "latitude": ("latitude", latitude, {"units": "degrees_north"}),
            "longitude": ("longitude", longitude, {"units": "degrees_east"}),
        },
        attrs={
            "units": "K",
            "long_name": "2 metre temperature (synthetic)",
            "standard_name": "air_temperature",
        },
    )
    attributes = {
        "title": "Synthetic 2 m temperature of an idealised Earth; no observation, no forecast",
        "source": "synthetic: functory demo generator",
        "licence": "CC0-1.0",
        "Conventions": "CF-1.11",
    }
    return xr.Dataset({"t2m": t2m}, attrs=attributes)


def _fields(
    times: NDArray[np.datetime64], shape: tuple[int, int], seed: int
) -> NDArray[np.float32]:
    earth = planet(shape)
    fields = []
    for (year, month), stamps in groupby(pd.DatetimeIndex(times), lambda t: (t.year, t.month)):
        mean = _climate(earth, month) + _weather(earth, year, month, seed)
        fields += [mean + _day(earth, month, stamp.hour) for stamp in stamps]
    return np.stack(fields).astype(np.float32)


def _climate(earth: Planet, month: int) -> Array:
    """Return the mean of a month in K, the same in all years."""
    sun = _insolation(earth.latitude).mean(1)
    when = np.array([(month - 1) / 12])
    land, sea = (
        surface.sunless
        + surface.gain * sun.mean(0)
        + SEASON_GAIN * _response(sun, surface.season_memory, when)
        for surface in (LAND, SEA)
    )
    sea = sea + earth.currents
    # Sea ice parts the air from the sea: it follows the seasons of land halfway. All ice melts
    # before it warms.
    ice = (1 + np.tanh((FREEZING - sea) / ICE_EDGE)) / 2
    sea += ice * (_at_most(FREEZING, (land + sea) / 2) - sea)
    land = land + earth.ice_sheets * (_at_most(FREEZING, land) - land)
    return sea + earth.inland * (land + earth.deserts - sea) - LAPSE_RATE * earth.height


def _day(earth: Planet, month: int, hour: int) -> Array:
    """Return what the hour (UTC) adds to the mean of its month, in K."""
    sun = _insolation(earth.latitude)[month - 1]
    when = hour / 24 + earth.longitude / (2 * np.pi)
    land, sea = (_response(sun, surface.day_memory, when) for surface in (LAND, SEA))
    return DAY_GAIN * (earth.land * land + (1 - earth.land) * sea)


def _weather(earth: Planet, year: int, month: int, seed: int) -> Array:
    """Return what sets a month apart from its climate, in K.

    The weather is a sum of plane waves through the sphere, of random directions and phases: smooth
    everywhere, the poles included.
    """
    rng = np.random.default_rng([seed, year, month])
    directions = rng.normal(size=(3, WAVES))
    numbers = rng.uniform(*WAVE_NUMBERS, WAVES)
    vectors = directions / np.linalg.norm(directions, axis=0) * numbers
    waves = np.cos(earth.points @ vectors + rng.uniform(0, 2 * np.pi, WAVES))
    unit = waves @ (1 / numbers) / np.sqrt((numbers**-2.0).sum() / 2)
    strength = SEA.weather + (LAND.weather - SEA.weather) * earth.inland
    tropics = np.cos(earth.latitude) ** 2
    el_nino = EL_NINO * np.random.default_rng([seed, year]).normal() * earth.pacific
    return strength * (1.3 - tropics) * unit + el_nino


def _insolation(latitude: Array) -> Array:
    """Return the cosine of the zenith angle, 0 at night, on (month, hour, latitude, 1)."""
    month, hour = np.arange(12) + 0.5, np.arange(24)
    declination = -OBLIQUITY * np.cos(2 * np.pi * (month - SOLSTICE) / 12)[:, None, None, None]
    hour_angle = (2 * np.pi * (hour - 12) / 24)[:, None, None]
    high = np.sin(latitude) * np.sin(declination)
    return (high + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)).clip(0)


def _response(forcing: Array, memory: float, when: Array) -> Array:
    """Return how a surface answers a periodic forcing, on (latitude, when), without the mean.

    It relaxes towards the forcing (steps of one period, latitude, 1) with the time constant
    `memory`, which damps and delays every harmonic. `memory` and `when` are in periods.
    """
    order = np.arange(1, HARMONICS + 1)[:, None]
    harmonics = np.fft.rfft(forcing[..., 0], axis=0)[1 : HARMONICS + 1] / len(forcing)
    answer = harmonics / (1 + 2j * np.pi * order * memory)
    return 2 * (answer.T @ np.exp(2j * np.pi * order * when)).real


def _at_most(limit: float, values: Array) -> Array:
    return values - ICE_EDGE * np.logaddexp(0, (values - limit) / ICE_EDGE)
