"""Report on shapes: one HTML page about a run, meshes of new shapes, and the table that ends it."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from pydantic import PositiveInt

from functory.configuration import Config
from functory.quality import SURFACE
from functory.reporting.charts import Classifier
from functory.reporting.shapes import Completion, Examples, Neighbours, Paths, Samples
from functory.reporting.shapes_page import ShapeReport, pictures, render
from functory.reporting.surfaces import surface, write_mesh
from functory.signals import signal_variables, some, split_indices
from functory.sources.masks import observed
from functory.sources.signal_sets import open_signals
from storage.accessor import FunctaAccessor
from storage.references import Reference
from tasks.complete import METHODS, Completing
from tasks.interpolation import interpolate
from tasks.report import provenance
from tasks.stage import Outcome, Work, stage

__all__ = ["ShapeReporting", "report_shapes"]

NEAREST = 2  # training shapes that are shown beside each new one


class ShapeReporting(Config):
    """What the report shows, and which meshes are written."""

    examples: PositiveInt = 6
    """Test shapes beside their reconstructions, and new shapes beside their neighbours."""
    samples: PositiveInt = 8
    """New shapes of each class at each temperature."""
    refine: PositiveInt = 2
    """How many times finer than in training shapes are decoded for meshes."""
    meshes: Literal["ply", "glb"] = "ply"
    """Format of the new shapes' meshes, which lie beside the page."""


@stage("reports", version=1)
def report_shapes(
    work: Work,
    config: ShapeReporting,
    signals: Reference,
    network: Reference,
    functaset: Reference,
    prior: Reference,
    samples: Reference,
    completions: Reference,
    classifiers: Reference | None = None,
    voxel_classifiers: Reference | None = None,
) -> Outcome:
    """Write the page, its pictures, and the meshes of new shapes."""
    parents = {
        "prepare": signals,
        "metalearn": network,
        "fit": functaset,
        "prior": prior,
        "sample": samples,
        "complete": completions,
        "classify": classifiers,
        "classify voxels": voxel_classifiers,
    }
    there = {stage: ref for stage, ref in parents.items() if ref is not None}
    summaries = {stage: work.record(ref).summary for stage, ref in there.items()}
    dataset = open_signals(work.path(signals))
    fits, drawn, completed = (
        xr.open_zarr(work.path(ref), chunks=None) for ref in (functaset, samples, completions)
    )
    some_new = _some_of_each(drawn, config.examples)
    content = ShapeReport(
        title=functaset.name,
        notice=_notice(dataset),
        licence=work.licence(functaset),
        table=summary_table(summaries),
        examples=_examples(dataset, fits, config),
        history=xr.open_zarr(work.path(network), chunks=None),
        prior_history=xr.open_zarr(work.path(prior), chunks=None),
        quality=fits[["iou", "split"]],
        provenance=provenance(work, there),
        samples=_gallery(drawn, config),
        paths=Paths(*_decode(interpolate(fits, work.path(prior)))),
        neighbours=_neighbours(dataset, fits, drawn.isel(sample=some_new)),
        completions=_completions(dataset, completed, _masks(work, completions)),
        classifiers=_classifiers(summaries),
    )
    images = pictures(content)
    work.result.mkdir(parents=True)
    for name, image in images.items():
        (work.result / f"{name}.png").write_bytes(image)
    (work.result / "index.html").write_text(render(content, images))
    _write_meshes(work, drawn.isel(sample=some_new), config)
    return Outcome(work.licence(functaset), {"table": content.table})


def summary_table(summaries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the short table of a run, as labels and values."""
    prepared, fit = summaries["prepare"], summaries["fit"]
    left_out = f"{prepared['empty']} empty and {prepared['repeated']} repeated ones left out"
    rows = [
        ("signals", f"{fit['signals']:,}"),
        ("models", f"{prepared['models']:,} ({left_out})"),
        ("classes", f"{len(prepared['classes'])}"),
        ("latents", f"{fit['latents']}"),
    ]
    for name, label in (("iou", "test IoU"), ("accuracy", "test accuracy")):
        null = fit[f"{name}_principal_components"]
        text = f"{fit[name]['test']:.4f} ({null:.4f} with as many principal components)"
        rows.append((label, text))
    for classifier in _classifiers(summaries) or []:
        text = f"{classifier.accuracy:.2%} ± {classifier.deviation:.2%}"
        rows.append((classifier.name, f"{text} of test shapes, {classifier.parameters:,} weights"))
    rows.append(("prior, test", f"{summaries['prior']['bits_per_dimension_test']:.3f} bits/dim"))
    for mask, found in summaries["complete"].items():
        if mask != "measure":
            values = [
                f"{value:.3f} {how.removesuffix(' of the training signals')}"
                for how, value in found.items()
            ]
            rows.append((f"unseen IoU, {mask}", ", ".join(values)))
    return rows


def _decode(dataset: xr.Dataset, **options: Any) -> np.ndarray:
    """Evaluate functions, with their surface where that of the data is."""
    accessor = FunctaAccessor(dataset)
    values = accessor.decode(**options).values
    return np.asarray(values - accessor.network.surface + SURFACE, dtype=np.float32)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a > SURFACE, b > SURFACE
    return float((a & b).sum() / max(1, (a | b).sum()))


def _voxels(dataset: xr.Dataset, positions: np.ndarray) -> np.ndarray:
    (name,) = signal_variables(dataset)
    return np.asarray(dataset[name].isel(sample=positions).values, dtype=np.float32)


def _examples(dataset: xr.Dataset, fits: xr.Dataset, config: ShapeReporting) -> Examples:
    chosen = some(split_indices(dataset, ["test"]), config.examples)
    return Examples(
        labels=dataset["label"].values[chosen].tolist(),
        originals=_voxels(dataset, chosen),
        reconstructions=_decode(fits.isel(sample=chosen)),
        iou=fits["iou"].values[chosen].tolist(),
        refined=_decode(fits.isel(sample=chosen[:1]), refine=config.refine)[0],
    )


def _names(drawn: xr.Dataset) -> np.ndarray:
    """Return the class and temperature of new shapes, in words."""
    labels = drawn["label"].values if "label" in drawn else [""] * drawn.sizes["sample"]
    temperatures = drawn["temperature"].values
    return np.array(
        [f"{name}\ntemperature {t:g}".strip() for name, t in zip(labels, temperatures, strict=True)]
    )


def _some_of_each(drawn: xr.Dataset, most: int) -> np.ndarray:
    """Return the first new shapes of every class at the first temperature, so many in all."""
    warm = np.flatnonzero(drawn["temperature"].values == drawn["temperature"].values[0])
    names = _names(drawn)[warm]
    turns = [warm[names == name] for name in dict.fromkeys(names)]
    return np.array([turn[i] for i in range(most) for turn in turns if i < len(turn)][:most])


def _gallery(drawn: xr.Dataset, config: ShapeReporting) -> Samples:
    names = _names(drawn)
    chosen = [np.flatnonzero(names == name)[: config.samples] for name in dict.fromkeys(names)]
    positions = np.concatenate(chosen)
    return Samples(names[positions].tolist(), _decode(drawn.isel(sample=positions)))


def _neighbours(dataset: xr.Dataset, fits: xr.Dataset, drawn: xr.Dataset) -> Neighbours:
    """Find the training shapes whose modulations are nearest to those of new shapes."""
    train = split_indices(dataset, ["train"])
    distances = torch.cdist(
        torch.from_numpy(drawn["modulation"].values),
        torch.from_numpy(fits["modulation"].values[train]),
    )
    nearest = train[distances.topk(min(NEAREST, len(train)), largest=False).indices.numpy()]
    samples = _decode(drawn)
    beside = np.stack([_voxels(dataset, row) for row in nearest])
    overlaps = [[_overlap(s, other) for other in b] for s, b in zip(samples, beside, strict=True)]
    return Neighbours(samples=samples, nearest=beside, iou=np.array(overlaps))


def _masks(work: Work, completions: Reference) -> dict[str, Any]:
    config = Completing(**work.record(completions).configuration)
    return {mask.label: mask for mask in config.masks}


def _completions(
    dataset: xr.Dataset, completed: xr.Dataset, masks: Mapping[str, Any]
) -> list[Completion]:
    """Return one completed shape for every mask, another for each."""
    shown = []
    (name,) = signal_variables(dataset)
    for i, (label, mask) in enumerate(masks.items()):
        rows = np.flatnonzero(completed["mask"].values == label)
        signals = completed["of"].values[rows]
        of = list(dict.fromkeys(signals.tolist()))
        chosen = of[i % len(of)]
        whole = dataset[name].isel(sample=of).load()
        known = observed(mask, whole).values[of.index(chosen)]
        original = whole.values[of.index(chosen)].astype(np.float32)
        by_method = [
            rows[(signals == chosen) & (completed["method"].values[rows] == method)][0]
            for method in METHODS
        ]
        inferred = _decode(completed.isel(sample=by_method))
        mean = completed["mean"].values - FunctaAccessor(completed).network.surface + SURFACE
        unseen = completed["unseen"].values[by_method]
        rest = ~known
        shown.append(
            Completion(
                label=label,
                known=known,
                original=original,
                with_prior=inferred[0],
                without_prior=inferred[1],
                mean=mean,
                iou=(float(unseen[0]), float(unseen[1]), _overlap(original[rest], mean[rest])),
            )
        )
    return shown


def _classifiers(summaries: Mapping[str, Mapping[str, Any]]) -> list[Classifier] | None:
    if "classify" not in summaries:
        return None
    voxels = summaries.get("classify voxels", {})
    rows = [("MLP on modulations", summaries["classify"])]
    rows += [("3D CNN on voxels", voxels[name]) for name in voxels if name.startswith("cnn")]
    return [
        Classifier(name, row["parameters"], row["accuracy"], row["accuracy_deviation"])
        for name, row in rows
    ]


def _write_meshes(work: Work, drawn: xr.Dataset, config: ShapeReporting) -> None:
    (work.result / "meshes").mkdir()
    fields = _decode(drawn, refine=config.refine)
    for i, (name, field) in enumerate(zip(_names(drawn), fields, strict=True)):
        label = name.partition("\n")[0].replace(" ", "-")
        path = work.result / "meshes" / f"{i:02d}-{label}.{config.meshes}"
        write_mesh(surface(field), path)


def _notice(signals: xr.Dataset) -> str:
    if str(signals.attrs.get("source", "")).startswith("synthetic"):
        return "Synthetic shapes made by Functory's demo generator: not ShapeNet."
    return ""
