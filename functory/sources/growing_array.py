"""An array on disk that signals are added to, a few at a time."""

from collections.abc import Iterable

import numpy as np
import zarr

__all__ = ["GrowingArray"]


class GrowingArray:
    """Rows of a Zarr array, written in whole chunks, so that no chunk is written twice."""

    def __init__(self, array: zarr.Array) -> None:
        self.array = array
        self._waiting: list[np.ndarray] = []

    def extend(self, rows: Iterable[np.ndarray]) -> None:
        """Add rows; the last ones wait until a chunk is full, or for `flush`."""
        self._waiting.extend(rows)
        self._write(len(self._waiting) - len(self._waiting) % self.array.chunks[0])

    def flush(self) -> None:
        """Write what waits, when nothing follows."""
        self._write(len(self._waiting))

    def _write(self, count: int) -> None:
        if count:
            self.array.append(np.stack(self._waiting[:count]))
            self._waiting = self._waiting[count:]
