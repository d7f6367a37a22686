"""Furniture and vehicles of ten classes, so that the pipeline of shapes runs with no data at hand.

A shape is a union of simple solids of random proportions: z is up, the front faces -y. It has no
resolution; voxels only sample it.
"""

from functools import partial
from itertools import pairwise
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from functory.configuration import Config
from functory.sources.shape_models import ShapeModel
from functory.sources.solids import Solid, box, cut, ellipsoid, loft, mirrored, moved, rod, union

__all__ = ["CLASSES", "ShapesDemo", "demo_models", "solid"]

FLOOR = 0.08  # height in the unit cube that everything stands on
SHEET = 0.06  # thickness of boards: two voxels of 32
WING = 0.027  # half the thickness of wings, fins and sails
PLANES = 16  # evaluated at once: 8 MB an array at 256 voxels a side


class ShapesDemo(Config):
    """The embedded generator of furniture and vehicles: ten classes of solid voxel shapes."""

    kind: Literal["demo"] = "demo"
    models: int = Field(default=100, ge=1, le=10_000)
    """Number of models of each class."""
    size: int = Field(default=32, ge=8, le=256)
    """Voxels a side."""
    seed: int = Field(default=0, ge=0)
    """Chooses the proportions."""


def demo_models(source: ShapesDemo) -> list[ShapeModel]:
    """Return the models, class by class; the voxels of a model are computed when it is read.

    A model is a matter of its class, its number and the seed, and `size` only samples it.
    """
    return [
        ShapeModel(
            label=label,
            name=f"{label}/{number:04d}",
            read=partial(_voxels, label, number, source.seed, source.size),
        )
        for label in CLASSES
        for number in range(source.models)
    ]


def solid(label: str, number: int, seed: int) -> Solid:
    """Return a model as a test of points x, y, z of the unit cube, arrays that broadcast."""
    rng = np.random.default_rng([seed, crc32(label.encode()), number])
    return moved(union(*_CLASSES[label](rng)), (0.5, 0.5, FLOOR))


def _voxels(label: str, number: int, seed: int, size: int) -> NDArray[np.bool_]:
    inside = solid(label, number, seed)
    centres = (np.arange(size) + 0.5) / size
    slabs = np.split(centres, range(PLANES, size, PLANES))
    return np.concatenate([inside(centres, centres[:, None], z[:, None, None]) for z in slabs])


# What follows builds on the floor z = 0 around x = y = 0, within 0.42 of the middle and up to
# 0.84. Widths, depths and lengths are from the middle to the edge.


def _draw(rng: np.random.Generator, *spans: tuple[float, float]) -> list[float]:
    return [float(rng.uniform(*span)) for span in spans]


def _corners(width: float, depth: float, z: tuple[float, float], thickness: float) -> Solid:
    return mirrored(box((width - thickness, width), (depth - thickness, depth), z), "xy")


def _chair(rng: np.random.Generator) -> list[Solid]:
    width, depth, seat, back = _draw(rng, (0.17, 0.27), (0.17, 0.27), (0.26, 0.4), (0.28, 0.44))
    leg, splay, lean = _draw(rng, (0.06, 0.08), (0, 0.06), (0, 0.1))
    has_arms, is_open = rng.random(2) < (0.35, 0.5)
    foot = (width + splay - leg, width + splay), (depth + splay - leg, depth + splay)
    end, low, top, middle = depth - SHEET, seat - SHEET, seat + back, seat + 0.45 * back
    rest = loft("z", (low, top), (width, (end, depth)), (width, (end + lean, depth + lean)))
    if is_open:
        gap = box(width - leg, (0, 1), (seat, top - 0.08))
        rest = cut(rest, cut(gap, box(1, 1, (middle - 0.03, middle + 0.03))))
    legs = loft("z", (0, seat), foot, ((width - leg, width), (depth - leg, depth)))
    parts = [mirrored(legs, "xy"), box(width, depth, (low, seat)), rest]
    if has_arms:
        side = width - SHEET, width
        parts.append(mirrored(box(side, depth, (middle - SHEET, middle))))
        parts.append(mirrored(box(side, (-depth, -end), (low, middle))))
    return [moved(part, (0, -max(0, lean - splay) / 2, 0)) for part in parts]


def _table(rng: np.random.Generator) -> list[Solid]:
    width, depth, height = _draw(rng, (0.28, 0.42), (0.22, 0.38), (0.25, 0.56))
    board, leg, inset = _draw(rng, (0.05, 0.09), (0.06, 0.11), (0.01, 0.07))
    stand = rng.choice(["legs", "shelf", "column", "panels"])
    low = height - board
    top = box(width, depth, (low, height))
    if rng.random() < 0.35:  # round
        top = rod((0, 0, low), (0, 0, height), width)
        width = depth = 0.72 * width
    x, y = width - inset, depth - inset
    if stand == "column":
        foot = rod((0, 0, 0), (0, 0, board), 0.5 * x + 0.07)
        return [top, foot, rod((0, 0, 0), (0, 0, height), 0.8 * leg)]
    if stand == "panels":
        sides = mirrored(box((x - 0.8 * leg, x), y, (0, height)))
        return [top, sides, box(x, board / 2, (0.5 * low - SHEET, 0.5 * low))]
    shelf = [box(x, y, (0.3 * low, 0.3 * low + SHEET))] if stand == "shelf" else []
    return [top, _corners(x, y, (0, height), leg), *shelf]


def _bed(rng: np.random.Generator) -> list[Solid]:
    width, length, leg = _draw(rng, (0.2, 0.34), (0.34, 0.42), (0.06, 0.13))
    mattress, head, foot = _draw(rng, (0.08, 0.15), (0.1, 0.25), (-0.04, 0.08))
    pillows, has_foot, has_posts = rng.integers(1, 3), rng.random() < 0.5, rng.random() < 0.25
    frame, half = leg + 0.07, mattress / 2
    top = frame + mattress
    parts = [
        _corners(width, length, (0, frame), SHEET),
        box(width, length, (leg, frame)),
        ellipsoid((0, 0, frame + half), (width, length, half + 0.01), 8),
        box(width, (length - SHEET, length), (leg, top + head)),
    ]
    for x in width * (np.arange(1, 2 * pillows, 2) / pillows - 1):
        parts.append(ellipsoid((x, length - 0.14, top), (0.8 * width / pillows, 0.08, 0.06), 3))
    if has_foot:
        parts.append(box(width, (-length, SHEET - length), (leg, top + foot)))
    if has_posts:
        high = top + head + 0.2
        rails = box(width, length, (high - SHEET, high))
        parts.append(cut(rails, box(width - SHEET, length - SHEET, (0, 1))))
        parts.append(_corners(width, length, (0, high), SHEET))
    return parts


def _sofa(rng: np.random.Generator) -> list[Solid]:
    width, depth, foot = _draw(rng, (0.33, 0.42), (0.16, 0.22), (0.05, 0.08))
    seat, back, rest = _draw(rng, (0.15, 0.22), (0.13, 0.25), (0.08, 0.13))
    arm, rise, reach = _draw(rng, (0.07, 0.12), (0.06, 0.12), (0.14, 0.22))
    cushions, chaise = rng.integers(2, 4), rng.choice([-1, 0, 0, 1])  # the side of a long seat
    inner = width - arm
    parts = [
        _corners(width, depth, (0, seat), 0.08),
        box(width, depth, (foot, seat - 0.03)),
        box(width, (depth - rest, depth), (foot, seat + back)),
        mirrored(box((inner, width), depth, (foot, seat + rise))),
    ]
    each = inner / cushions
    for x in inner * (np.arange(1, 2 * cushions, 2) / cushions - 1):
        parts.append(ellipsoid((x, -rest / 2, seat - 0.03), (each, depth - rest / 2, 0.06), 5))
        parts.append(ellipsoid((x, depth - rest, seat + back / 2), (each, 0.06, 0.6 * back), 5))
    if chaise == 0:
        return parts
    side = (inner - 2 * each, width) if chaise > 0 else (-width, 2 * each - inner)
    parts.append(box(side, (-depth - reach, 0), (foot, seat)))
    parts.append(box(side, (-depth - reach, 0.08 - depth - reach), (0, seat)))
    return [moved(part, (0, reach / 2, 0)) for part in parts]


def _cabinet(rng: np.random.Generator) -> list[Solid]:
    width, depth, foot = _draw(rng, (0.2, 0.36), (0.13, 0.21), (0.05, 0.1))
    height, grip = _draw(rng, (0.5, 0.84), (0.05, 0.08))
    closed = rng.choice([0, 0.35, 0.5, 1])  # share of the height that has doors, from below
    bays, is_divided = rng.integers(2, 5), rng.random() < 0.35
    doors = foot + closed * (height - foot)
    parts, holes = [_corners(width, depth, (0, foot), 0.08)], []
    if closed < 1:
        rows = np.linspace(max(doors, foot + SHEET), height, round(bays * (1 - closed)) + 1)
        for low, high in pairwise(rows):
            holes.append(box(width - SHEET, (-1, depth - SHEET), (low, high - SHEET)))
        if is_divided:
            parts.append(box(SHEET / 2, depth, (foot, height)))
    if closed > 0:
        middle, grip = (foot + doors) / 2, min(grip, 0.3 * (doors - foot))
        holes.append(box(0.02, (-1, SHEET - depth), (foot, doors - SHEET)))
        handle = (-depth - 0.05, -depth), (middle - grip, middle + grip)
        parts.append(mirrored(box((0.04, 0.09), *handle)))
    parts.append(cut(box(width, depth, (foot, height)), *holes))
    return [moved(part, (0, 0.025 if closed > 0 else 0, 0)) for part in parts]


def _lamp(rng: np.random.Generator) -> list[Solid]:
    base, pole, shade = _draw(rng, (0.12, 0.21), (0.028, 0.042), (0.17, 0.3))
    slope, tall, height = _draw(rng, (0.35, 0.85), (0.16, 0.28), (0.64, 0.84))
    belly, turn = _draw(rng, (0.08, 0.15), (0, 2 * np.pi))
    arms, has_vase = rng.choice([0, 0, 1, 2, 3]), rng.random() < 0.4
    parts = [rod((0, 0, 0), (0, 0, SHEET), base, 0.8 * base)]
    if arms == 0:
        parts.append(rod((0, 0, 0), (0, 0, height), pole))
        parts.append(rod((0, 0, height - tall), (0, 0, height), shade, slope * shade))
        return [*parts, ellipsoid((0, 0, 0.22), (belly, belly, 0.2))] if has_vase else parts
    neck, out, shade = 0.6 * height, 0.42 - 0.55 * shade, 0.55 * shade
    parts.append(rod((0, 0, 0), (0, 0, neck + 0.04), pole))
    angles = turn + 2 * np.pi * np.arange(arms) / arms
    tips = out * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for x, y in tips:
        parts.append(rod((0, 0, neck), (x, y, height - 0.05), pole))
        parts.append(rod((x, y, height - 0.7 * tall), (x, y, height), shade, slope * shade))
    x, y = tips.mean(axis=0) / 2  # a single arm puts the base off the middle
    return [moved(part, (-x, -y, 0)) for part in parts]


def _wheels(width: float, radius: float, *axles: float) -> list[Solid]:
    return [
        mirrored(rod((width - 0.06, y, radius), (width + 0.025, y, radius), radius)) for y in axles
    ]


def _car(rng: np.random.Generator) -> list[Solid]:
    width, length, wheel = _draw(rng, (0.13, 0.19), (0.3, 0.42), (0.07, 0.1))
    body, cabin, screen, bonnet = _draw(rng, (0.1, 0.16), (0.09, 0.15), (0.04, 0.14), (0.35, 0.7))
    form = rng.choice(["saloon", "estate", "pickup"])
    rear, slope = {"saloon": (0.6, 0.1), "estate": (0.96, 0.04), "pickup": (0.3, 0.02)}[form]
    low, front, rear = 0.75 * wheel, (bonnet - 1) * length, rear * length
    top = low + body
    shell = loft("z", (low, top), (width, length), (width, (0.04 - length, length)))
    if form == "pickup":
        shell = cut(shell, box(width - 0.05, (rear + 0.03, length - 0.05), (low + 0.05, 1)))
    roof = width - 0.03, (front + screen, rear - slope)
    parts = [shell, loft("z", (top, top + cabin), (width, (front, rear)), roof)]
    return parts + _wheels(width, wheel, -0.6 * length, 0.6 * length)


def _bus(rng: np.random.Generator) -> list[Solid]:
    width, length, wheel = _draw(rng, (0.1, 0.14), (0.36, 0.42), (0.055, 0.075))
    deck, sill, air = _draw(rng, (0.13, 0.18), (0.08, 0.12), (-0.2, 0.2))
    decks, axles, windows = rng.choice([1, 1, 2]), rng.integers(2, 4), rng.integers(3, 6)
    low, panes = 0.8 * wheel, []
    top = low + sill + decks * deck
    for bottom in low + sill + deck * np.arange(decks):
        z = bottom, bottom + deck - 0.055
        for start, end in pairwise(np.linspace(0.05 - length, length - 0.05, windows + 1)):
            panes.append(mirrored(box((width - 0.035, 1), (start + 0.025, end - 0.025), z)))
        panes.append(box(width - 0.03, (-1, 0.035 - length), z))
    parts = [cut(box(width, length, (low, top)), *panes)]
    parts.append(box(0.6 * width, (air - 0.1, air + 0.1), (top, top + 0.05)))
    return parts + _wheels(width, wheel, *(-0.62 * length, 0.6 * length, 0.25 * length)[:axles])


def _airplane(rng: np.random.Generator) -> list[Solid]:
    length, span, radius = _draw(rng, (0.34, 0.42), (0.3, 0.42), (0.05, 0.075))
    chord, taper, sweep = _draw(rng, (0.15, 0.22), (0.45, 0.8), (0, 0.2))
    gear, dihedral, fin = _draw(rng, (0.05, 0.09), (0, 0.06), (0.13, 0.2))
    engines, is_high, has_t_tail = rng.integers(0, 3), rng.random() < 0.35, rng.random() < 0.3
    z = gear + radius
    root, top = z + (0.5 if is_high else -0.5) * radius, z + radius + fin
    level = top - WING if has_t_tail else z + 0.4 * radius

    def wing(x: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the spans of a wing in y and z at a distance from the middle."""
        way = x / span
        y, up = way * sweep - 0.6 * chord - 0.3 * sweep, root + way * dihedral
        return (y, y + chord * (1 - way * (1 - taper))), (up - WING, up + WING)

    plane, nose, tail = (level - WING, level + WING), 0.12 - length, (length - 0.1, length)
    parts = [
        ellipsoid((0, nose, z), (radius, 0.12, radius)),
        rod((0, nose, z), (0, 0.4 * length, z), radius),
        rod((0, 0.4 * length, z), (0, length, z + 0.02), radius, 0.03),
        mirrored(loft("x", (0, span), wing(0), wing(span))),
        loft("z", (z, top), (WING, (length - 0.2, length - 0.04)), (WING, tail)),
        mirrored(loft("x", (0, 0.4 * span), ((length - 0.13, length), plane), (tail, plane))),
        box(0.03, (nose - 0.03, nose + 0.03), (0, z)),
        mirrored(box((0.02, 0.08), 0.03, (0, root))),
    ]
    for x in 0.75 * span * np.arange(1, engines + 1) / engines:
        (front, _), (under, _) = wing(x)
        ends = (x, front - 0.06, under - 0.01), (x, front + 0.08, under - 0.01)
        parts.append(mirrored(rod(*ends, 0.04)))
    return parts


def _boat(rng: np.random.Generator) -> list[Solid]:
    length, beam, deck = _draw(rng, (0.33, 0.42), (0.12, 0.19), (0.14, 0.22))
    bow, high, mast, size = _draw(rng, (1.6, 2.2), (0.6, 0.84), (-0.15, 0), (0.7, 1))
    form = rng.choice(["sailing", "motor", "rowing"])
    # Half an ellipsoid whose bow is longer than the stern, which is cut off flat.
    hull = ellipsoid((0, 0.4 * length, deck), (beam, 1.4 * length, deck), bow)
    hull = cut(hull, box(1, 1, (deck, 1)), box(1, (length, 2), 1))
    if form == "sailing":
        end = mast + size * (length - mast)
        sail = loft("z", (deck + 0.08, high), (WING, (mast, end)), (WING, (mast, mast + 0.04)))
        return [hull, rod((0, mast, 0.05), (0, mast, high), 0.03), sail]
    if form == "motor":
        roof, end = deck + 0.16 * size, 0.5 * length
        foot, ceiling = (0.7 * beam, (mast - 0.1, end)), (0.6 * beam, (mast, end - 0.02))
        funnel = rod((0, 0.1, deck), (0, 0.1, roof + high - 0.5), 0.045)
        return [hull, loft("z", (deck - 0.01, roof), foot, ceiling), funnel]
    hold = ellipsoid((0, 0.4 * length, deck), (beam - 0.05, 1.4 * length - 0.08, deck - 0.05), bow)
    benches = [box(1, (y, y + 0.07), (0.4 * deck, 0.8 * deck)) for y in (mast, mast + 0.2)]
    return [cut(hull, cut(hold, *benches, box(1, (length - 0.05, 2), 1)))]


_BUILDERS = (_airplane, _bed, _boat, _bus, _cabinet, _car, _chair, _lamp, _sofa, _table)
_CLASSES = {builder.__name__.removeprefix("_"): builder for builder in _BUILDERS}
CLASSES: tuple[str, ...] = tuple(_CLASSES)
