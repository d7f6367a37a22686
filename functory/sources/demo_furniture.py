"""Furniture of the generated shapes: beds, cabinets, chairs, lamps, sofas and tables."""

from itertools import pairwise

import numpy as np

from functory.sources.proportions import Builder, draw
from functory.sources.solids import Solid, box, cut, ellipsoid, loft, mirrored, moved, rod

__all__ = ["FURNITURE"]

SHEET = 0.06  # thickness of boards: two voxels of 32


def _corners(width: float, depth: float, z: tuple[float, float], thickness: float) -> Solid:
    return mirrored(box((width - thickness, width), (depth - thickness, depth), z), "xy")


def _chair(rng: np.random.Generator) -> list[Solid]:
    width, depth, seat, back = draw(rng, (0.17, 0.27), (0.17, 0.27), (0.26, 0.4), (0.28, 0.44))
    leg, splay, lean = draw(rng, (0.06, 0.08), (0, 0.06), (0, 0.1))
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
    width, depth, height = draw(rng, (0.28, 0.42), (0.22, 0.38), (0.25, 0.56))
    board, leg, inset = draw(rng, (0.05, 0.09), (0.06, 0.11), (0.01, 0.07))
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
    width, length, leg = draw(rng, (0.2, 0.34), (0.34, 0.42), (0.06, 0.13))
    mattress, head, foot = draw(rng, (0.08, 0.15), (0.1, 0.25), (-0.04, 0.08))
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
    width, depth, foot = draw(rng, (0.33, 0.42), (0.16, 0.22), (0.05, 0.08))
    seat, back, rest = draw(rng, (0.15, 0.22), (0.13, 0.25), (0.08, 0.13))
    arm, rise, reach = draw(rng, (0.07, 0.12), (0.06, 0.12), (0.14, 0.22))
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
    width, depth, foot = draw(rng, (0.2, 0.36), (0.13, 0.21), (0.05, 0.1))
    height, grip = draw(rng, (0.5, 0.84), (0.05, 0.08))
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
    base, pole, shade = draw(rng, (0.12, 0.21), (0.028, 0.042), (0.17, 0.3))
    slope, tall, height = draw(rng, (0.35, 0.85), (0.16, 0.28), (0.64, 0.84))
    belly, turn = draw(rng, (0.08, 0.15), (0, 2 * np.pi))
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


FURNITURE: dict[str, Builder] = {
    "bed": _bed,
    "cabinet": _cabinet,
    "chair": _chair,
    "lamp": _lamp,
    "sofa": _sofa,
    "table": _table,
}
