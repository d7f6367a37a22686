"""Report on a codec: one HTML page about what it takes and gives, and a short table."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from pydantic import PositiveInt

from functory.coding.codec import Codec, OperatingPoint
from functory.coding.layout import Layout
from functory.coding.rounding import cheapest_symbols, marginal_bits
from functory.configuration import Config
from functory.reporting.codec_charts import Quality
from functory.reporting.codec_examples import Coded
from functory.reporting.codec_page import SIGNALS, CodecReport, pictures, render
from functory.signals import sample_dimension, some, split_indices
from functory.sources.signal_sets import open_signals
from storage.codecs import read_codec
from storage.references import Reference
from tasks.report import provenance
from tasks.stage import Outcome, Work, stage

__all__ = ["CodecReporting", "report_codec", "signal_bits", "summary_table"]

SIZED = 512  # test signals whose sizes are counted, at most
ENTROPY_MODELS = {
    "histogram": "a histogram for each",
    "flow": "flow",
    "network": "network",
    "integers": "network of integers",
}


class CodecReporting(Config):
    """What the report shows."""

    examples: PositiveInt = 4
    """Test signals that are shown beside what is decoded of them."""


@stage("reports", version=1)
def report_codec(
    work: Work, config: CodecReporting, signals: Reference, functaset: Reference, codec: Reference
) -> Outcome:
    """Write the page and its pictures."""
    record, made = work.record(codec), read_codec(work.path(codec))
    raw, dataset = open_signals(work.path(signals)), xr.open_zarr(work.path(functaset), chunks=None)
    tested = split_indices(dataset, ["test"])
    sized = tested[:SIZED] if made.sequence else some(tested, SIZED)
    modulations = dataset["modulation"].values
    training = modulations[split_indices(dataset, ["train"])]
    qualities = [
        _quality(made, point, training, modulations[tested], modulations[sized], found)
        for point, found in zip(made.qualities, record.summary["qualities"], strict=True)
    ]
    shown = some(np.arange(len(sized)), config.examples)
    bits = np.stack([quality.sizes[shown] for quality in qualities])
    grid = [len(made.fitted.grid[axis]) for axis in made.fitted.coordinates.axes]
    content = CodecReport(
        title=codec.name,
        notice=_notice(raw),
        licence=work.licence(codec),
        table=summary_table(record.summary, made, _source_bits(raw, made), len(modulations)),
        modality=made.fitted.modality,
        units=record.summary["units"],
        values=math.prod(grid) * made.fitted.network.outputs,
        qualities=qualities,
        examples=_coded(made, raw, sized[shown], modulations[sized[shown]], bits),
        sequence=made.sequence,
        provenance=provenance(
            work,
            {
                "prepare": signals,
                "metalearn": record.parents["network"],
                "fit": functaset,
                "codec": codec,
            },
        ),
    )
    drawn = pictures(content)
    work.result.mkdir(parents=True)
    for name, image in drawn.items():
        (work.result / f"{name}.png").write_bytes(image)
    (work.result / "index.html").write_text(render(content, drawn))
    return Outcome(work.licence(codec), {"table": content.table})


def signal_bits(codec: Codec, point: OperatingPoint, symbols: np.ndarray) -> np.ndarray:
    """Return what each signal adds to a file, in bits, (signals,): exact, as the model codes.

    `symbols` are (signals, cells along each axis, latents), in the order in which they are coded.
    """
    layout = Layout.of(len(symbols), symbols.shape[1:-1], codec.sequence)
    bits = np.zeros(len(symbols))
    for chunks in layout.alike(range(len(layout))).values():
        blocks = [layout.block(chunk) for chunk in chunks]
        lattices = np.stack([symbols[block] for block in blocks])
        # a run is one signal of cells to the model
        costs = point.model.bits(lattices[:, None] if codec.sequence else lattices)
        for block, cost in zip(blocks, costs.reshape(*lattices.shape[:2], -1), strict=True):
            bits[block[0]] += cost.sum(1)
    return bits


def summary_table(
    summary: Mapping[str, Any], codec: Codec, source_bits: int, signals: int
) -> list[tuple[str, str]]:
    """Return the short table of a codec, as labels and values.

    `source_bits` are those of one value before it was coded, and `signals` share the network.
    """
    fitted, signal = codec.fitted, SIGNALS[summary["modality"]]
    grid = [len(fitted.grid[axis]) for axis in fitted.coordinates.axes]
    outputs = [fitted.network.outputs] if fitted.network.outputs > 1 else []
    values = math.prod([*grid, *outputs])
    coarse, fine = (summary["qualities"][i] for i in (0, -1))
    parameters = sum(p.numel() for p in fitted.network.parameters())
    entropy = codec.qualities[-1].model.size
    raw, shared = source_bits * values, (32 * parameters + entropy) / signals
    unit = "" if summary["units"] in ("", "1") else f" {summary['units']}"
    return [
        ("codes", ", ".join(summary["variables"])),
        (f"values per {signal}", f"{values:,} ({' × '.join(map(str, [*grid, *outputs]))})"),
        ("network", f"{parameters:,} parameters"),
        ("entropy model", f"{entropy / 8e3:,.1f} kB, one for each quality"),
        (
            "qualities",
            f"{len(summary['qualities'])}, from {coarse['bits']:,.1f} bits ({coarse['psnr']:.2f} "
            f"dB) to {fine['bits']:,.1f} bits per {signal}",
        ),
        (
            "finest quality",
            f"{fine['bits']:,.1f} bits per {signal}, {fine['bits'] / values:.3g} per value",
        ),
        (
            "compression ratio",
            f"{raw / fine['bits']:,.0f} against {source_bits} bits a value ("
            f"{raw / (fine['bits'] + shared):,.1f} with the network, over {signals:,} {signal}s)",
        ),
        ("test PSNR", f"{fine['psnr']:.2f} dB"),
        ("test RMSE", f"{fine['rmse']:.3g}{unit}"),
    ]


def _quality(
    codec: Codec,
    point: OperatingPoint,
    training: np.ndarray,
    tested: np.ndarray,
    sized: np.ndarray,
    found: Mapping[str, Any],
) -> Quality:
    """Measure one quality; `found` is what its training says of it."""
    symbols = _rounded(point, tested)
    table = marginal_bits(_rounded(point, training), point.quantiser)
    costs = table[np.arange(len(table)), symbols]
    return Quality(
        bits=found["bits"],
        histogram_bits=float(costs.sum() / len(tested)),
        psnr=found["psnr"],
        rmse=found["rmse"],
        latents=costs.reshape(-1, len(table)).mean(0),
        sizes=signal_bits(codec, point, _rounded(point, sized)),
        held_out={label: found[name] for name, label in ENTROPY_MODELS.items()},
    )


def _rounded(point: OperatingPoint, modulations: np.ndarray) -> np.ndarray:
    return cheapest_symbols(modulations, point.quantiser, point.costs)


@torch.no_grad()
def _coded(
    codec: Codec, raw: xr.Dataset, positions: np.ndarray, phi: np.ndarray, bits: np.ndarray
) -> Coded:
    """Return some signals of the first variable, and what is decoded of them at each quality."""
    fitted, sample = codec.fitted, sample_dimension(raw)
    variable = fitted.variables[0]
    originals = raw[variable.name].isel({sample: positions}).load()
    originals = originals.transpose(sample, *fitted.coordinates.axes, ...)
    originals = originals.assign_coords(sample=(sample, positions)).swap_dims({sample: "sample"})
    decoded = []
    for point in codec.qualities:
        rounded = torch.from_numpy(point.quantiser.dequantise(_rounded(point, phi)))
        values = fitted.decode(rounded)[..., fitted.outputs_of(variable)]
        own = variable.offset + variable.scale * values.double().numpy()
        decoded.append(own.reshape(originals.shape))
    return Coded(
        modality=fitted.modality,
        originals=originals,
        decoded=xr.DataArray(
            np.stack(decoded),
            dims=("quality", *originals.dims),
            coords=originals.coords,
            attrs=originals.attrs,
        ),
        bits=bits,
        offset=variable.offset,
        scale=variable.scale,
    )


def _source_bits(raw: xr.Dataset, codec: Codec) -> int:
    """Return the bits of one value as the signal set stores it: 8 of a colour, 32 of a field."""
    array = raw[codec.fitted.variables[0].name]
    return 8 * np.dtype(array.encoding.get("dtype", array.dtype)).itemsize


def _notice(signals: xr.Dataset) -> str:
    if str(signals.attrs.get("source", "")).startswith("synthetic"):
        return "Synthetic data made by Functory's demo generator: not observations."
    return ""
