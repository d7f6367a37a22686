"""Vehicles of the generated shapes: airplanes, boats, buses and cars."""

from itertools import pairwise

import numpy as np

from functory.sources.proportions import Builder, draw
from functory.sources.solids import Solid, box, cut, ellipsoid, loft, mirrored, rod

__all__ = ["VEHICLES"]

WING = 0.027  # half the thickness of wings, fins and sails


def _wheels(width: float, radius: float, *axles: float) -> list[Solid]:
    return [
        mirrored(rod((width - 0.06, y, radius), (width + 0.025, y, radius), radius)) for y in axles
    ]


def _car(rng: np.random.Generator) -> list[Solid]:
    width, length, wheel = draw(rng, (0.13, 0.19), (0.3, 0.42), (0.07, 0.1))
    body, cabin, screen, bonnet = draw(rng, (0.1, 0.16), (0.09, 0.15), (0.04, 0.14), (0.35, 0.7))
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
    width, length, wheel = draw(rng, (0.1, 0.14), (0.36, 0.42), (0.055, 0.075))
    deck, sill, air = draw(rng, (0.13, 0.18), (0.08, 0.12), (-0.2, 0.2))
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
    length, span, radius = draw(rng, (0.34, 0.42), (0.3, 0.42), (0.05, 0.075))
    chord, taper, sweep = draw(rng, (0.15, 0.22), (0.45, 0.8), (0, 0.2))
    gear, dihedral, fin = draw(rng, (0.05, 0.09), (0, 0.06), (0.13, 0.2))
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
    length, beam, deck = draw(rng, (0.33, 0.42), (0.12, 0.19), (0.14, 0.22))
    bow, high, mast, size = draw(rng, (1.6, 2.2), (0.6, 0.84), (-0.15, 0), (0.7, 1))
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


VEHICLES: dict[str, Builder] = {
    "airplane": _airplane,
    "boat": _boat,
    "bus": _bus,
    "car": _car,
}
