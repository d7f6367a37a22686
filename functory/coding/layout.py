"""Which signals, and which of their cells, make a chunk: what is coded and decoded at once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

__all__ = ["Block", "Layout"]

CELLS = 256  # of a chunk, about: enough to make 16 bytes for each chunk little
SIDES = {0: (), 1: (64,), 2: (16, 16), 3: (8, 8, 8)}
RUN = {0: 64, 1: 32, 2: 32, 3: 8}  # signals in a row, each coded by those before it, by axes

Block = tuple[slice, ...]
"""Some samples, and some cells along each axis."""


@dataclass(frozen=True)
class Layout:
    """A lattice of (samples, cells along each axis) in chunks of a size, in C order.

    Chunks at the ends of an axis are as much smaller as they have to be.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]

    @classmethod
    def of(cls, samples: int, cells: Sequence[int], sequence: bool) -> Self:
        """Choose the chunks of samples in a row (`sequence`), or that know nothing of another."""
        sides = [min(*pair) for pair in zip(SIDES[len(cells)], cells, strict=True)]
        together = min(samples, RUN[len(cells)]) if sequence else max(1, CELLS // math.prod(sides))
        return cls((samples, *cells), (together, *sides))

    @property
    def _counts(self) -> tuple[int, ...]:
        return tuple(math.ceil(n / c) for n, c in zip(self.shape, self.chunk, strict=True))

    def __len__(self) -> int:
        return math.prod(self._counts)

    def block(self, chunk: int) -> Block:
        """Return what is in a chunk."""
        position = np.unravel_index(chunk, self._counts)
        return tuple(
            slice(int(p) * c, min((int(p) + 1) * c, n))
            for p, c, n in zip(position, self.chunk, self.shape, strict=True)
        )

    def covering(self, block: Block) -> list[int]:
        """Return the chunks that hold a block, in order."""
        ranges = [
            np.arange(s.start // c, math.ceil(s.stop / c))
            for s, c in zip(block, self.chunk, strict=True)
        ]
        return (
            np.ravel_multi_index(np.meshgrid(*ranges, indexing="ij"), self._counts).ravel().tolist()
        )

    def alike(self, chunks: Iterable[int]) -> dict[tuple[int, ...], list[int]]:
        """Group chunks by their shape."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for chunk in chunks:
            shape = tuple(s.stop - s.start for s in self.block(chunk))
            groups.setdefault(shape, []).append(chunk)
        return groups
