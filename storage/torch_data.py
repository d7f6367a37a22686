"""Modulations as ready-made torch batches: held in memory, or read in shuffled chunks."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from functory.errors import InputError
from storage.functaset import CHUNK

__all__ = ["Batch", "BatchLoader", "ModulationBatches"]

HELD = 2**30  # bytes of modulations that are held in memory, and…
POOL = 2**28  # … where there are more, bytes that are read and shuffled together

Batch = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


class BatchLoader(DataLoader[Batch]):
    """A DataLoader of ready-made batches: iterating it is one epoch."""

    def __init__(self, batches: "ModulationBatches") -> None:
        super().__init__(batches, batch_size=None)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield the batches of the next epoch.

        Directly: the way through collation, of which ready-made batches need none, takes a third of
        the time of a batch again, and draws from torch's global random state.
        """
        return iter(self.dataset)


class ModulationBatches(IterableDataset[Batch]):
    """Batches of the modulations of a Dataset, in another order in every epoch.

    Parameters
    ----------
    dataset
        Has `modulation`, with the samples along its first dimension.
    batch
        Samples of a batch.
    shuffle
        Whether in random order, drawn from `seed` and the number of the epoch.
    label
        A coordinate along the samples that makes batches pairs. Strings become the positions of
        their classes, sorted, among those of the Dataset; floats become float32, other numbers
        int64.
    drop_last
        Whether to leave out the last batch where it is smaller.

    Raises
    ------
    InputError
        If there are no samples, or no such label.
    """

    def __init__(
        self,
        dataset: xr.Dataset,
        batch: int = 256,
        *,
        shuffle: bool = True,
        seed: int = 0,
        label: str | None = None,
        drop_last: bool = False,
    ) -> None:
        self._modulation = _modulation(dataset)
        if batch < 1:
            raise InputError(f"A batch of {batch} samples is none: give 1 or more.")
        self._labels = None if label is None else _labels(dataset, label)
        self._samples = len(self._modulation)
        self._batch = batch
        self._shuffle = shuffle
        self._seed = seed
        self._drop_last = drop_last
        self._epochs = 0
        self._held = self._read(slice(None)) if 4 * self._modulation.size <= HELD else None

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        whole, rest = divmod(self._samples, self._batch)
        return whole + (rest > 0 and not self._drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch."""
        rng = np.random.default_rng([self._seed, self._epochs])
        self._epochs += 1
        rest = None
        for pool in self._pools(rng):
            # what is less than a batch waits for the next pool
            values, samples = pool if rest is None else _joined(rest, pool)
            order = rng.permutation(len(samples)) if self._shuffle else np.arange(len(samples))
            end = len(order) - len(order) % self._batch
            for i in range(0, end, self._batch):
                rows = order[i : i + self._batch]
                yield self._tensors(values.take(rows, axis=0), samples[rows])
            rest = (values[order[end:]], samples[order[end:]]) if end < len(order) else None
        if rest is not None and not self._drop_last:
            yield self._tensors(*rest)

    def _pools(self, rng: np.random.Generator) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield modulations to be shuffled together, and which samples they are of."""
        if self._held is not None:
            yield self._held, np.arange(self._samples)
            return
        rows = _chunk(self._modulation)
        starts = np.arange(0, self._samples, rows)
        if self._shuffle:
            rng.shuffle(starts)
        shape = self._modulation.shape[1:]
        chunks = max(1, POOL // (4 * rows * math.prod(shape)))
        # One for all pools, as fresh memory costs as much as copying; batches are copies anyway.
        values = np.empty((min(chunks * rows, self._samples), *shape), np.float32)
        for i in range(0, len(starts), chunks):
            spans = [slice(s, min(s + rows, self._samples)) for s in starts[i : i + chunks]]
            samples = np.concatenate([np.arange(span.start, span.stop) for span in spans])
            filled = 0
            for span in spans:
                end = filled + span.stop - span.start
                values[filled:end] = self._read(span)
                filled = end
            yield values[:filled], samples

    def _read(self, span: slice) -> NDArray:
        return np.asarray(self._modulation[span].values, dtype=np.float32)

    def _tensors(self, values: NDArray, samples: NDArray) -> Batch:
        modulations = torch.from_numpy(values)
        if self._labels is None:
            return modulations
        return modulations, torch.from_numpy(self._labels[samples])


def _joined(*pools: tuple[NDArray, NDArray]) -> tuple[NDArray, NDArray]:
    values, samples = zip(*pools, strict=True)
    return np.concatenate(values), np.concatenate(samples)


def _modulation(dataset: xr.Dataset) -> xr.Variable:
    if "modulation" not in dataset:
        raise InputError("The Dataset has no 'modulation': open a functaset, or a selection of it.")
    variable = dataset["modulation"].variable
    if variable.dims[0] in ("row", "column", "latent"):
        raise InputError("The modulation of a single sample makes no batches: select several.")
    if variable.size == 0:
        raise InputError("The Dataset has no samples: check what was selected.")
    return variable


def _chunk(variable: xr.Variable) -> int:
    """Return how many samples are stored together, and so best read at once."""
    if variable.chunks is not None:
        return max(variable.chunks[0])
    chunks: Any = variable.encoding.get("chunks")
    return chunks[0] if chunks else max(1, CHUNK // math.prod(variable.shape[1:]))


def _labels(dataset: xr.Dataset, name: str) -> NDArray:
    along = dataset["modulation"].dims[:1]
    if name not in dataset.variables or dataset[name].dims != along:
        there = [str(key) for key in dataset.variables if dataset[key].dims == along]
        raise InputError(
            f"The samples have no label '{name}': choose one of {', '.join(there) or 'none'}."
        )
    values = dataset[name].values
    if values.dtype.kind in "OSUT":
        return np.unique(values.astype(object).astype(str), return_inverse=True)[1]
    if values.dtype.kind not in "biuf":
        raise InputError(f"'{name}' is of {values.dtype}, but labels are strings or numbers.")
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64)
