"""Report: one HTML page about a run, and the short table that ends it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from pydantic import PositiveInt

from functory.configuration import Config
from functory.reporting.page import Report, pictures, render
from functory.signals import sample_dimension, signal_variables, split_indices
from storage.accessor import FunctaAccessor
from storage.references import Reference
from tasks.stage import Outcome, Work, stage

__all__ = ["Reporting", "report"]


class Reporting(Config):
    """What the report shows."""

    examples: PositiveInt = 3
    """Test fields that are shown beside their reconstructions."""
    samples: PositiveInt = 8
    """Samples of the prior that are shown."""
    refine: PositiveInt = 4
    """How many times finer than in training one field is decoded."""


@stage("reports", version=2)
def report(
    work: Work,
    config: Reporting,
    signals: Reference,
    network: Reference,
    functaset: Reference,
    prior: Reference,
    samples: Reference,
    entropy: Reference,
) -> Outcome:
    """Write the page and its pictures."""
    parents = {
        "prepare": signals,
        "metalearn": network,
        "fit": functaset,
        "prior": prior,
        "sample": samples,
        "entropy": entropy,
    }
    table = summary_table({stage: work.record(ref).summary for stage, ref in parents.items()})
    opened = {stage: xr.open_zarr(work.path(ref), chunks=None) for stage, ref in parents.items()}
    originals, chosen = _examples(opened["prepare"], config.examples)
    functions, drawn = FunctaAccessor(opened["fit"]), FunctaAccessor(opened["sample"])
    variable = str(originals.name)
    shown = np.linspace(0, opened["sample"].sizes["sample"] - 1, config.samples).astype(int)
    content = Report(
        title=functaset.name,
        notice=_notice(opened["prepare"]),
        licence=work.licence(functaset),
        table=table,
        originals=originals,
        reconstructions=functions.decode(chosen, variable=variable),
        history=opened["metalearn"],
        quality=opened["fit"][["psnr"]],
        rates=opened["entropy"],
        prior_history=opened["prior"],
        samples=drawn.decode(np.unique(shown), variable=variable),
        refined=functions.decode(int(chosen[0]), variable=variable, refine=config.refine),
        coarse=originals[0],
        provenance=[
            # by digest: a version's number may differ where a killed process took one
            (
                stage,
                f"{ref.kind}/{ref.name} {ref.digest[:12]}",
                json.dumps(work.record(ref).configuration, indent=1),
            )
            for stage, ref in parents.items()
        ],
    )
    images = pictures(content)
    work.result.mkdir(parents=True)
    for name, image in images.items():
        (work.result / f"{name}.png").write_bytes(image)
    (work.result / "index.html").write_text(render(content, images))
    return Outcome(work.licence(functaset), {"table": table})


def summary_table(summaries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the short table of a run, as labels and values."""
    fit, rate, prior = (summaries[stage] for stage in ("fit", "entropy", "prior"))
    null = rate["principal_components"]
    test, unit = fit["test"], "°C" if fit["units"] == "K" else fit["units"]

    def both(name: str) -> str:
        plain, weighted = test[name], test[f"{name}_weighted"]
        return f"{plain:.3f} {unit} ({weighted:.3f} weighted by cos latitude)"

    return [
        ("signals", f"{fit['signals']:,}"),
        ("latents", f"{fit['latents']}"),
        (
            "test PSNR",
            f"{fit['psnr']['test']:.2f} dB ({fit['psnr_principal_components']:.2f} dB with as many "
            "principal components)",
        ),
        ("test RMSE", both("rmse")),
        ("test bias", both("bias")),
        ("test maximum error", f"{test['maximum_error']:.2f} {unit}"),
        (
            "bits per field",
            f"{rate['coded_bits_per_field']:.1f} coded at {rate['bits_per_latent']} bits a latent "
            f"({rate['coded_bits_per_point']:.4f} a grid point, {rate['psnr']:.2f} dB)",
        ),
        (
            "principal components",
            f"{null['coded_bits_per_field']:.1f} coded at as many bits ({null['psnr']:.2f} dB)",
        ),
        ("bits per field, flow", f"{rate['flow_bits_per_field']:.1f} (cross-entropy)"),
        (
            "compression ratio",
            f"{rate['compression_ratio']:,.0f} "
            f"({rate['compression_ratio_with_network']:,.1f} with the network's weights)",
        ),
        ("prior, test", f"{prior['bits_per_dimension_test']:.3f} bits/dim"),
    ]


def _examples(signals: xr.Dataset, count: int) -> tuple[xr.DataArray, np.ndarray]:
    """Return some test fields of the first variable, spread over the split, and their places."""
    test = split_indices(signals, ["test"])
    chosen = test[np.unique(np.linspace(0, len(test) - 1, count).astype(int))]
    dimension = sample_dimension(signals)
    fields = signals[signal_variables(signals)[0]].isel({dimension: chosen}).load()
    fields = fields.assign_coords(sample=(dimension, chosen)).swap_dims({dimension: "sample"})
    return fields, chosen


def _notice(signals: xr.Dataset) -> str:
    source = str(signals.attrs.get("source", ""))
    if source.startswith("synthetic"):
        return "Synthetic data made by Functory's demo generator: not observations, not ERA5."
    return ""
