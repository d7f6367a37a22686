"""How the demo's faces are drawn: part by part, from the backdrop to the hat.

Lengths are in half widths of the picture before it is zoomed. A turned head is an ellipsoid whose
features move along its surface and become narrower towards its sides.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from functory.sources.canvas import Array, Canvas, Colour, box, ellipse, line, mixed

__all__ = ["Face", "draw_face"]

PIVOT = 0.75  # how far below the middle of the head it is tilted
EYES = (-0.42, 0.42)  # radians of longitude from the middle of the face
WHITE, DARK = (0.97, 0.97, 0.96), (0.09, 0.06, 0.07)
SHADOW = (0.35, 0.12, 0.1)


@dataclass(frozen=True)
class Face:
    """Everything that one face is drawn from; angles are in radians."""

    turn: float  # to the right of the picture
    nod: float  # downwards
    tilt: float  # clockwise
    shift: tuple[float, float]
    zoom: float
    light: tuple[float, float]  # what it adds towards the right and the bottom
    exposure: float
    backdrop: tuple[Colour, Colour]
    slope: float  # the direction from one colour of the backdrop to the other
    shirt: Colour
    skin: Colour
    width: float  # of the head, half
    height: float
    taper: float  # how much narrower the chin is
    hair: Colour
    volume: float
    length: float  # of the hair, from the middle of the head
    hairline: float  # above the middle of the head
    sweep: float  # how far the hair falls to one side
    curls: float
    curl: float  # phase of the curls
    eyes: Colour
    opening: float  # of the eyes; 0 is closed
    gaze: float
    brows: float  # how far they are raised
    frown: float  # how much lower their inner ends are
    nose: float
    smile: float
    mouth: float  # opening of the mouth; 0 is closed
    lips: Colour
    blush: float
    beard: float  # opacity; 0 is none
    glasses: Colour | None
    tint: float  # opacity of the lenses
    hat: Colour | None
    brim: float


def draw_face(face: Face, side: int) -> NDArray[np.uint8]:
    """Return a face as (side, side, 3) pixels of red, green and blue."""
    grid = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    whole = _backdrop(face, *np.meshgrid(grid, grid))
    _body(face, whole)
    head = _head_of(face, whole)
    outline, crown = _outline(face, head), _crown(face, head)
    _behind(face, head, crown)
    _neck(face, whole)
    _skin(face, head, outline)
    for eye in EYES:
        _eye(face, head, eye)
    _nose(face, head)
    if face.beard:
        _beard(face, head, outline)
    _mouth(face, head)
    _fringe(face, head, crown)
    for eye in EYES:
        _brow(face, head, eye)
    if face.glasses is not None:
        _spectacles(face, head, face.glasses)
    if face.hat is not None:
        _hat(face, head, crown, face.hat)
    values = np.clip(whole.colours * face.exposure, 0, 1)
    return np.rint(255 * values).astype(np.uint8).transpose(1, 2, 0)


def _backdrop(face: Face, x: Array, y: Array) -> Canvas:
    """Return a canvas with a gradient and a glow behind the head, in the frame of the body."""
    share = 0.5 + 0.35 * (float(np.cos(face.slope)) * x + float(np.sin(face.slope)) * y)
    first, second = (np.array(c, np.float32)[:, None, None] for c in face.backdrop)
    colours = (first + share * (second - first)) * (1.06 - 0.12 * (x * x + y * y))
    x, y = (x - face.shift[0]) / face.zoom, (y - face.shift[1]) / face.zoom
    return Canvas(colours, x, y, 1 + face.light[0] * x, 2 / len(x) / face.zoom)


def _head_of(face: Face, body: Canvas) -> Canvas:
    """Return the canvas in the frame of the tilted head, lit as an ellipsoid."""
    cosine, sine = float(np.cos(face.tilt)), float(np.sin(face.tilt))
    x = cosine * body.x + sine * (body.y - PIVOT)
    y = cosine * (body.y - PIVOT) - sine * body.x + PIVOT
    across, down = x / face.width, y / face.height
    bulge = np.sqrt(np.clip(1 - 0.8 * (across * across + down * down), 0.02, 1))
    shade = 0.87 + 0.13 * bulge + face.light[0] * across + face.light[1] * down
    return Canvas(body.colours, x, y, shade, body.pixel)


def _outline(face: Face, head: Canvas) -> Array:
    """Return the distance from the head, whose chin is narrower."""
    narrower = 1 - face.taper * np.clip(head.y / face.height, -0.3, 1.2)
    return ellipse(head.x / narrower, head.y, face.width, face.height)


def _at(face: Face, head: Canvas, place: tuple[float, float], reach: float) -> tuple[Canvas, float]:
    """Return the canvas around a place on the turned head, and how narrow things look there.

    The place is a longitude in radians and a height, downwards, as a share of the head's.
    """
    longitude, latitude = place[0] + face.turn, np.arcsin(place[1]) + face.nod
    x = face.width * np.sin(longitude) * np.cos(latitude)
    y = face.height * np.sin(latitude)
    return head.near(x, y, reach), max(float(np.cos(longitude)), 0.3)


def _body(face: Face, whole: Canvas) -> None:
    whole.paint(ellipse(whole.x, whole.y - 1.5, 1.0, 0.68), face.shirt)
    part = whole.near(0, 0.9, 0.4)
    part.paint(ellipse(part.x, part.y, 0.34, 0.22), mixed(face.shirt, DARK, 0.3))


def _neck(face: Face, whole: Canvas) -> None:
    x, y = (PIVOT - 0.3) * float(np.sin(face.tilt)), 0.3
    neck = line(whole.x - x, whole.y - y, (-x, 0.6)) - 0.42 * face.width
    whole.paint(neck, mixed(face.skin, SHADOW, 0.22))


def _crown(face: Face, head: Canvas) -> Array:
    """Return the distance from the outline of the hair around the head."""
    x, y = head.x + 0.12 * face.turn, head.y + 0.06
    crown = ellipse(x, y, face.width + face.volume, face.height + face.volume)
    if face.curls:
        crown -= face.curls * np.sin(11 * np.arctan2(x, y) + face.curl)
    return crown


def _behind(face: Face, head: Canvas, crown: Array) -> None:
    """Paint the hair behind the head, down to its length, and the ears."""
    middle, half = (face.length - 0.2) / 2, max((face.length + 0.2) / 2, 0.12)
    width = face.width + 1.1 * face.volume
    sides = box(head.x + 0.12 * face.turn, head.y - middle, width, half, 0.12)
    if face.curls:
        sides -= face.curls * np.sin(13 * head.y + face.curl)
    above = np.maximum(crown, head.y - max(face.length, 0.1))
    head.paint(np.minimum(above, sides), mixed(face.hair, DARK, 0.25))
    for way in (-1, 1):
        x, y = way * (face.width - 0.02) - 0.12 * face.turn, 0.04 + 0.3 * face.nod
        part = head.near(x, y, 0.25)
        ear = ellipse(part.x, part.y, 0.1, 0.15)
        part.paint(ear, face.skin)
        part.paint(ear + 0.045, mixed(face.skin, SHADOW, 0.22), 0.6)


def _skin(face: Face, head: Canvas, outline: Array) -> None:
    """Paint the skin, with cheeks that blush."""
    head.paint(outline, face.skin)
    red = mixed(face.skin, (0.9, 0.25, 0.25), 0.6)
    for longitude in (-0.62, 0.62):
        part, narrow = _at(face, head, (longitude, 0.3), 0.25)
        part.paint(ellipse(part.x, part.y, 0.12 * narrow, 0.09), red, face.blush, soft=0.18)


def _eye(face: Face, head: Canvas, longitude: float) -> None:
    """Paint an eye, or the lashes of a closed one."""
    part, narrow = _at(face, head, (longitude, 0.0), 0.25)
    x, y = part.x, part.y
    width, height = 0.14 * narrow, 0.1 * face.opening
    if not face.opening:
        arc = abs(y - 0.06 + 0.06 * (x / width) ** 2) - 0.02
        part.paint(np.maximum(arc, abs(x) - width), DARK, 0.9)
        return
    socket = mixed(face.skin, (0.4, 0.15, 0.12), 0.3)
    part.paint(ellipse(x, y + 0.02, width + 0.03, height + 0.045), socket, 0.5, soft=0.05)
    white = ellipse(x, y, width, height)
    part.paint(white, WHITE)
    x = x - face.gaze * width
    for radius, colour in ((0.078, face.eyes), (0.04, DARK)):
        part.paint(np.maximum(ellipse(x, y, radius * narrow, radius), white), colour)
    part.paint(np.maximum(ellipse(x + 0.027, y + 0.032, 0.021, 0.021), white), WHITE)
    part.paint(np.maximum(abs(white) - 0.016, y + 0.2 * height), DARK, 0.85)


def _brow(face: Face, head: Canvas, longitude: float) -> None:
    part, narrow = _at(face, head, (longitude, -0.22), 0.3)
    outwards = part.x / narrow * (1 if longitude > 0 else -1)
    arch = part.y + face.brows + 0.9 * outwards**2 + face.frown * outwards
    bar = np.maximum(abs(arch) - 0.028, abs(outwards) - 0.16)
    part.paint(bar, mixed(face.hair, DARK, 0.45), 0.85, soft=0.015)


def _nose(face: Face, head: Canvas) -> None:
    """Paint the shadow beside the nose, its tip and what is below it."""
    part, _ = _at(face, head, (0.0, 0.28), 0.4)
    x, y = part.x - 0.16 * face.turn, part.y
    shadow = mixed(face.skin, SHADOW, 0.45)
    side = 0.05 * (1 if face.turn < 0 else -1)
    ridge = line(x - side, y + 0.03, (-side - 0.12 * face.turn, -0.24)) - 0.022
    part.paint(ridge, shadow, min(abs(face.turn), 0.5), soft=0.05)
    part.paint(ellipse(x, y, face.nose, 0.055), shadow, 0.75, soft=0.02)
    tip = mixed(face.skin, (1, 0.95, 0.9), 0.3)
    part.paint(ellipse(x, y + 0.03, face.nose - 0.01, 0.05), tip, 0.8, soft=0.03)


def _mouth(face: Face, head: Canvas) -> None:
    """Paint the lips, and teeth and tongue where the mouth is open."""
    part, narrow = _at(face, head, (0.0, 0.56), 0.4)
    x, y = part.x - 0.06 * face.turn, part.y
    width = (0.19 + 0.06 * max(face.smile, 0)) * narrow
    across = np.minimum((x / width) ** 2, 1)
    middle = 0.12 * face.smile * (0.4 - across)
    gap, lip = 0.17 * face.mouth * (1 - across), 0.012 + 0.034 * (1 - across)
    upper, lower, outside = y - middle + 0.3 * gap, y - middle - gap, abs(x) - width
    lips = np.maximum(np.maximum(-upper - lip, lower - 1.25 * lip), outside)
    part.paint(lips, face.lips)
    if not face.mouth:
        between = np.maximum(abs(y - middle) - 0.013, outside)
        part.paint(between, mixed(face.lips, DARK, 0.55), 0.9)
        return
    inside = np.maximum(np.maximum(-upper, lower), outside)
    part.paint(inside, (0.32, 0.07, 0.09))
    tongue = ellipse(x, lower + 0.01, 0.6 * width, 0.06)
    part.paint(np.maximum(tongue, inside), (0.8, 0.36, 0.38), 0.9)
    part.paint(np.maximum(inside, upper - 0.42 * gap), WHITE)


def _beard(face: Face, head: Canvas, outline: Array) -> None:
    """Paint a beard with its moustache."""
    x, y = head.x - face.width * float(np.sin(face.turn)), head.y - face.height * face.nod
    bare = ellipse(x, y + 0.02, 0.82 * face.width, 0.26 + 0.08 * face.height)
    grown = np.maximum(np.maximum(outline - 0.03, -bare), -0.05 - head.y)
    head.paint(grown, mixed(face.hair, DARK, 0.2), face.beard, soft=0.06)


def _fringe(face: Face, head: Canvas, crown: Array) -> None:
    """Paint the hair above and beside the forehead, with its sheen."""
    x, y = head.x - face.width * float(np.sin(face.turn)), head.y - face.height * face.nod
    low = face.height + 0.2
    middle, half = (low - face.hairline) / 2, (low + face.hairline) / 2
    bare = box(x, y - middle + face.sweep * x, 0.88 * face.width, half, 0.3)
    end = min(max(face.length, -0.05), 0.35)
    hair = np.maximum(np.maximum(crown, -bare), head.y - end)
    head.paint(hair, face.hair)
    part = head.near(0.5 * face.light[0], 0.02 - face.height, 0.3)
    sheen = line(part.x, part.y, (0.12, 0.02)) - 0.06
    part.paint(sheen, mixed(face.hair, (1, 1, 1), 0.5), 0.35, soft=0.12)


def _spectacles(face: Face, head: Canvas, frame: Colour) -> None:
    for longitude in EYES:
        part, narrow = _at(face, head, (longitude, 0.02), 0.7)
        x, y, width = part.x, part.y, 0.2 * narrow
        lens = box(x, y, width, 0.17, 0.11)
        part.paint(lens, mixed(frame, (0.2, 0.25, 0.3), 0.5), face.tint)
        part.paint(np.maximum(lens + 0.03, abs(x + y + 0.02) - 0.025), WHITE, 0.3)
        part.paint(abs(lens) - 0.02, frame)
        way = 1 if longitude > 0 else -1
        temple = way * (face.width - 0.02) - 0.12 * face.turn
        reach = temple - face.width * float(np.sin(longitude + face.turn))
        if way * reach > width:
            arm = line(x - way * width, y + 0.05, (reach - way * width, 0.02)) - 0.018
            part.paint(arm, frame)
    part, narrow = _at(face, head, (0.0, 0.0), 0.3)
    bridge = abs(part.y + 0.05 - 0.6 * part.x**2) - 0.018
    part.paint(np.maximum(bridge, abs(part.x) - 0.05 * narrow), frame)


def _hat(face: Face, head: Canvas, crown: Array, colour: Colour) -> None:
    """Paint a hat, from a cap without a brim to a wide one."""
    x = head.x - 0.08 * face.turn
    above = head.y + 0.4 - 0.35 * face.nod - 0.12 * (x / face.width) ** 2
    head.paint(np.maximum(crown - 0.07, above), colour)
    band = np.maximum(np.maximum(above, -above - 0.14), crown - 0.075)
    head.paint(band, mixed(colour, DARK, 0.45))
    reach = face.width + face.volume + 0.1 + face.brim
    head.paint(box(x, above, reach, 0.055, 0.05), mixed(colour, DARK, 0.15))
