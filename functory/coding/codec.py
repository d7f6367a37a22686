"""Codecs of functions: signals as rounded modulations of a network that both sides have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from functory.coding.inputs import as_signals
from functory.coding.integer_model import IntegerModel
from functory.coding.layout import Block, Layout
from functory.coding.quantisation import StepQuantiser
from functory.coding.rounding import cheapest_symbols
from functory.errors import InputError
from functory.fields.coordinates import Patchwork
from functory.fields.fitted_network import FittedNetwork
from functory.fields.patches import cells_of, decode_patches
from functory.metalearning.fitting import fit
from functory.metalearning.inner_loop import Solver
from functory.signals import sample_dimension, signals_of

__all__ = ["Codec", "OperatingPoint"]


@dataclass(frozen=True)
class OperatingPoint:
    """One quality: how modulations are rounded, what codes them, and how good that was.

    `costs`, (latents, levels), are the bits that rounding weighs against its error; `measured` is
    of the test signals of training: bits a signal, PSNR, RMSE in the data's units.
    """

    quantiser: StepQuantiser
    costs: NDArray[np.float64]
    model: IntegerModel
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Codec:
    """A network, its solver and entropy models: all that coding and decoding need.

    `qualities` go from coarse to fine. With `sequence`, the signals of a Dataset follow each other
    (in time), and each is coded by those before it; else they know nothing of each other.
    """

    fitted: FittedNetwork
    solver: Solver
    steps: int | None
    sequence: bool
    qualities: Sequence[OperatingPoint]

    def quality(self, number: int | None) -> OperatingPoint:
        """Return a quality by its number from 1, the finest where none is given."""
        number = len(self.qualities) if number is None else number
        if not 1 <= number <= len(self.qualities):
            raise InputError(
                f"There is no quality {number}: this codec has 1 (coarse) to "
                f"{len(self.qualities)} (fine)."
            )
        return self.qualities[number - 1]

    @cached_property
    def patchwork(self) -> Patchwork | None:
        """The patches of signals, where they are cut into any."""
        return self.fitted.coordinates if isinstance(self.fitted.coordinates, Patchwork) else None

    def layout(self, sizes: Mapping[str, int], sample: str) -> Layout:
        """Lay out the modulations of signals of some sizes in chunks.

        Raises
        ------
        InputError
            If there are no signals, or they have no points.
        """
        empty = [name for name in (sample, *self.fitted.coordinates.axes) if sizes.get(name) == 0]
        if empty:
            raise InputError(f"There is nothing along {empty[0]}, so that nothing can be coded.")
        cells: tuple[int, ...] = ()
        if self.patchwork is not None:
            shape = [sizes[axis] for axis in self.fitted.coordinates.axes]
            cells = cells_of(shape, self.patchwork.patches)
        return Layout.of(sizes.get(sample, 1), cells, self.sequence)

    def signals(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return the variables that the network knows, as signals that it can be fitted to.

        Raises
        ------
        InputError
            If a variable, an axis or a channel is missing, or in other units, or outside of where
            the network was trained.
        """
        return as_signals(dataset, self.fitted)

    def symbols(
        self, signals: xr.Dataset, block: Block, quality: OperatingPoint
    ) -> NDArray[np.int32]:
        """Fit and round a block of signals: (samples, cells along each axis, latents)."""
        phi = self.modulations(signals, block).numpy()
        return cheapest_symbols(phi, quality.quantiser, quality.costs)

    def modulations(self, signals: xr.Dataset, block: Block) -> Tensor:
        """Fit a block of signals: (samples, cells along each axis, latents)."""
        sample = sample_dimension(signals)
        part, inside = signals.isel({sample: block[0]}), tuple(slice(None) for _ in block)
        if self.patchwork is not None:
            part, inside = self._with_margin(part, block)
        features = signals_of(part, self.fitted.coordinates)
        phi, _ = fit(self.fitted.network, self.solver, features, self.steps)
        if self.patchwork is not None:
            shape = [part.sizes[axis] for axis in self.fitted.coordinates.axes]
            cells = cells_of(shape, self.patchwork.patches)
            phi = phi.view(part.sizes[sample], *cells, -1)
        return phi[inside]

    def _with_margin(self, signals: xr.Dataset, block: Block) -> tuple[xr.Dataset, Block]:
        """Select the cells of a block and, where windows reach into them, their neighbours."""
        assert self.patchwork is not None
        patches = self.patchwork.patches
        reach = 1 if patches.overlap else 0
        chosen, inside = {}, [slice(None)]
        for axis, cells in zip(self.patchwork.axes, block[1:], strict=True):
            start = max(0, cells.start - reach)
            chosen[axis] = slice(start * patches.size, (cells.stop + reach) * patches.size)
            inside.append(slice(cells.start - start, cells.stop - start))
        return signals.isel(chosen), tuple(inside)

    def encode(self, symbols: Sequence[NDArray[np.int32]], quality: OperatingPoint) -> list[bytes]:
        """Code the symbols of chunks of one shape."""
        words = quality.model.encode(np.stack([self._lattice(s) for s in symbols]))
        return [w.astype("<u4").tobytes() for w in words]

    def decode(
        self,
        chunks: Sequence[bytes],
        shape: tuple[int, ...],
        quality: OperatingPoint,
        latents: int | None = None,
    ) -> NDArray[np.float32]:
        """Decode chunks of one shape: their modulations, (chunks, samples, cells, latents).

        Where only so many `latents` are asked for, the others are zero.
        """
        if any(len(chunk) % 4 for chunk in chunks):
            raise InputError("a chunk is no whole number of words: the file is damaged.")
        words = [np.frombuffer(chunk, dtype="<u4").astype(np.uint32) for chunk in chunks]
        # a run of signals is one signal with an axis more of cells
        signals, cells = (1, shape) if self.sequence else (shape[0], shape[1:])
        symbols = quality.model.decode(words, signals, cells, latents)
        phi = quality.quantiser.dequantise(symbols)
        if latents is not None:
            phi[..., latents:] = 0
        return phi.reshape(len(chunks), *shape, -1)

    def _lattice(self, symbols: NDArray[np.int32]) -> NDArray[np.int32]:
        """Shape a chunk's symbols as (signals, cells…, latents): a run is one signal of cells."""
        return symbols[None] if self.sequence else symbols

    def evaluate(
        self,
        phi: Tensor,
        at: Mapping[str, NDArray[np.float64]],
        first: Sequence[int] = (),
    ) -> Tensor:
        """Evaluate functions on a grid: (samples, points, outputs), normalised.

        Of patches, `phi` has cells from the `first` along each axis on, and `at` says how many grid
        points a place is behind the first edge of all cells; else it says coordinates.
        """
        if self.patchwork is None:
            return self.fitted.decode(phi, at)
        patches = self.patchwork.patches
        units = [
            at[axis] / patches.size - cell
            for axis, cell in zip(self.patchwork.axes, first, strict=True)
        ]
        return decode_patches(self.fitted.network, phi, units, patches)
