"""A plan on paper for three large data sets: time, memory and storage of each stage.

Work is counted in floating-point operations by torch's own counter, on the shapes of the papers and
without computing anything; rates of this machine (one core) are measured; what a GPU machine does
is assumed, and printed with the table. Prints tables in Markdown.
"""

import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from functory.fields.siren import SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.gauss_newton import GaussNewton
from functory.metalearning.outer import MetaLearning, build_model, outer_loss
from functory.optimisation import Optimisation
from functory.signals import Signals
from functory.training import Step
from storage.files import file_digest

CORES, GPU, NETWORK, DISK = 16, 20e12, 1e9, 2e9
STEP_OVERHEAD = 0.010  # seconds: starts of kernels, and the sum of gradients over machines
PRIOR_STEPS, PRIOR_STEP = 200_000, 0.030  # 32 layers of about 200 kernels, both ways
PRICE = 3.0
ASSUMED = f"""Assumed of one machine: {CORES} cores like this one; a GPU that sustains
{GPU / 1e12:.0f} TFLOP/s in single precision (30 % of an H100's 67); {NETWORK / 1e9:.0f} GB/s from
the network, {DISK / 1e9:.0f} GB/s from the disk; {STEP_OVERHEAD * 1e3:.0f} ms a step for starting
kernels and summing gradients; {PRICE:.0f} dollars an hour."""


@dataclass(frozen=True)
class Data:
    """A data set, and the network and training that the papers give data of its kind."""

    name: str
    signals: int
    stored: int
    """Signals in files: of augmented shapes, only the originals."""
    raw: float
    """Bytes of a signal as it is downloaded."""
    kept: float
    """Bytes of a signal in the prepared signal set."""
    prepared: str
    """The rate that preparation has: `arrays` or `images`."""
    points: int
    inputs: int
    outputs: int
    network: SirenConfig
    batch: int
    drawn: int
    """Points of a training step, and of the second step of a fit."""
    steps: int
    fit_steps: int


# steps and batches: hyperparameters of functa (thesis, section 5.A), CelebA-HQ's for ImageNet
DATA = (
    Data(
        "ERA5 t2m, hourly, 0.25°",
        750_000, 750_000, 2.1e6, 2.1e6, "arrays",  # 16 bits a value in GRIB, as much in Zarr
        721 * 1440, 3, 1, SirenConfig(latents=256, width=512, depth=10), 16, 8192, 100_000, 1,
    ),
    Data(
        "ShapeNet, 50 copies, 64³",
        1_685_600, 33_712, 64**3 / 20, 64**3 / 20, "arrays",  # run lengths of voxels: 1/20 byte
        64**3, 3, 1, SirenConfig(latents=256, width=512, depth=15), 8, 8192, 1_000_000, 2,
    ),
    Data(
        "ImageNet, 64×64",
        1_281_167, 1_281_167, 1.1e5, 64 * 64 * 3, "images",
        64 * 64, 2, 3, SirenConfig(latents=512, width=512, depth=15), 256, 4096, 500_000, 1,
    ),
)  # fmt: skip


def flops(work: Callable[[], Any]) -> float:
    """Return the floating-point operations of some work on torch's meta device."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


@cache
def of_a_step(data: Data, batch: int) -> float:
    """Return the operations of one outer step, forwards and backwards."""
    optimisation = Optimisation(steps=1, batch=batch, rate=1e-3)
    config = MetaLearning(network=data.network, solver=GaussNewton(), optimisation=optimisation)
    model = build_model(data.inputs, data.outputs, config).to("meta")
    signals = blank(data, batch, data.drawn)
    loss = outer_loss(model, signals, config)
    return flops(lambda: loss(Step(0, torch.Generator())).backward())


def of_a_fit(data: Data) -> float:
    """Return the operations of fitting one more signal and measuring it at all of its points."""
    few = min(data.points, 4096)  # operations grow with the points
    first, all_steps = (one_more(data, few, steps) for steps in (1, data.fit_steps))
    return first * data.points / few + (all_steps - first) * data.drawn / few


def one_more(data: Data, points: int, steps: int) -> float:
    """Return the operations that a signal adds to a fit: the first Jacobian serves all."""
    config = MetaLearning(network=data.network, solver=GaussNewton())
    model = build_model(data.inputs, data.outputs, config).to("meta")

    def measure(part: Signals, values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mse": part.squared_error(values)}

    def of(count: int) -> float:
        signals = blank(data, count, points)
        return flops(lambda: fit(model.network, model.solver, signals, steps, measure))

    return (of(4) - of(2)) / 2


def blank(data: Data, count: int, points: int) -> Signals:
    return Signals(
        torch.empty(points, data.inputs, device="meta"),
        torch.empty(count, points, data.outputs, device="meta"),
    )


def measured() -> dict[str, float]:
    """Measure rates of one core: operations, bytes and images a second."""
    torch.set_num_threads(1)
    rates = {"FLOP/s": operations()}
    field = np.random.default_rng(0).normal(280, 10, (64, 721, 1440)).astype(np.float32).round(1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        zarr.create_array(folder, data=field, chunks=(1, 721, 1440))
        rates["arrays"] = field.nbytes / (time.process_time() - began)
        began = time.process_time()
        np.asarray(zarr.open_array(folder)[:])
        rates["read"] = field.nbytes / (time.process_time() - began)
        began = time.process_time()
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        for path in files:
            file_digest(path)
        total = sum(path.stat().st_size for path in files)
        rates["hash"] = total / (time.process_time() - began)
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    began = time.process_time()
    for _ in range(100):
        image = Image.open(buffer)
        image.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
    rates["images"] = 100 / (time.process_time() - began)
    return rates


def operations() -> float:
    """Return the operations a second of outer steps of the demo's size, on one core."""
    network = SirenConfig(latents=64, width=128, depth=6)
    config = MetaLearning(network=network, optimisation=Optimisation(steps=1, batch=16, rate=1e-3))
    model = build_model(3, 1, config)
    signals = Signals(torch.rand(1024, 3), torch.rand(16, 1024, 1))
    loss = outer_loss(model, signals, config)
    count = flops(lambda: loss(Step(0, torch.Generator())).backward())
    began = time.process_time()
    for number in range(10):
        loss(Step(number, torch.Generator())).backward()
    return 10 * count / (time.process_time() - began)


@dataclass(frozen=True)
class Stage:
    """What a stage needs: seconds on one machine and on sixteen, and what binds it."""

    name: str
    one: float
    sixteen: float
    binds: str


def stages(data: Data, rates: dict[str, float]) -> list[Stage]:
    """Return the stages of a path, in order."""
    raw, kept = data.stored * data.raw, data.stored * data.kept
    values = data.stored * data.points * data.outputs * 4.0  # as float32
    work = data.signals if data.prepared == "images" else values
    functaset = data.signals * data.network.latents * 4.0
    # one process publishes, with a thread for each core: raw files, the signal set, the functaset
    hashing = (raw + kept + functaset) / rates["hash"] / CORES
    fitting = data.signals * of_a_fit(data) / GPU
    reading = max(values / rates["read"] / CORES, kept / DISK)
    return [
        shared("acquire", network=raw / NETWORK),
        shared("prepare", cores=work / rates[data.prepared] / CORES, disk=kept / DISK),
        training(data, rates),
        shared("fit", GPU=fitting, cores=reading),
        Stage("publish", hashing, hashing, "hashing"),
        Stage("prior", PRIOR_STEPS * PRIOR_STEP, PRIOR_STEPS * PRIOR_STEP, "starts of kernels"),
    ]


def training(data: Data, rates: dict[str, float]) -> Stage:
    """Return meta-learning: each step reads its batch whole, and computes when it has read."""
    steps = []
    for machines in (1, 16):
        batch = max(1, data.batch // machines)
        read = batch * data.points * data.outputs * 4 / rates["read"] / min(batch, CORES)
        compute = of_a_step(data, batch) / GPU
        steps.append({"cores": read, "GPU": compute, "starts of kernels": STEP_OVERHEAD})
    binds = max(steps[0], key=lambda part: steps[0][part])
    one, sixteen = (data.steps * sum(parts.values()) for parts in steps)
    return Stage("metalearn", one, sixteen, binds)


def shared(name: str, **parts: float) -> Stage:
    """Return a stage whose work falls apart by signals: its slowest part binds it."""
    binds = max(parts, key=lambda part: parts[part])
    return Stage(name, parts[binds], parts[binds] / 16, binds)


def table(data: Data, rates: dict[str, float]) -> None:
    """Print the plan for a data set."""
    print(f"\n### {data.name}\n")
    print("| stage | one machine | sixteen | what binds | dollars (one) |")
    print("|---|---:|---:|---|---:|")
    found = stages(data, rates)
    for stage in found:
        cost = stage.one / 3600 * PRICE
        row = (
            stage.name,
            duration(stage.one),
            duration(stage.sixteen),
            stage.binds,
            f"{cost:,.0f}",
        )
        print(f"| {' | '.join(row)} |")
    one, sixteen = sum(s.one for s in found), sum(s.sixteen for s in found)
    print(f"| all | {duration(one)} | {duration(sixteen)} | | {one / 3600 * PRICE:,.0f} |")
    network = data.network
    activations = 3 * 4 * data.batch * data.drawn * network.width * network.depth
    normal = 8 * data.points * data.outputs * network.latents
    print(
        f"\n{data.signals:,} signals of {data.points:,} points; {network.latents} latents, "
        f"{network.depth} layers of {network.width}. Storage: raw "
        f"{size(data.stored * data.raw)}, signal set {size(data.stored * data.kept)}, functaset "
        f"{size(data.signals * network.latents * 4)}. Memory of the GPU: {size(activations)} for "
        f"the activations of a step, {size(normal)} for the projector of a fit."
    )


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} d"


def size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def main() -> None:
    rates = measured()
    print("Measured on one core here, CPU time:\n")
    print(f"- outer steps (6 layers of 128, 64 latents): {rates['FLOP/s'] / 1e9:.0f} GFLOP/s")
    for name, what in {"arrays": "Zarr written", "read": "Zarr read", "hash": "SHA-256"}.items():
        print(f"- {what}: {rates[name] / 1e6:,.0f} MB/s")
    print(f"- JPEG of 500×375 decoded and made 64×64: {rates['images']:,.0f} a second")
    print(f"\n{ASSUMED}")
    for data in DATA:
        table(data, rates)


if __name__ == "__main__":
    main()
