"""Coded files into Datasets: whole or in part, on their own grid or any other, lazily."""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from functory.coding.codec import Codec
from functory.coding.container import Reader
from functory.coding.description import coordinates, restore
from functory.coding.layout import Block
from functory.errors import InputError
from functory.fields.fitted_network import Variable
from functory.fields.grids import places
from functory.signals import CHANNEL

__all__ = ["decode_dataset", "native_grid"]

Grid = Mapping[str, NDArray[np.float64]]

TOGETHER = 32  # chunks that are decoded side by side: each step of one costs as much as of all
KEPT = 4 * TOGETHER  # decoded chunks that are held, for blocks that share them
VALUES = 2**22  # of a block of decoded signals: 16 MB


def decode_dataset(
    reader: Reader,
    codec: Codec,
    at: Grid | None = None,
    samples: slice = slice(None),
    latents: int | None = None,
) -> xr.Dataset:
    """Return the signals of a coded file, each block of which is decoded when it is read.

    Parameters
    ----------
    at
        Coordinates to evaluate at, for axes on which they are other than in the file.
    samples
        Which signals, by position.
    latents
        How many of the leading modulations to decode, all where none is given.
    """
    return _Decoder(reader, codec, latents).dataset(at or {}, samples)


def native_grid(reader: Reader, codec: Codec) -> dict[str, NDArray[np.float64]]:
    """Return the coordinates of a coded file along the axes of its signals."""
    description = reader.header.dataset
    known = coordinates(description, reader.arrays)
    grid = {}
    for axis in codec.fitted.coordinates.axes:
        if axis in known:
            grid[axis] = np.asarray(known[axis].values, dtype=np.float64)
        elif axis in description.sizes:
            grid[axis] = np.arange(description.sizes[axis], dtype=np.float64)
        else:
            raise InputError(f"the coded file has no axis {axis}: it is damaged.")
    return grid


class _Decoder:
    """A coded file with its codec, and the modulations that were decoded last."""

    def __init__(self, reader: Reader, codec: Codec, latents: int | None) -> None:
        self.reader, self.codec, self.latents = reader, codec, latents
        self.lock, self.decoded = threading.Lock(), OrderedDict[int, NDArray[np.float32]]()
        self.wanted: list[int] = []
        header = reader.header
        number = header.settings.get("quality")
        if not isinstance(number, int):
            raise InputError("the coded file does not say its quality: it is damaged.")
        self.point = codec.quality(number)
        self.grid = native_grid(reader, codec)
        self.sizes = header.dataset.sizes
        self.sample = str(header.dataset.attributes.get("sample_dimension", "sample"))
        self.layout = codec.layout(self.sizes, self.sample)
        if len(self.layout) != header.chunks:
            raise InputError(
                f"the coded file has {header.chunks} chunks, but what it says to hold needs "
                f"{len(self.layout)}: it is damaged, or was coded with another codec."
            )

    def dataset(self, at: Grid, samples: slice) -> xr.Dataset:
        """Return a Dataset of the file's own form with lazy values on a grid."""
        header, arrays = self.reader.header, self.reader.arrays
        names = [v.name for v in self.codec.fitted.variables]
        if set(names) != {n for n, v in header.dataset.variables.items() if v.values is None}:
            raise InputError("the coded file is of other variables than its codec: it is damaged.")
        for variable in self.codec.fitted.variables:
            self._check(variable)
        empty = {
            name: da.empty(header.dataset.shape(header.dataset.variables[name]), np.float32)
            for name in names
        }
        form = restore(header.dataset, arrays, empty)
        if self.sample in form.dims:
            form = form.isel({self.sample: samples})
        values = self._values(self.grid | dict(at), samples)
        signals = {name: self._signal(name, form[name], values) for name in names}
        for axis, changed in at.items():
            attributes = form[axis].attrs
            along = [name for name, v in form.variables.items() if axis in v.dims]
            form = form.drop_vars(along).assign_coords({axis: (axis, changed, attributes)})
        ordered = {n: signals.get(str(n), form.get(n)) for n in header.dataset.variables}
        data = {n: v for n, v in ordered.items() if n in names or n in form.data_vars}
        return form.drop_vars([n for n in names if n in form]).assign(data)

    def _check(self, variable: Variable) -> None:
        """Refuse a variable that is not as the codec's."""
        stored = self.reader.header.dataset.variables[variable.name]
        channels = len(variable.channels)
        expected = {*self.codec.fitted.coordinates.axes, *([CHANNEL] if channels else [])}
        if set(stored.dims) - {self.sample} != expected or (
            channels and self.sizes[CHANNEL] != channels
        ):
            raise InputError(
                f"the coded file holds {variable.name} in other dimensions than its codec: it is "
                "damaged."
            )

    def _signal(self, name: str, form: xr.DataArray, values: da.Array) -> xr.Variable:
        """Return a variable in its own units, with its dimensions in their order."""
        fitted = self.codec.fitted
        variable = next(v for v in fitted.variables if v.name == name)
        found = values[..., fitted.outputs_of(variable)]
        found = found * np.float32(variable.scale) + np.float32(variable.offset)
        dims = [self.sample, *fitted.coordinates.axes, CHANNEL]
        array = xr.Variable(dims, found, form.attrs, form.encoding)
        if not variable.channels:
            array = array.isel({CHANNEL: 0})
        if self.sample not in form.dims:
            array = array.isel({self.sample: 0})
        return array.transpose(*form.dims)

    def _values(self, grid: Grid, samples: slice) -> da.Array:
        """Return lazy normalised values, (samples, …, outputs), in blocks that fit the chunks."""
        where = grid
        if self.codec.patchwork is not None:
            axes = {axis.name: axis for axis in self.codec.patchwork.box}
            where = {
                name: places(self.grid[name], axes[name].wrap(at)) + 0.5
                for name, at in grid.items()
            }
        points = math.prod(len(at) for at in where.values())
        first, last, _ = samples.indices(self.layout.shape[0])
        if last <= first:
            raise InputError(f"There are {self.layout.shape[0]} signals: none was asked for.")
        cuts = [self._cut_samples(first, last, points)]
        cuts += [self._cut_axis(axis, at) for axis, at in where.items()]
        self.wanted = sorted(
            {c for part in product(*cuts) for c in self.layout.covering(self._block(where, part))}
        )
        return _assembled(partial(self._evaluate, where), cuts, self.codec.fitted.network.outputs)

    def _cut_samples(self, first: int, last: int, points: int) -> list[slice]:
        """Cut samples where chunks end, into blocks that memory holds easily."""
        if self.codec.patchwork is not None:  # a block is of one tile
            points = math.prod(self.layout.chunk[1:]) * self.codec.patchwork.patches.size ** len(
                self.layout.chunk[1:]
            )
        size = self.layout.chunk[0]
        step = size * max(1, min(TOGETHER, VALUES // (points * size)))
        edges = sorted({first, *range(first // step * step, last, step), last})
        return [slice(a, b) for a, b in pairwise(edges) if a >= first]

    def _cut_axis(self, axis: str, at: NDArray[np.float64]) -> list[slice]:
        """Cut an axis where the tile ends that its points lie in."""
        if self.codec.patchwork is None:
            return [slice(0, len(at))]
        position = 1 + self.codec.patchwork.axes.index(axis)
        side = self.layout.chunk[position] * self.codec.patchwork.patches.size
        tiles = np.clip(at // side, 0, math.ceil(self.sizes[axis] / side) - 1)
        edges = [0, *(np.flatnonzero(np.diff(tiles)) + 1).tolist(), len(at)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _block(self, where: Grid, part: Sequence[slice]) -> Block:
        """Return the samples and cells that a part of the result is made of."""
        patchwork = self.codec.patchwork
        if patchwork is None:
            return (part[0],)
        cells = []
        for at, some, count in zip(where.values(), part[1:], self.layout.shape[1:], strict=True):
            unit = np.clip(at[some] / patchwork.patches.size, 0, count - 1e-9)
            reach = 1 if patchwork.patches.overlap else 0
            start = max(0, int(unit.min()) - reach)
            cells.append(slice(start, min(count, int(unit.max()) + 1 + reach)))
        return (part[0], *cells)

    @torch.no_grad()
    def _evaluate(self, where: Grid, part: Sequence[slice]) -> NDArray[np.float32]:
        block = self._block(where, part)
        phi = torch.from_numpy(self._modulations(block))
        at = {axis: v[some] for (axis, v), some in zip(where.items(), part[1:], strict=True)}
        values = self.codec.evaluate(phi, at, [s.start for s in block[1:]])
        return values.numpy().reshape(len(phi), *(len(v) for v in at.values()), -1)

    def _modulations(self, block: Block) -> NDArray[np.float32]:
        """Return the modulations of a block, (samples, cells along each axis, latents)."""
        latents = self.codec.fitted.network.config.latents
        found = np.empty((*(s.stop - s.start for s in block), latents), np.float32)
        for chunk in self.layout.covering(block):
            place = self.layout.block(chunk)
            found[_part(block, place)] = self._chunk(chunk)[_part(place, block)]
        return found

    def _chunk(self, chunk: int) -> NDArray[np.float32]:
        """Return the modulations of a chunk; others that will be wanted are decoded with it."""
        with self.lock:
            if chunk not in self.decoded:
                ahead = self.wanted[self.wanted.index(chunk) :][: 4 * TOGETHER]
                shape, group = next(iter(self.layout.alike(ahead).items()))
                group = group[:TOGETHER]
                coded = [content for _, content in self.reader.chunks(group)]
                parts = self.codec.decode(coded, shape, self.point, self.latents)
                self.decoded.update(zip(group, parts, strict=True))
                while len(self.decoded) > KEPT:
                    self.decoded.popitem(last=False)
            return self.decoded[chunk]


def _part(block: Block, other: Block) -> Block:
    """Return where in a block another overlaps it."""
    return tuple(
        slice(max(o.start - b.start, 0), min(o.stop, b.stop) - b.start)
        for b, o in zip(block, other, strict=True)
    )


def _assembled(evaluate: Any, cuts: Sequence[Sequence[slice]], outputs: int) -> da.Array:
    """Lay lazy blocks beside each other, along every axis that is cut."""

    def lay(done: tuple[slice, ...]) -> da.Array:
        if len(done) == len(cuts):
            shape = (*(s.stop - s.start for s in done), outputs)
            return da.from_delayed(dask.delayed(evaluate, pure=False)(done), shape, np.float32)
        return da.concatenate([lay((*done, part)) for part in cuts[len(done)]], axis=len(done))

    return lay(())
