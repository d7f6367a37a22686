"""The idealised Earth of the synthetic data: its continents, mountains, currents and deserts."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Planet", "grid", "planet"]

Array = NDArray[np.float64]

COAST = 0.03  # radians (190 km) from sea to land: a grid of 4 degrees still resolves its coasts
INLAND = 0.12  # radians (800 km) that the air of the sea reaches inland


class Blob(NamedTuple):
    """A tilted ellipse on the sphere, in degrees, with what it adds at its centre."""

    latitude: float
    longitude: float
    east: float
    north: float
    tilt: float = 0  # of the eastern axis towards the north
    height: float = 1


ICE_SHEETS = [
    Blob(74, -40, 9, 12),  # Greenland
    Blob(-86, 80, 17, 17),  # the South Pole
    Blob(-75, 85, 16, 10),  # Eastern Antarctica
    Blob(-74, 130, 12, 8),  # Adélie Land
    Blob(-78, -100, 11, 7),  # Western Antarctica
    Blob(-69, -64, 7, 2.5, 70),  # Antarctic Peninsula
]
LAND = [
    Blob(59, 96, 34, 14),  # Siberia
    Blob(48, 62, 28, 12),  # Central Asia
    Blob(34, 104, 17, 14),  # China
    Blob(54, 32, 17, 11),  # Russia
    Blob(64, 18, 11, 5, 55),  # Scandinavia
    Blob(47, 8, 10, 5),  # Central Europe
    Blob(40, -4, 5, 4),  # Iberia
    Blob(53, -2, 3, 5),  # Britain
    Blob(39, 35, 9, 3),  # Anatolia
    Blob(24, 46, 10, 8, -40),  # Arabia
    Blob(32, 57, 13, 7),  # Iran
    Blob(21, 79, 8, 12),  # India
    Blob(15, 102, 5, 11),  # Indochina
    Blob(66, 155, 24, 7),  # Chukotka
    Blob(55, 160, 7, 2.5, 65),  # Kamchatka
    Blob(37, 138, 8, 2.5, 55),  # Japan
    Blob(0, 114, 6, 5),  # Borneo
    Blob(0, 101, 8, 2.5, -45),  # Sumatra
    Blob(-5, 141, 9, 3, -20),  # New Guinea
    Blob(20, 3, 19, 13),  # Western Sahara
    Blob(18, 25, 12, 13),  # Eastern Sahara
    Blob(7, 41, 9, 6, 25),  # Horn of Africa
    Blob(0, 24, 13, 12),  # Congo
    Blob(-20, 26, 10, 14),  # Southern Africa
    Blob(-19, 47, 7, 2.5, 70),  # Madagascar
    Blob(-25, 126, 12, 8),  # Western Australia
    Blob(-26, 142, 10, 11),  # Eastern Australia
    Blob(-43, 171, 7, 2, 50),  # New Zealand
    Blob(64, -114, 24, 9),  # Northern Canada
    Blob(51, -102, 22, 11),  # the Prairies
    Blob(65, -152, 12, 6),  # Alaska
    Blob(53, -70, 11, 8),  # Labrador
    Blob(38, -97, 19, 9),  # the United States
    Blob(24, -103, 10, 5, -60),  # Mexico
    Blob(14, -88, 9, 2.5, -35),  # Central America
    Blob(76, -88, 20, 5),  # Arctic Archipelago
    Blob(-4, -62, 17, 11),  # Amazonia
    Blob(-13, -50, 13, 13),  # Brazil
    Blob(-18, -67, 7, 10),  # Bolivia
    Blob(-33, -64, 8, 14),  # Argentina
    Blob(-46, -70, 3.5, 9),  # Patagonia
    *ICE_SHEETS,
]
GULFS = [
    Blob(59, -85, 7, 6),  # Hudson Bay
    Blob(42, 51, 3, 5),  # the Caspian Sea
    Blob(58, 20, 2, 5),  # the Baltic Sea
]
MOUNTAINS = [  # heights in km
    Blob(33, 88, 15, 6, 0, 4.6),  # Tibet
    Blob(48, 97, 11, 6, 0, 1.5),  # Mongolia
    Blob(34, 55, 14, 5, 0, 1.3),  # Iran
    Blob(63, 130, 18, 8, 0, 0.7),  # Eastern Siberia
    Blob(8, 39, 5, 8, 0, 1.9),  # Ethiopia
    Blob(-27, 26, 8, 8, 0, 1.3),  # Southern Africa
    Blob(42, -110, 13, 7, -65, 2.2),  # the Rocky Mountains
    Blob(57, -127, 11, 5, -55, 1.3),  # British Columbia
    Blob(22, -102, 8, 4, -60, 1.8),  # Mexico
    Blob(-18, -68, 17, 3.5, -80, 3.2),  # the Andes
    Blob(0, -76, 8, 3, 65, 1.8),  # Colombia
    Blob(74, -40, 8, 10, 0, 2.9),  # Greenland
    Blob(-82, 75, 20, 13, 0, 2.6),  # Eastern Antarctica
    Blob(-79, -100, 9, 7, 0, 1.3),  # Western Antarctica
]
CURRENTS = [  # warmth of the sea, in K
    Blob(67, 5, 22, 9, 15, 9),  # the North Atlantic Current
    Blob(46, -30, 22, 8, 20, 3),  # the Gulf Stream
    Blob(38, 165, 25, 8, 0, 2),  # the Kuroshio
    Blob(53, -142, 12, 9, 0, 3),  # the Alaska Current
    Blob(-18, -82, 14, 8, -75, -4),  # the Humboldt Current
    Blob(-17, 7, 12, 8, -75, -4),  # the Benguela Current
    Blob(28, -122, 8, 9, 0, -3),  # the California Current
    Blob(22, -22, 8, 9, 0, -2),  # the Canary Current
    Blob(52, -52, 9, 8, 0, -4),  # the Labrador Current
    Blob(52, 150, 9, 8, 0, -4),  # the Oyashio
    Blob(3, 140, 35, 12, 0, 1.5),  # the Pacific warm pool
]
DESERTS = [  # warmth of the land, in K
    Blob(23, 14, 24, 8, 0, 4),  # the Sahara
    Blob(26, 48, 12, 7, 0, 3),  # Arabia
    Blob(-24, 132, 15, 6, 0, 2),  # the Australian deserts
]
PACIFIC = Blob(-2, -120, 38, 8)  # where El Niño shows


class Planet(NamedTuple):
    """The surface, on (latitude, longitude)."""

    latitude: Array
    """Radians, (latitude, 1)."""
    longitude: Array
    """Radians, (longitude,)."""
    points: Array
    """Unit vectors, (latitude, longitude, 3)."""
    land: Array
    """0 at sea, 1 on land."""
    inland: Array
    """0 at sea, 1 far from it."""
    ice_sheets: Array
    """1 on Greenland and Antarctica, 0 elsewhere."""
    height: Array
    """Of the land, in km."""
    currents: Array
    """Warmth of the sea, in K."""
    deserts: Array
    """Warmth of the land, in K."""
    pacific: Array
    """1 in the eastern tropical Pacific, 0 elsewhere."""


@lru_cache(maxsize=1)
def planet(shape: tuple[int, int]) -> Planet:
    """Return the planet on a grid of so many latitudes and longitudes; kept for the next call."""
    latitude, longitude = (np.radians(degrees) for degrees in grid(shape))
    points = _unit_vector(latitude[:, None], longitude)
    land = _union(LAND, points, COAST) * (1 - _union(GULFS, points, COAST))
    return Planet(
        latitude=latitude[:, None],
        longitude=longitude,
        points=points,
        land=land,
        inland=land * _union(LAND, points, INLAND),
        ice_sheets=_union(ICE_SHEETS, points, COAST),
        height=land * _sum(MOUNTAINS, points),
        currents=_sum(CURRENTS, points),
        deserts=_sum(DESERTS, points),
        pacific=_sum([PACIFIC], points),
    )


def grid(shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return latitudes from 90 to -90 and longitudes from 0 to below 360, in degrees."""
    latitudes, longitudes = shape
    return np.linspace(90, -90, latitudes), np.linspace(0, 360, longitudes, endpoint=False)


def _union(blobs: list[Blob], points: Array, edge: float) -> Array:
    """Return 1 inside at least one blob, 0 outside all, with an edge of so many radians."""
    outside = np.ones(points.shape[:-1])
    for blob in blobs:
        size = np.radians(np.sqrt(blob.east * blob.north))
        outside *= (1 - np.tanh((1 - _distance2(blob, points)) * size / edge / 2)) / 2
    return 1 - outside


def _sum(blobs: list[Blob], points: Array) -> Array:
    total = np.zeros(points.shape[:-1])
    for blob in blobs:
        total += blob.height * np.exp(-_distance2(blob, points))
    return total


def _distance2(blob: Blob, points: Array) -> Array:
    """Return the squared distance from the centre of a blob, 1 on its outline."""
    latitude, longitude, east, north, tilt = np.radians(blob[:5])
    centre = _unit_vector(latitude, longitude)
    eastward = _unit_vector(0.0, longitude + np.pi / 2)
    northward = np.cross(centre, eastward)
    along = points @ (np.cos(tilt) * eastward + np.sin(tilt) * northward)
    across = points @ (np.cos(tilt) * northward - np.sin(tilt) * eastward)
    # The last term tells the centre from its antipode.
    return (along / east) ** 2 + (across / north) ** 2 + (1 - points @ centre) ** 2 / (east * north)


def _unit_vector(latitude: Array | float, longitude: Array | float) -> Array:
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    return np.stack(np.broadcast_arrays(x, y, np.sin(latitude)), axis=-1)
