"""Batches of a functaset's modulations beside those of a plain .npy memory map, shuffled."""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import storage.accessor  # noqa: F401 — registers the accessor
from storage import torch_data
from storage.functaset import CHUNK

BATCH = 256


def write(folder: Path, samples: int, latents: int) -> None:
    """Write random modulations in both forms, as functasets are by default and uncompressed."""
    rng = np.random.default_rng(0)
    modulation = rng.normal(0, 0.3, (samples, latents)).astype(np.float32)
    np.save(folder / "plain.npy", modulation)
    split = np.where(np.arange(samples) < 0.9 * samples, "train", "test").astype(object)
    dataset = xr.Dataset(
        {
            "modulation": (("sample", "latent"), modulation),
            "psnr": ("sample", rng.normal(30, 2, samples)),
        },
        {"split": ("sample", split), "label": ("sample", rng.integers(0, 10, samples))},
    )
    for name, codecs in (("default", {}), ("uncompressed", {"compressors": None})):
        chunks = {"chunks": (CHUNK // latents, latents)}
        encoding = {"modulation": chunks | codecs}
        dataset.to_zarr(folder / name, zarr_format=3, consolidated=False, encoding=encoding)


def memory_map(path: Path) -> Callable[[], Iterator[torch.Tensor]]:
    """Open a memory map; return what makes an epoch of its batches, rows taken in random order."""
    rows = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(0)

    def epoch() -> Iterator[torch.Tensor]:
        order = rng.permutation(len(rows))
        for i in range(0, len(rows), BATCH):
            yield torch.from_numpy(rows[order[i : i + BATCH]])

    return epoch


def functaset(path: Path) -> Callable[[], Iterator[torch.Tensor]]:
    """Open a functaset; return what makes an epoch of its batches."""
    loader = xr.open_zarr(path, chunks=None, consolidated=False).functa.to_torch(BATCH)
    return lambda: iter(loader)


def measure(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the medians of wall and of CPU seconds."""
    spent = []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*spent, strict=True)
    return statistics.median(walls), statistics.median(cpus)


def consume(batches: Iterator[torch.Tensor]) -> None:
    for _ in batches:
        pass


def compare(folder: Path, size: float, epochs: int) -> None:
    """Print what an epoch takes, with opening and reading the files and without."""
    opened = {
        ".npy memory map": lambda: memory_map(folder / "plain.npy"),
        "functaset": lambda: functaset(folder / "default"),
        "functaset, uncompressed": lambda: functaset(folder / "uncompressed"),
    }
    for held in (torch_data.HELD, 0):
        torch_data.HELD = held
        print("held in memory" if held else "read in chunks")
        for name, begin in opened.items():
            consume(begin()())  # into the page cache
            first = measure(lambda begin=begin: consume(begin()()), epochs)
            epoch = begin()
            consume(epoch())
            later = measure(lambda epoch=epoch: consume(epoch()), epochs)
            for what, (wall, cpu) in (("opening + epoch", first), ("epoch", later)):
                print(
                    f"  {name:<24} {what:<16} {1000 * wall:>8.1f} {1000 * cpu:>8.1f} "
                    f"{size / wall / 1e9:>6.2f} {size / cpu / 1e9:>8.2f}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=30_000)
    parser.add_argument("--latents", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    size = 4 * arguments.samples * arguments.latents
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), arguments.samples, arguments.latents)
        for name in ("default", "uncompressed"):
            files = Path(folder, name, "modulation").rglob("*")
            stored = sum(file.stat().st_size for file in files if file.is_file())
            print(f"modulations {name}: {stored / 1e6:.1f} MB for {size / 1e6:.1f} MB of float32")
        print(f"{'':<43} {'wall ms':>8} {'CPU ms':>8} {'GB/s':>6} {'GB/CPU s':>8}")
        compare(Path(folder), size, arguments.epochs)


if __name__ == "__main__":
    main()
