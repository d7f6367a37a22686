"""What generated furniture and vehicles agree on: where they are built and how sizes are drawn.

They stand on the floor z = 0 around x = y = 0, within 0.42 of the middle and up to 0.84. Widths,
depths and lengths are from the middle to the edge.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from functory.sources.solids import Solid

__all__ = ["Builder", "draw"]

Builder: TypeAlias = Callable[[np.random.Generator], list[Solid]]
"""Returns the parts of a shape of random proportions."""


def draw(rng: np.random.Generator, *spans: tuple[float, float]) -> list[float]:
    """Return a number out of each span, uniformly distributed."""
    return [float(rng.uniform(*span)) for span in spans]
