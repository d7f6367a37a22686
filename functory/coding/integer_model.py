"""The entropy model that codes: an integer network's frequencies and an ANS coder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import constriction
import numpy as np
from numpy.typing import ArrayLike, NDArray

from functory.coding.context import lattice, neighbours, waves
from functory.coding.integer_network import (
    INPUT_BITS,
    TOTAL,
    Array,
    IntegerNetwork,
    MixtureTables,
    Unfolding,
    counts,
)
from functory.coding.integer_storage import pack, unpack
from functory.coding.quantisation import as_indices
from functory.errors import InputError

__all__ = ["IntegerModel", "as_symbols"]

ROWS = 1024  # vectors evaluated at once: what bounds memory
Coder = Any  # constriction's AnsCoder, which has no annotations
CATEGORICAL = constriction.stream.model.Categorical(perfect=False)


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """Frequencies of each symbol given those before it, and the streams that they make.

    Symbols are int32 of shape (chunks, signals, *cells, latents). Each chunk is a stream of its
    own and can be decoded alone; its signals are independent of each other.

    References
    ----------
    Dupont's thesis, section 6.4.2, proposes the flow that the network was distilled from; Ballé
    et al. (2019), "Integer networks for data compression with latent-variable models".
    """

    network: IntegerNetwork
    tables: MixtureTables

    @property
    def axes(self) -> int:
        """Axes of the lattice of cells."""
        return self.network.axes

    @property
    def latents(self) -> int:
        """Number of latents of a cell."""
        return self.network.latents

    @property
    def levels(self) -> NDArray[np.int32]:
        """Size of each latent's alphabet, (latents,)."""
        return self.network.levels.astype(np.int32)

    def bits(self, symbols: ArrayLike) -> NDArray[np.float64]:
        """Return the code length of each cell (chunks, signals, *cells), in bits."""
        values = self._checked(symbols)
        low, high = self._intervals(values.reshape(-1, *values.shape[2:]))
        return (np.log2(TOTAL) - np.log2(high - low)).sum(axis=-1).reshape(values.shape[:-1])

    def encode(self, symbols: ArrayLike) -> list[NDArray[np.uint32]]:
        """Compress each chunk into words.

        The words carry no check sum and no length: the file around them does. Write them
        little-endian (``<u4``).
        """
        return [self._encode_chunk(chunk) for chunk in self._checked(symbols)]

    def decode(
        self,
        words: Sequence[ArrayLike],
        signals: int,
        cells: tuple[int, ...] = (),
        latents: int | None = None,
    ) -> NDArray[np.int32]:
        """Return the symbols (chunks, signals, *cells, latents) that `encode` was given.

        Any words take the same time, and memory in proportion to the shape. With `latents` only
        so many leading ones are given back and the others are at their mean. That saves work
        where there is no lattice; else all are decoded, since a context has all latents.

        Raises
        ------
        InputError
            Where the words do not end with the last symbol, as most damage makes them; the rest
            shows only as other symbols.
        """
        if len(cells) != self.axes or min(cells, default=1) < 1:
            raise InputError(
                f"the entropy model codes lattices of {self.axes} axes, but {cells} is asked for: "
                f"use the model that the data were coded with."
            )
        leading = self.latents if latents is None or self.axes else latents
        group = max(1, ROWS // max(1, signals * max(len(wave) for wave in waves(cells))))
        symbols = np.empty((len(words), signals, *cells, self.latents), np.int32)
        for at in range(0, len(words), group):
            coders = [_coder(chunk, at + i) for i, chunk in enumerate(words[at : at + group])]
            chunks = self._decode_chunks(coders, signals, cells, leading)
            symbols[at : at + group] = chunks.reshape(len(coders), *symbols.shape[1:])
            if leading == self.latents:
                _require_empty(coders, at)
        if latents is not None:
            symbols[..., latents:] = self.network.middle[latents:]
        return symbols

    def _encode_chunk(self, symbols: NDArray[np.int32]) -> NDArray[np.uint32]:
        low, high = self._intervals(symbols)
        coded = self.levels > 1
        order = [
            np.moveaxis(ends[(slice(None), *wave.T)], -1, 0)[coded].ravel()
            for ends in (low, high)
            for wave in waves(symbols.shape[1:-1])
        ]
        half = len(order) // 2
        low, high = np.concatenate(order[:half]), np.concatenate(order[half:])
        # the coder only needs the ends of a symbol's own interval: three frequencies, each of at
        # least 1, stand for the whole table
        width, above = high - low, TOTAL - high
        first, last = low == 0, above == 0
        table = np.stack([low, width, above], axis=1)
        table[first] = np.stack([width, above - 1, np.ones_like(width)], axis=1)[first]
        table[last] = np.stack([np.ones_like(width), low - 1, width], axis=1)[last]
        index = np.where(first, 0, np.where(last, 2, 1)).astype(np.int32)
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(index, CATEGORICAL, table - 1)
        return coder.get_compressed()

    def _intervals(self, symbols: NDArray[np.int32]) -> tuple[Array, Array]:
        """Return the ends of the intervals of frequencies of symbols (signals, *cells, latents)."""
        values = self.network.standardise(symbols)
        low, high = np.empty(symbols.shape), np.empty(symbols.shape)
        for some, positions in _batches(len(symbols), symbols.shape[1:-1]):
            at = (some, *positions.T)
            context = neighbours(values[some], positions, one=2**INPUT_BITS)
            known = values[at].reshape(-1, self.latents)
            outputs = self.network(known, context.reshape(len(known), -1))
            edges = symbols[at].reshape(*known.shape, 1) + np.array([0.0, 1.0])
            ends = counts(self.tables, edges, outputs, self.network.levels)
            low[at], high[at] = np.moveaxis(ends, -1, 0).reshape(2, *low[at].shape)
        return low, high

    def _decode_chunks(
        self, coders: list[Coder], signals: int, cells: tuple[int, ...], leading: int
    ) -> NDArray[np.int32]:
        """Return symbols (chunks · signals, *cells, latents), all chunks side by side."""
        shape = (len(coders) * signals, *cells, self.latents)
        symbols, values = np.zeros(shape, np.int32), np.zeros(shape)
        for wave in waves(cells):
            at = (slice(None), *wave.T)
            context = neighbours(values, wave, one=2**INPUT_BITS)
            vectors = context.reshape(len(context) * len(wave), context.shape[-1])
            found = self._decode_cells(coders, vectors, leading)
            symbols[at] = found.reshape(symbols[at].shape)
            values[at] = self.network.standardise(symbols[at])
        return symbols

    def _decode_cells(self, coders: list[Coder], context: Array, leading: int) -> NDArray[np.int32]:
        """Return symbols (vectors, latents) of one wave; the vectors are split among the coders."""
        unfolding = Unfolding(self.network, context)
        symbols = np.zeros((len(context), self.latents), np.int32)
        for latent, levels in enumerate(self.levels[:leading]):
            outputs = unfolding.next(latent)
            if levels > 1:
                edges = np.arange(levels + 1.0)
                tables = np.diff(counts(self.tables, edges, outputs, np.array(float(levels)))) - 1
                parts = zip(coders, np.split(tables, len(coders)), strict=True)
                symbols[:, latent] = np.concatenate([c.decode(CATEGORICAL, t) for c, t in parts])
            unfolding.learn(latent, self.network.standardise(symbols[:, latent], latent))
        return symbols

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that the model is: small integer arrays, to be stored and read back."""
        return pack(self.network, self.tables)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read back what `arrays` gave, or raise InputError where it is not that."""
        return cls(*unpack(arrays))

    @property
    def size(self) -> int:
        """Bits of all arrays."""
        return sum(8 * array.nbytes for array in self.arrays().values())

    def _checked(self, symbols: ArrayLike) -> NDArray[np.int32]:
        values = as_symbols(symbols, self.levels)
        if values.ndim != 3 + self.axes or min(values.shape[2:-1], default=1) < 1:
            raise InputError(
                f"the entropy model codes lattices of {self.axes} axes, but the symbols have shape "
                f"{values.shape}: bring them to (chunks, signals, cells along each axis, latents)."
            )
        return values


def as_symbols(symbols: ArrayLike, levels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return symbols (chunks, signals, *cells, latents) as int32, each within its alphabet."""
    values = as_indices(symbols, int(levels.max()))
    if values.ndim < 3 or values.shape[-1] != len(levels):
        raise InputError(
            f"the symbols have shape {values.shape}, but an entropy model of {len(levels)} latents "
            f"needs (chunks, signals, cells along each axis, {len(levels)}): use the quantiser "
            f"that it belongs to."
        )
    beyond = np.argwhere(values >= levels)
    if len(beyond):
        where = tuple(int(i) for i in beyond[0])
        raise InputError(
            f"symbol {values[where]} at {where} is outside 0..{levels[where[-1]] - 1}: it was made "
            f"by another quantiser, or the data are damaged."
        )
    return values


def _batches(signals: int, cells: tuple[int, ...]) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Yield signals and positions that are about ROWS vectors together."""
    positions = lattice(cells)
    together = max(1, ROWS // max(1, len(positions)))
    for signal in range(0, signals, together):
        for position in range(0, len(positions), ROWS):
            yield slice(signal, signal + together), positions[position : position + ROWS]


def _coder(words: ArrayLike, chunk: int) -> Coder:
    words = np.asarray(words, dtype=np.uint32)
    if words.size and words[-1] == 0:
        raise InputError(f"the words of chunk {chunk} end in a zero word: the data are damaged.")
    return constriction.stream.stack.AnsCoder(words)


def _require_empty(coders: list[Coder], first: int) -> None:
    for chunk, coder in enumerate(coders, start=first):
        if not coder.is_empty():
            raise InputError(
                f"the words of chunk {chunk} do not end with its last symbol: the data are "
                f"damaged, or were coded with another entropy model."
            )
