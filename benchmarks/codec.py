"""Codecs against those of others, and against principal components through the same coder.

  uk          hourly ERA5 fields: bits a field at equal RMSE
  canesm5     monthly fields of a climate model
  cifar10     small images: bits a pixel against PSNR; what the flow saves over histograms
  kodak       whole photographs, with the codec of `--with` (cifar10 has never seen them)
  librispeech speech: kbit/s against PSNR
  mri         a scan: bits a voxel against PSNR
  speed       encoding and decoding in MB/s with one thread and two, and memory

A codec that the store of the benchmark does not have is trained first; `--store` names it.
"""

import argparse
import io
import json
import math
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import torch
import xarray as xr
from published_rates import at_rate, published_curves
from rival_audio import audio
from rival_fields import fields, volume
from rival_images import images
from rivals import Point, at_rmse, rate_curve
from runs import newest, print_table, run_path, use_store

from functory.coding.container import Reader, sizes
from functory.coding.decoding import decode_dataset
from functory.coding.distillation import train_integer_model
from functory.coding.encoding import encode_dataset, single_threaded
from functory.coding.factorised import FactorisedModel
from functory.coding.quantisation import Quantisation, StepQuantiser, UniformQuantiser
from functory.coding.rounding import cheapest_symbols
from functory.fields.coordinates import Patches, Patchwork
from functory.fields.patches import cells_of
from functory.formats import read
from functory.signals import sample_dimension, signals_of, split_indices
from functory.sources.signal_sets import open_signals
from storage.codecs import codec_of
from storage.networks import read_network
from storage.versions import Store
from tasks.codec import CodecTraining, lattices, train_point
from tasks.null import null_model

DATA = Path("../shared/data")
RUNS = {"uk": "uk-temperature", "cifar10": "codec-cifar10"}


@dataclass(frozen=True)
class Coded:
    """A Dataset coded for real: bytes of the file's parts, what was decoded, and seconds."""

    sizes: Mapping[str, int]
    decoded: xr.Dataset
    encoding: float
    decoding: float


def through_file(dataset: xr.Dataset, name: str, quality: int | None, workers: int = 1) -> Coded:
    """Encode and decode a Dataset with a codec of the store."""
    codec, identity = codec_of(Store.default(), name)
    file = io.BytesIO()
    began = time.perf_counter()
    encode_dataset(dataset, file, codec, identity, quality, workers)
    encoded = time.perf_counter()
    file.seek(0)
    with single_threaded(), dask.config.set(scheduler="threads", num_workers=workers):
        decoded = decode_dataset(Reader(file), codec).load()
    finished = time.perf_counter()
    file.seek(0)
    return Coded(sizes(file), decoded, encoded - began, finished - encoded)


def trained(name: str, deployment: str) -> list[dict[str, Any]]:
    """Return the qualities of a codec, which is trained where the store does not have it."""
    if not Store.default().records("codecs", name):
        run_path(f"codec/{deployment}", {})
    return list(newest("codecs", name).summary["qualities"])


def components(name: str) -> list[dict[str, float]]:
    """Measure principal components through the same quantiser, rounding and coder."""
    record = newest("codecs", name)
    store, config = Store.default(), CodecTraining(**record.configuration)
    raw = open_signals(store.path(record.parents["signals"]))
    fitted = read_network(str(store.path(record.parents["network"]) / "network"))
    coordinates = fitted.coordinates
    if isinstance(coordinates, Patchwork):
        apart = Patches(size=coordinates.patches.size)
        coordinates = coordinates.model_copy(update={"patches": apart})
    null = null_model(raw, coordinates, fitted.network.config.latents)
    held_out = "validation" if "validation" in raw["split"].values else "test"
    splits, signals = {}, None
    for key, split in (("train", "train"), ("select", held_out), ("test", "test")):
        part = raw.isel({sample_dimension(raw): split_indices(raw, [split])})
        signals = signals_of(part, coordinates)
        phi = null.encode(signals) / math.sqrt(null.mean.numel())
        cells: tuple[int, ...] = ()
        if isinstance(coordinates, Patchwork):
            cells = cells_of([raw.sizes[axis] for axis in coordinates.axes], coordinates.patches)
        splits[key] = phi.reshape(part.sizes[sample_dimension(raw)], *cells, -1).numpy()
    assert signals is not None
    found = []
    for step in sorted(config.steps, reverse=True):
        quantiser = StepQuantiser.fit(splits["train"], step)
        point, _ = train_point(quantiser, splits, config)
        rounded = quantiser.dequantise(cheapest_symbols(splits["test"], quantiser, point.costs))
        values = torch.from_numpy(rounded).flatten(0, -2) * math.sqrt(null.mean.numel())
        mse = float(signals.squared_error(null.decode(values).view(signals.features.shape)).mean())
        own = math.sqrt(mse) * fitted.variables[0].scale
        found.append({**point.measured, "rmse": own, "psnr": -10 * math.log10(mse)})
    return found


def at(points: Sequence[Mapping[str, float]], target: float) -> float:
    """Interpolate the logarithm of bits in that of the RMSE; NaN beyond what was measured."""
    pairs = sorted((math.log(p["rmse"]), math.log(p["bits"])) for p in points)
    x, y = zip(*pairs, strict=True)
    where = math.log(target)
    return math.exp(float(np.interp(where, x, y, left=np.nan, right=np.nan)))


def print_qualities(title: str, found: Sequence[Mapping[str, Any]], values: int, unit: str) -> None:
    rows = [("step", "bits", "model", "per value", "saved by context", "PSNR", f"RMSE ({unit})")]
    for q in found:
        saved = 1 - q["integers"] / q["histogram"] if "integers" in q else math.nan
        rows.append(
            (
                f"{q.get('step', math.nan):g}",
                f"{q['bits']:.1f}",
                f"{q['model_bits']:.1f}",
                f"{q['bits'] / values:.4f}",
                f"{saved:.0%}",
                f"{q['psnr']:.2f}",
                f"{q['rmse']:.4g}",
            )
        )
    print_table(title, rows)


def climate(arguments: argparse.Namespace, targets: Sequence[float]) -> None:
    """Print bits a field at equal errors, for every codec."""
    name = arguments.codec or RUNS.get(arguments.part, arguments.part)
    found = trained(name, RUNS.get(arguments.part, arguments.part))
    record = newest("codecs", name)
    raw = open_signals(Store.default().path(record.parents["signals"]))
    tested = raw.isel(time=split_indices(raw, ["test"]))
    array = tested[record.summary["variables"][0]].transpose("time", "latitude", "longitude")
    print_qualities(f"{name}: bits a field of {array[0].size} values", found, array[0].size, "K")
    null = components(name)
    print_qualities("principal components, same coder", null, array[0].size, "K")
    rivals = fields(array.values.astype(np.float32), targets)
    rows = [("bits a field at RMSE", *(f"{t:g} K" for t in targets))]
    rows.append(("functions", *(f"{at(found, t):.0f}" for t in targets)))
    rows.append(("principal components", *(f"{at(null, t):.0f}" for t in targets)))
    for codec in sorted({p.codec for p in rivals}):
        for choice in ("", *sorted({p.choice for p in rivals if p.codec == codec})):
            some = [p for p in rivals if p.codec == codec and choice in ("", p.choice)]
            rows.append((f"{codec} {choice}".strip(), *(_bits(some, t) for t in targets)))
    print_table(f"{len(array)} later fields", rows)
    for number in range(1, len(found) + 1):
        _print_file(f"quality {number}", through_file(tested, name, number), array.nbytes)
    keep(arguments, {"functions": found, "components": null, "rivals": list(map(asdict, rivals))})


def _bits(points: Sequence[Point], target: float) -> str:
    try:
        return f"{at_rmse(points, target):.0f}"
    except ValueError:
        return "-"


def _print_file(title: str, coded: Coded, raw: int) -> None:
    parts = ", ".join(f"{k} {v:,}" for k, v in coded.sizes.items())
    print(f"{title}: {parts} bytes; {raw / coded.sizes['total']:.0f} times smaller than arrays")


def cifar10(arguments: argparse.Namespace) -> None:
    name = arguments.codec or RUNS["cifar10"]
    found = trained(name, "cifar10")
    raw = open_signals(Store.default().path(newest("codecs", name).parents["signals"]))
    pixels = raw.sizes["y"] * raw.sizes["x"]
    print_qualities(f"{name}: bits an image of {pixels} pixels", found, pixels, "1")
    null = components(name)
    print_qualities("principal components, same coder", null, pixels, "1")
    symbols_of_papers(name)
    tested = raw["image"].values[split_indices(raw, ["test"])][: arguments.images]
    rivals = images([np.rint(255 * image).astype(np.uint8) for image in tested])
    print_rates(rivals, pixels, "cifar10", [(q["bits"] / pixels, q["psnr"]) for q in found])
    keep(arguments, {"functions": found, "components": null, "rivals": list(map(asdict, rivals))})


def symbols_of_papers(name: str) -> None:
    """Print bits a modulation at COIN++'s 5 bits: shared and own histograms, flow and integers."""
    record = newest("codecs", name)
    functaset = Store.default().path(record.parents["functaset"])
    dataset = xr.open_zarr(functaset)
    split = dataset["split"].values
    modulation = dataset["modulation"].values
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(modulation.shape[-1],) * 2))[0]
    rows = [("gauge", "quantiser", "one histogram", "own histograms", "integers", "saved")]
    config = CodecTraining(**record.configuration)
    for gauge, turn in (("whitened", None), ("rotated at random", rotation.astype(np.float32))):
        phi = modulation if turn is None else modulation @ turn
        for label, own in (("per data set", False), ("per latent", True)):
            rows.append(_papers_row(gauge, label, own, phi, split, config))
    print_table("bits a modulation at 5 bits, test split", rows)


def _papers_row(
    gauge: str, label: str, own: bool, phi: np.ndarray, split: np.ndarray, config: CodecTraining
) -> tuple[str, ...]:
    latents = phi.shape[-1]
    flat = phi[split == "train"].reshape(-1, latents)
    quantiser = UniformQuantiser.fit(flat, Quantisation(bits=5, per_dimension=own))
    known, asked = (lattices(quantiser.quantise(phi[split == s]), False) for s in ("train", "test"))
    rates = [
        float(
            FactorisedModel.fit(known.reshape(-1, latents), 32, per_dimension)
            .bits(asked.reshape(-1, latents))
            .mean()
        )
        / latents
        for per_dimension in (False, True)
    ]
    model, _, _ = train_integer_model(known, asked, np.full(latents, 32), config.entropy)
    words = model.encode(asked.reshape(1, -1, *asked.shape[2:]))
    real = 32 * sum(map(len, words)) / asked.size
    return gauge, label, *(f"{r:.3f}" for r in (*rates, real)), f"{1 - real / rates[0]:.1%}"


def print_rates(
    rivals: Sequence[Point], samples: float, dataset: str, ours: Sequence[tuple[float, float]]
) -> None:
    """Print PSNR at the rates of our own points, of codecs run here and of published curves."""
    rows = [("codec", *(f"{rate:.3f}" for rate, _ in ours))]
    rows.append(("functions", *(f"{psnr:.2f}" for _, psnr in ours)))
    for codec in sorted({p.codec for p in rivals}):
        for headers in (True, False):
            curve = rate_curve([p for p in rivals if p.codec == codec], samples, headers)
            label = codec if headers else f"{codec}, payload alone"
            rows.append((label, *(_on(curve, rate) for rate, _ in ours)))
    for codec, curve in published_curves().get(dataset, {}).items():
        found = [at_rate(curve, rate) for rate, _ in ours]
        if not all(map(math.isnan, found)):
            rows.append((f"{codec}, published", *(f"{p:.2f}" for p in found)))
    print_table("PSNR (dB) at our rates (bits a pixel or voxel; kbit/s of sound)", rows)


def _on(curve: Sequence[tuple[float, float]], rate: float) -> str:
    x, y = zip(*sorted(curve), strict=True)
    return f"{np.interp(rate, x, y, left=np.nan, right=np.nan):.2f}"


def kodak(arguments: argparse.Namespace) -> None:
    name = arguments.codec or "photographs"
    found = trained(name, "photographs")
    paths = [DATA / f"images/kodak/kodim{number:02d}.png" for number in arguments.kodak]
    paths = [p for p in paths if p.exists()] or sorted((DATA / "images/kodak").glob("*.png"))
    ours = []
    pictures = [read(path).load() for path in paths]
    for number in range(1, len(found) + 1):
        rates, quality = [], []
        for picture in pictures:
            coded = through_file(picture, name, number)
            truth = picture["image"].values
            rounded = np.rint(coded.decoded["image"].values.clip(0, 1) * 255) / 255
            pixels = truth.shape[1] * truth.shape[2]
            rates.append(8 * coded.sizes["total"] / pixels)
            quality.append(-10 * math.log10(float(np.square(rounded - truth).mean())))
        ours.append((float(np.mean(rates)), float(np.mean(quality))))
        print(f"quality {number}: {ours[-1][0]:.4f} bits a pixel, {ours[-1][1]:.2f} dB", flush=True)
    bytes_of = [np.rint(255 * p["image"].values[0]).astype(np.uint8) for p in pictures]
    rivals = images(bytes_of)
    print_rates(rivals, bytes_of[0].shape[0] * bytes_of[0].shape[1], "kodak", ours)
    keep(arguments, {"functions": ours, "rivals": list(map(asdict, rivals))})


def librispeech(arguments: argparse.Namespace) -> None:
    found = trained(arguments.codec or "librispeech", "librispeech")
    name = arguments.codec or "librispeech"
    raw = open_signals(Store.default().path(newest("codecs", name).parents["signals"]))
    seconds = raw.sizes["t"] / raw.attrs["sample_rate"]
    print_qualities(f"{name}: bits a clip of {seconds:g} s", found, raw.sizes["t"], "1")
    null = components(name)
    print_qualities("principal components, same coder", null, raw.sizes["t"], "1")
    clips = raw["audio"].values[split_indices(raw, ["test"])].astype(np.float32)
    rivals = audio(list(clips))
    ours = [(q["bits"] / seconds / 1000, q["psnr"]) for q in found]
    print_rates(rivals, seconds * 1000, "librispeech", ours)
    keep(arguments, {"functions": found, "components": null, "rivals": list(map(asdict, rivals))})


def mri(arguments: argparse.Namespace) -> None:
    found = trained(arguments.codec or "mri", "mri")
    name = arguments.codec or "mri"
    raw = open_signals(Store.default().path(newest("codecs", name).parents["signals"]))
    voxels = math.prod(raw.sizes[axis] for axis in ("z", "y", "x"))
    print_qualities(f"{name}: bits a part of {voxels} voxels", found, voxels, "1")
    null = components(name)
    print_qualities("principal components, same coder", null, voxels, "1")
    tested = raw["volume"].values[split_indices(raw, ["test"])]
    stacked = np.concatenate(list(tested.astype(np.uint8)), axis=0)
    rivals = volume(stacked)
    ours = [(q["bits"] / voxels, q["psnr"]) for q in found]
    print_rates(rivals, stacked.size, "fastmri", ours)
    keep(arguments, {"functions": found, "components": null, "rivals": list(map(asdict, rivals))})


def speed(arguments: argparse.Namespace) -> None:
    name = arguments.codec or RUNS["uk"]
    trained(name, RUNS["uk"])
    raw = open_signals(Store.default().path(newest("codecs", name).parents["signals"]))
    rows = [("fields", "threads", "encoding MB/s", "decoding MB/s")]
    for workers in (1, 2, 1, 2):
        coded = through_file(raw, name, None, workers)
        size = raw[newest("codecs", name).summary["variables"][0]].nbytes / 1e6
        rates = (size / coded.encoding, size / coded.decoding)
        rows.append((f"{raw.sizes['time']}", f"{workers}", *(f"{r:.2f}" for r in rates)))
    print_table("wall-clock throughput, runs in turn", rows)
    rows = [("fields", "largest memory while encoding (MB)")]
    for times in (1, 4):
        longer = xr.concat([raw] * times, "time")
        tracemalloc.start()
        codec, identity = codec_of(Store.default(), name)
        encode_dataset(longer, io.BytesIO(), codec, identity, 1)
        rows.append((f"{longer.sizes['time']}", f"{tracemalloc.get_traced_memory()[1] / 1e6:.1f}"))
        tracemalloc.stop()
    print_table("memory of arrays", rows)


def keep(arguments: argparse.Namespace, results: Mapping[str, Any]) -> None:
    """Write results where they were asked for."""
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(results, indent=1))


PARTS = {
    "uk": lambda a: climate(a, (0.25, 0.5, 1.0)),
    "canesm5": lambda a: climate(a, (1.0, 1.5, 2.0)),
    "cifar10": cifar10,
    "kodak": kodak,
    "librispeech": librispeech,
    "mri": mri,
    "speed": speed,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("--codec", help="a codec of the store, other than the part's own")
    parser.add_argument("--images", type=int, default=100, help="images of CIFAR-10 for others")
    parser.add_argument("--kodak", type=int, nargs="*", default=[], help="numbers; all without")
    parser.add_argument("--output", help="a JSON file for what is measured")
    chosen = use_store(parser)
    PARTS[chosen.part](chosen)
