"""Drawn faces with attributes, so that the pipeline of images runs with no data at hand."""

from colorsys import hsv_to_rgb
from functools import partial
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, PositiveInt

from functory.configuration import Config
from functory.sources.canvas import Colour, mixed
from functory.sources.faces_drawing import Face, draw_face
from functory.sources.pictures import Picture

__all__ = ["FacesDemo", "attributes_of", "demo_pictures", "face"]

SKINS: tuple[Colour, ...] = (
    (1.0, 0.87, 0.78),
    (0.95, 0.76, 0.62),
    (0.8, 0.58, 0.42),
    (0.58, 0.38, 0.26),
    (0.38, 0.24, 0.17),
)
HAIRS: tuple[Colour, ...] = (
    (0.1, 0.08, 0.09),
    (0.24, 0.14, 0.09),
    (0.45, 0.26, 0.13),
    (0.7, 0.32, 0.12),
    (0.88, 0.7, 0.38),
    (0.82, 0.8, 0.78),
)
IRISES: tuple[Colour, ...] = (
    (0.25, 0.14, 0.07),
    (0.45, 0.3, 0.12),
    (0.25, 0.5, 0.3),
    (0.2, 0.45, 0.75),
)
LIPS = (0.72, 0.22, 0.24)
TURNED = 0.2  # radians from which a face is said to be turned
DARK = 0.3  # brightness of the hair, and below
LONG = 0.45  # from the middle of the head: below the chin


class FacesDemo(Config):
    """The embedded generator of faces: drawings that vary as photographs of people do."""

    kind: Literal["demo"] = "demo"
    pictures: PositiveInt = 2000
    """Number of pictures."""
    side: Annotated[int, Field(ge=16, le=512)] = 64
    """Pixels a side."""
    seed: NonNegativeInt = 0
    """Chooses the faces."""


def demo_pictures(source: FacesDemo) -> list[Picture]:
    """Return the pictures; the pixels of one are computed when it is read.

    A face is a matter of its number and the seed, and `side` only samples it.
    """
    return [
        Picture(
            name=f"face-{number:06d}",
            read=partial(_pixels, number, source.seed, source.side),
            attributes=attributes_of(face(number, source.seed)),
        )
        for number in range(source.pictures)
    ]


def attributes_of(face: Face) -> dict[str, bool]:
    """Return what is true of a face, left and right being those of the picture."""
    red, green, blue = face.hair
    return {
        "Beard": face.beard > 0,
        "Dark_hair": 0.299 * red + 0.587 * green + 0.114 * blue < DARK,
        "Eyes_closed": face.opening == 0,
        "Glasses": face.glasses is not None,
        "Hat": face.hat is not None,
        "Long_hair": face.length > LONG,
        "Mouth_open": face.mouth > 0,
        "Smiling": face.smile > 0.35,
        "Turned_left": face.turn < -TURNED,
        "Turned_right": face.turn > TURNED,
    }


def face(number: int, seed: int) -> Face:
    """Return a face by its number, all of it drawn by lot."""
    lots = iter(np.random.default_rng([seed, number]).random(80).tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(lots)

    def happens(chance: float) -> bool:
        return next(lots) < chance

    skin, hair = _along(SKINS, between(0, 1)), _along(HAIRS, between(0, 1) ** 1.3)
    is_long, is_bearded = happens(0.4), happens(0.2)
    backdrop = hsv_to_rgb(between(0, 1), between(0.05, 0.5), between(0.45, 0.95))
    return Face(
        turn=between(-0.55, 0.55),
        nod=between(-0.12, 0.12),
        tilt=between(-0.2, 0.2),
        shift=(between(-0.08, 0.08), between(-0.06, 0.06)),
        zoom=between(0.88, 1.08),
        light=(between(-0.16, 0.16), between(-0.12, 0.02)),
        exposure=between(0.85, 1.08),
        backdrop=(backdrop, hsv_to_rgb(between(0, 1), between(0.05, 0.5), between(0.3, 0.9))),
        slope=between(0, 2 * np.pi),
        shirt=hsv_to_rgb(between(0, 1), between(0.1, 0.8), between(0.25, 0.95)),
        skin=skin,
        width=between(0.47, 0.56),
        height=between(0.63, 0.72),
        taper=between(0.08, 0.24),
        hair=hair,
        volume=between(0.04, 0.16),
        length=between(0.5, 1.0) if is_long else between(-0.1, 0.25),
        hairline=between(0.3, 0.48),
        sweep=between(-0.35, 0.35),
        curls=between(0.01, 0.035) if happens(0.4) else 0.0,
        curl=between(0, 2 * np.pi),
        eyes=_along(IRISES, between(0, 1)),
        opening=0.0 if happens(0.1) else between(0.55, 1.05),
        gaze=between(-0.3, 0.3),
        brows=between(-0.02, 0.06),
        frown=between(-0.25, 0.12),
        nose=between(0.065, 0.1),
        smile=between(-0.4, 1.2),
        mouth=between(0.25, 1.0) if happens(0.4) else 0.0,
        lips=mixed(skin, LIPS, between(0.35, 0.9)),
        blush=between(0, 0.4),
        beard=0.0 if is_long or not is_bearded else between(0.5, 0.95),
        glasses=hsv_to_rgb(between(0, 1), between(0, 0.7), between(0.05, 0.4))
        if happens(0.25)
        else None,
        tint=between(0, 1) ** 3 * 0.9,
        hat=hsv_to_rgb(between(0, 1), between(0.2, 0.8), between(0.3, 0.9))
        if happens(0.15)
        else None,
        brim=between(0.0, 0.3),
    )


def _pixels(number: int, seed: int, side: int) -> NDArray[np.uint8]:
    return draw_face(face(number, seed), side)


def _along(palette: tuple[Colour, ...], share: float) -> Colour:
    """Return the colour at a share of the way along a palette."""
    place = share * (len(palette) - 1)
    first = min(int(place), len(palette) - 2)
    return mixed(palette[first], palette[first + 1], place - first)
