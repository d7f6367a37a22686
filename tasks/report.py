"""Report: one HTML page about a run, and the short table that ends it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from pydantic import PositiveInt

from functory.configuration import Config
from functory.reporting.maps import Completions
from functory.reporting.page import Report, pictures, render
from functory.signals import sample_dimension, signal_variables, some, split_indices
from storage.accessor import FunctaAccessor
from storage.references import Reference
from tasks.complete import METHODS, Completing, partly_seen
from tasks.stage import Outcome, Work, stage

__all__ = ["Reporting", "provenance", "report"]


class Reporting(Config):
    """What the report shows."""

    examples: PositiveInt = 3
    """Test fields that are shown beside their reconstructions, and completed; three at most."""
    samples: PositiveInt = 8
    """Samples of the prior that are shown."""
    refine: PositiveInt = 4
    """How many times finer than in training one field is decoded."""


@stage("reports", version=3)
def report(
    work: Work,
    config: Reporting,
    signals: Reference,
    network: Reference,
    functaset: Reference,
    prior: Reference,
    samples: Reference,
    entropy: Reference,
    completions: Reference | None = None,
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
    if completions is not None:
        parents["complete"] = completions
    table = summary_table({stage: work.record(ref).summary for stage, ref in parents.items()})
    opened = {stage: xr.open_zarr(work.path(ref), chunks=None) for stage, ref in parents.items()}
    chosen = some(split_indices(opened["prepare"], ["test"]), config.examples)
    originals = _fields(opened["prepare"], chosen)
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
        provenance=provenance(work, parents),
        completions=_completions(work, opened, completions, config) if completions else None,
    )
    images = pictures(content)
    work.result.mkdir(parents=True)
    for name, image in images.items():
        (work.result / f"{name}.png").write_bytes(image)
    (work.result / "index.html").write_text(render(content, images))
    return Outcome(work.licence(functaset), {"table": table})


def provenance(work: Work, parents: Mapping[str, Reference]) -> list[tuple[str, str, str]]:
    """Return what a page says of the stages of a run: name, version and configuration.

    A version goes by its digest: its number may differ where a killed process took one.
    """
    return [
        (
            stage,
            f"{ref.kind}/{ref.name} {ref.digest[:12]}",
            json.dumps(work.record(ref).configuration, indent=1),
        )
        for stage, ref in parents.items()
    ]


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
        *_unseen(summaries.get("complete", {}), unit),
    ]


def _unseen(summary: Mapping[str, Any], unit: str) -> list[tuple[str, str]]:
    """Return how well the hidden part of fields is inferred: a row for every mask."""
    return [
        (
            f"unseen RMSE, {mask}",
            f"{found[METHODS[0]]:.3f} {unit} with the prior, {found[METHODS[1]]:.3f} {unit} "
            f"without, {found['mean of the training signals']:.3f} {unit} by the mean of the "
            "training fields",
        )
        for mask, found in summary.items()
        if mask != "measure"
    ]


def _fields(signals: xr.Dataset, chosen: np.ndarray) -> xr.DataArray:
    """Return some fields of the first variable, (sample, …), with their places."""
    dimension = sample_dimension(signals)
    fields = signals[signal_variables(signals)[0]].isel({dimension: chosen}).load()
    return fields.assign_coords(sample=(dimension, chosen)).swap_dims({dimension: "sample"})


def _completions(
    work: Work, opened: Mapping[str, xr.Dataset], completions: Reference, config: Reporting
) -> Completions:
    """Return completed fields: under every mask as many, so that there are enough in all."""
    masks = Completing(**work.record(completions).configuration).masks
    completed = opened["complete"]
    label, method, of = (completed[name].values for name in ("mask", "method", "of"))
    observed, truth, rows = [], [], []
    for mask in masks:
        # what is seen may depend on which fields there are: all of them, as they were completed
        places = of[(label == mask.label) & (method == METHODS[0])]
        fields = _fields(opened["prepare"], places)
        (seen,) = partly_seen(mask, fields.to_dataset()).data_vars.values()
        shown = some(np.arange(len(places)), -(-config.examples // len(masks)))
        observed.append(seen[shown])
        truth.append(fields[shown])
        rows.append([np.flatnonzero((label == mask.label) & (method == m))[shown] for m in METHODS])
    whole = xr.concat(truth, "sample")
    with_prior, without_prior = (
        FunctaAccessor(completed).decode(places, variable=str(whole.name))
        for places in np.concatenate(rows, axis=1)
    )
    return Completions(xr.concat(observed, "sample"), with_prior, without_prior, whole)


def _notice(signals: xr.Dataset) -> str:
    source = str(signals.attrs.get("source", ""))
    if source.startswith("synthetic"):
        return "Synthetic data made by Functory's demo generator: not observations, not ERA5."
    return ""
