"""Datasets into coded files, chunk by chunk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

import torch
import xarray as xr

from functory.coding.codec import Codec
from functory.coding.container import Writer
from functory.coding.description import describe
from functory.coding.header import Header, Identity
from functory.progress import progress
from functory.signals import sample_dimension

__all__ = ["encode_dataset", "single_threaded"]


def encode_dataset(
    dataset: xr.Dataset,
    file: BinaryIO,
    codec: Codec,
    identity: Identity,
    quality: int | None = None,
    workers: int = 1,
) -> list[str]:
    """Code the signals of a Dataset; memory does not grow with their number.

    Returns
    -------
    list
        What of the Dataset's attributes cannot be kept, a sentence each.
    """
    signals, point = codec.signals(dataset), codec.quality(quality)
    sizes = {str(name): size for name, size in signals.sizes.items()}
    layout = codec.layout(sizes, sample_dimension(signals))
    names = [v.name for v in codec.fitted.variables]
    description, arrays, lost = describe(dataset, names)
    number = codec.qualities.index(point) + 1
    header = Header(
        identity=identity,
        chunks=len(layout),
        settings={"quality": number},
        dataset=description,
    )

    def encode(chunk: int) -> bytes:
        symbols = codec.symbols(signals, layout.block(chunk), point)
        return codec.encode([symbols], point)[0]

    with (
        Writer(file, header, arrays) as writer,
        single_threaded(),
        ThreadPoolExecutor(workers) as pool,
        progress(len(layout), "encoding", "chunk") as bar,
    ):
        for start in range(0, len(layout), 4 * workers):
            for chunk in pool.map(encode, range(start, min(start + 4 * workers, len(layout)))):
                writer.write(chunk)
                bar.update()
    return lost


@contextmanager
def single_threaded() -> Iterator[None]:
    """Give every block one thread, so that its bits do not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
