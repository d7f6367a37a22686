"""Report on images: one HTML page about a run, and the short table that ends it."""

from collections.abc import Mapping
from typing import Any

import xarray as xr
from pydantic import PositiveInt

from functory.configuration import Config
from functory.reporting.charts import Classifier
from functory.reporting.image_charts import Attribute
from functory.reporting.images import Paths, Samples
from functory.reporting.images_page import (
    ImageReport,
    Likeness,
    SplitQuality,
    pictures,
    render,
)
from functory.sources.signal_sets import open_signals
from storage.references import Reference
from tasks.complete import METHODS, Completing
from tasks.evaluate_images import CONFIDENT
from tasks.image_examples import (
    completions_of,
    decode,
    examples_of,
    forms_of,
    galleries_of,
    neighbours_of,
    perturbation_of,
    refinement_of,
)
from tasks.interpolation import WAYS, interpolate
from tasks.report import provenance
from tasks.stage import Outcome, Work, stage

__all__ = ["ImageReporting", "report_images"]

Summaries = Mapping[str, Mapping[str, Any]]


class ImageReporting(Config):
    """What the report shows."""

    examples: PositiveInt = 8
    """Test images beside their reconstructions, and new images beside their neighbours."""
    samples: PositiveInt = 48
    """New images of each model."""


@stage("reports", version=1)
def report_images(work: Work, config: ImageReporting, **parents: Reference) -> Outcome:
    """Write the page and its pictures.

    The parents are signals, network, functaset, prior, diffusion, flow_samples, diffusion_samples
    and evaluation; and, where there are, completions, classifiers, attribute_classifiers, and
    spatial with its network, diffusion, samples and evaluation.
    """
    summaries = {label: work.record(ref).summary for label, ref in parents.items()}
    dataset = open_signals(work.path(parents["signals"]))
    opened = {
        label: xr.open_zarr(work.path(ref), chunks=None)
        for label, ref in parents.items()
        if (work.path(ref) / "zarr.json").exists()
    }
    fits = opened["functaset"]
    completions = None
    if "completions" in parents:
        masks = Completing(**work.record(parents["completions"]).configuration).masks
        named = {mask.label: mask for mask in masks}
        completions = completions_of(dataset, opened["completions"], named)
    ways = interpolate(fits, work.path(parents["prior"]))
    content = ImageReport(
        title=parents["functaset"].name,
        notice=_notice(dataset),
        licence=work.licence(parents["functaset"]),
        table=summary_table(summaries),
        examples=examples_of(dataset, fits, config.examples),
        history=opened["network"],
        prior_history=opened["prior"],
        quality=fits[["psnr", "split"]],
        provenance=provenance(work, parents),
        diffusion_history=opened["diffusion"],
        splits=_splits(summaries),
        forms=forms_of(dataset, fits, opened["spatial"], config.examples)
        if "spatial" in opened
        else None,
        samples=_samples(opened, config),
        likeness=_likeness(summaries),
        neighbours=neighbours_of(
            "diffusion", dataset, fits, opened["diffusion_samples"], config.examples
        ),
        paths=Paths(**{way: decode(ways.sel(way=way)) for way in WAYS}),
        refinements=[
            refinement_of(opened["diffusion_samples"], 0),
            refinement_of(fits, int((fits["split"] == "test").values.argmax())),
        ],
        completions=completions,
        attributes=_attributes(summaries),
        classifiers=_classifiers(summaries),
        perturbation=perturbation_of(dataset, fits),
    )
    drawn = pictures(content)
    work.result.mkdir(parents=True)
    for name, image in drawn.items():
        (work.result / f"{name}.png").write_bytes(image)
    (work.result / "index.html").write_text(render(content, drawn))
    return Outcome(work.licence(parents["functaset"]), {"table": content.table})


def summary_table(summaries: Summaries) -> list[tuple[str, str]]:
    """Return the short table of a run, as labels and values."""
    prepared, fit = summaries["signals"], summaries["functaset"]
    left_out = f"{prepared['repeated']} repeated and {prepared['skipped']} unreadable left out"
    rows = [
        ("signals", f"{fit['signals']:,} of {prepared['pictures']:,} pictures ({left_out})"),
        ("latents", f"{fit['latents']}"),
        *_quality("", fit),
    ]
    if "spatial" in summaries:
        rows += _quality(", spatial", summaries["spatial"])
    for classifier in _classifiers(summaries) or []:
        text = f"{classifier.accuracy:.2%} ± {classifier.deviation:.2%}"
        rows.append((classifier.name, f"{text} of test images, {classifier.parameters:,} weights"))
    if "attribute_classifiers" in summaries:
        found = summaries["attribute_classifiers"]
        right, usual = (sum(found[k].values()) / len(found[k]) for k in ("accuracy", "majority"))
        rows.append(("attributes", f"{right:.2%} right, {usual:.2%} by the more frequent answer"))
    bits = summaries["prior"]["bits_per_dimension_test"]
    rows.append(("flow prior, test", f"{bits:.3f} bits/dim"))
    rows.append(("diffusion, held out", f"loss {summaries['diffusion']['held_out_loss']:.4f}"))
    for name, found in _sets(summaries):
        text = (
            f"Fréchet distance {found['frechet_distance']:.2f}, precision "
            f"{found['precision']:.2f}, recall {found['recall']:.2f}"
        )
        if "recognised" in found:
            text += f", {found['recognised']:.0%} recognised with confidence above {CONFIDENT}"
        if "fid" in found:
            text += f", FID {found['fid']:.1f}"
        rows.append((name, text))
    for mask, found in summaries.get("completions", {}).items():
        if mask != "measure":
            with_prior, without = (f"{found[method]:.2f} dB" for method in METHODS)
            text = f"{with_prior} with the prior, {without} without"
            rows.append((f"unseen PSNR, {mask}", text))
    return rows


def _quality(which: str, fit: Mapping[str, Any]) -> list[tuple[str, str]]:
    null = fit["psnr_principal_components"]
    text = f"{fit['psnr']['test']:.2f} dB ({null:.2f} dB with as many principal components)"
    ssim = f"{fit['ssim']['test']:.4f}"
    return [(f"test PSNR{which}", text), (f"test SSIM{which}", ssim)]


def _splits(summaries: Summaries) -> list[SplitQuality]:
    fit, counts = summaries["functaset"], summaries["signals"]["splits"]
    return [
        SplitQuality(split, counts[split], fit["psnr"][split], fit["ssim"][split])
        for split in ("train", "validation", "test")
        if split in counts
    ]


def _samples(opened: Mapping[str, xr.Dataset], config: ImageReporting) -> list[Samples]:
    found = galleries_of("diffusion", opened["diffusion_samples"], config.samples)
    if "spatial_samples" in opened:
        found += galleries_of("spatial diffusion", opened["spatial_samples"], config.samples)
    return found + galleries_of("flow prior", opened["flow_samples"], config.samples)


def _sets(summaries: Summaries) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the sets of images that were compared with the test split, by name."""
    found = []
    for label, prefix in (("evaluation", ""), ("spatial_evaluation", "spatial ")):
        for name, measured in summaries.get(label, {}).items():
            if isinstance(measured, Mapping) and not (prefix and name == "training images"):
                found.append((prefix + name, measured))
    return found


def _likeness(summaries: Summaries) -> list[Likeness]:
    count = summaries["evaluation"]["images"]
    return [
        Likeness(
            name=name,
            images=count,
            precision=found["precision"],
            recall=found["recall"],
            frechet=found["frechet_distance"],
            nearest=found.get("nearest_training_image"),
        )
        for name, found in _sets(summaries)
    ]


def _attributes(summaries: Summaries) -> list[Attribute] | None:
    if "attribute_classifiers" not in summaries:
        return None
    found = summaries["attribute_classifiers"]
    columns = ("accuracy", "accuracy_deviation", "majority")
    return [Attribute(name, *(found[c][name] for c in columns)) for name in found["attributes"]]


def _classifiers(summaries: Summaries) -> list[Classifier] | None:
    if "classifiers" not in summaries:
        return None
    row = summaries["classifiers"]
    deviation = row["accuracy_deviation"]
    return [Classifier("MLP on modulations", row["parameters"], row["accuracy"], deviation)]


def _notice(signals: xr.Dataset) -> str:
    if str(signals.attrs.get("source", "")).startswith("synthetic"):
        return "Synthetic faces drawn by Functory's demo generator: not CelebA."
    return ""
