"""Codec: what rounds and codes the modulations of a network, at several qualities."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from functory.coding.codec import Codec, OperatingPoint
from functory.coding.distillation import IntegerTraining, train_integer_model
from functory.coding.integer_model import IntegerModel
from functory.coding.layout import Layout
from functory.coding.quantisation import StepQuantiser
from functory.coding.rounding import cheapest_symbols, marginal_bits
from functory.configuration import Config
from functory.fields.fitted_network import FittedNetwork
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.quality import psnr
from functory.signals import Signals, sample_dimension, signals_of, some, split_indices
from functory.sources.signal_sets import open_signals
from storage.codecs import write_codec
from storage.functaset import share_network
from storage.networks import read_network
from storage.references import Reference
from tasks.fit import load_solver
from tasks.prior import held_out_split
from tasks.stage import Outcome, Work, stage

__all__ = ["CodecTraining", "codec", "coded_bits", "lattices", "train_point"]

ROUNDS = 2  # of rounding and counting, after which little changes
GROUP = 16  # signals that are decoded at once


class CodecTraining(Config):
    """At which qualities a codec is to work, and how its entropy models are trained."""

    steps: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.08, 0.04, 0.02)
    """Lengths of the quantiser's step, in root mean square change of normalised values.

    Rounding one latent to a step of s adds s²/12 to the mean squared error.
    """
    sequence: bool = False
    """Whether signals follow each other in time, so that each is coded by those before it."""
    entropy: IntegerTraining = IntegerTraining()
    """The flow over rounded modulations, and the integer network that is distilled from it."""
    signals: PositiveInt = 256
    """Test signals that are decoded to measure quality."""


@stage("codecs", version=1)
def codec(
    work: Work, config: CodecTraining, signals: Reference, network: Reference, functaset: Reference
) -> Outcome:
    """Train entropy models of rounded modulations, and measure rate and distortion for real."""
    dataset = xr.open_zarr(work.path(functaset))
    fitted = read_network(str(work.path(network) / "network"))
    learned = MetaLearning(**work.record(network).configuration)
    raw = open_signals(work.path(signals))
    modulations = dataset["modulation"].values
    splits = {
        name: modulations[dataset["split"].values == split]
        for name, split in (
            ("train", "train"),
            ("select", held_out_split(dataset)),
            ("test", "test"),
        )
    }
    chosen = some(split_indices(raw, ["test"]), config.signals)
    shown = signals_of(raw.isel({sample_dimension(raw): chosen}), fitted.of_wholes().coordinates)
    sensitivity = fitted.sensitivity().double().numpy()
    qualities, reports = [], []
    for number, step in enumerate(sorted(config.steps, reverse=True), start=1):
        quantiser = StepQuantiser.fit(splits["train"], step / np.maximum(sensitivity, 1e-12))
        checkpoint = work.checkpoint.with_suffix(f".{number}")
        point, report = train_point(quantiser, splits, config, checkpoint)
        symbols = cheapest_symbols(modulations[chosen], quantiser, point.costs)
        rounded = quantiser.dequantise(symbols)
        measured = {**point.measured, **_distortion(fitted, shown, rounded)}
        qualities.append(replace(point, measured=measured))
        reports.append({"step": step, **measured, **report})
    solver = load_solver(work.path(network), learned)
    fitting = Fitting(**work.record(functaset).configuration)
    made = Codec(fitted, solver, fitting.steps, config.sequence, qualities)
    work.result.mkdir()
    write_codec(work.result, made, learned.solver)
    share_network(work.path(network), work.result)
    variables = [v.name for v in fitted.variables]
    summary = {
        "variables": variables,
        "modality": fitted.modality,
        "units": str(fitted.variables[0].attributes.get("units", "1")),
        "psnr_test": reports[-1]["psnr"],
        "qualities": reports,
    }
    return Outcome(work.licence(functaset), summary)


def train_point(
    quantiser: StepQuantiser,
    splits: dict[str, np.ndarray],
    config: CodecTraining,
    checkpoint: Path | None = None,
) -> tuple[OperatingPoint, dict[str, float]]:
    """Train the entropy model of one quantiser, and code the test split for real.

    `splits` holds modulations, (samples, cells along each axis, latents), of `train`, `select`
    (what is kept of training) and `test`.
    """
    symbols = quantiser.quantise(splits["train"])
    for _ in range(ROUNDS):  # rounding changes what symbols cost, and that changes rounding
        costs = marginal_bits(symbols, quantiser)
        symbols = cheapest_symbols(splits["train"], quantiser, costs)
    known, asked, tested = (
        lattices(cheapest_symbols(splits[name], quantiser, costs), config.sequence)
        for name in ("train", "select", "test")
    )
    model, _, report = train_integer_model(
        known, asked, quantiser.levels, config.entropy, checkpoint
    )
    together = (
        1 if config.sequence else Layout.of(2**20, splits["test"].shape[1:-1], False).chunk[0]
    )
    coded, ideal = coded_bits(model, tested, together)
    samples = tested[..., 0].size / math.prod(splits["test"].shape[1:-1])
    measured = {"bits": coded / samples, "model_bits": ideal / samples}
    return OperatingPoint(quantiser, costs, model, measured), report


def lattices(symbols: np.ndarray, sequence: bool) -> np.ndarray:
    """Cut symbols (samples, cells, latents) into chunks that train: (chunks, 1, cells, latents).

    In a sequence, the first of the cells' axes is that of the samples. What is left over at the
    ends is left out.
    """
    samples, *cells = symbols.shape[:-1]
    layout = Layout.of(samples if sequence else 1, cells, sequence)
    blocks = [layout.block(i) for i in range(len(layout))]
    whole = [b for b in blocks if tuple(s.stop - s.start for s in b)[1:] == layout.chunk[1:]]
    if not sequence:
        return np.concatenate([symbols[(slice(None), *b[1:])] for b in whole])[:, None]
    runs = [symbols[b] for b in whole if b[0].stop - b[0].start == layout.chunk[0]]
    return np.stack(runs)[:, None]


def coded_bits(model: IntegerModel, symbols: np.ndarray, together: int) -> tuple[float, float]:
    """Return the bits that lattices take, so many to a chunk, and what the model says they take.

    Raises
    ------
    AssertionError
        If they are not decoded as they were.
    """
    whole = len(symbols) // together * together
    groups = [
        symbols[:whole, 0].reshape(-1, together, *symbols.shape[2:]),
        symbols[None, whole:, 0],
    ]
    bits = 0.0
    for chunks in (group for group in groups if group.size):
        words = model.encode(chunks)
        if not np.array_equal(model.decode(words, chunks.shape[1], chunks.shape[2:-1]), chunks):
            raise AssertionError("the entropy coder did not return what it was given")
        bits += 32.0 * sum(map(len, words))
    return bits, float(model.bits(symbols).sum())


@torch.no_grad()
def _distortion(fitted: FittedNetwork, shown: Signals, rounded: np.ndarray) -> dict[str, float]:
    """Return PSNR and, in the data's own units, RMSE of signals decoded from rounded numbers."""
    squared: list[Tensor] = []
    for start in range(0, len(shown), GROUP):
        part = shown.take(slice(start, start + GROUP))
        decoded = fitted.decode(torch.from_numpy(rounded[start : start + GROUP]))
        squared.append((decoded - part.features).square().mean(1))
    errors = torch.cat(squared).mean(0).double()  # of each output
    scales = np.repeat([v.scale for v in fitted.variables], [v.outputs for v in fitted.variables])
    own = errors * torch.from_numpy(scales.astype(np.float64) ** 2)
    return {"psnr": psnr(errors), "rmse": float(own.mean().sqrt())}
