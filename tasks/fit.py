"""Fit: the modulations of every signal, published as a functaset."""

import copy
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from safetensors.numpy import load_file
from safetensors.torch import save_file

from functory.fields.coordinates import area_weights
from functory.metalearning.fitting import Fitting, fit
from functory.metalearning.outer import MetaLearning
from functory.metalearning.solvers import build_solver
from functory.progress import progress
from functory.quality import psnr
from functory.signals import sample_dimension, signals_of, split_indices
from functory.training import resolve_device
from storage.functaset import share_network, write_modulations
from storage.networks import FittedNetwork, read_network
from storage.references import Reference
from tasks.null import null_model
from tasks.stage import Outcome, Work, stage

__all__ = ["fit_all"]


def fit_chunk(
    signals: Path, network: Path, learned: MetaLearning, config: Fitting, start: int, target: Path
) -> None:
    """Fit the signals from `start` on, and keep what was found in a file of the work folder."""
    if target.exists():
        return
    device = resolve_device(config.device)
    dataset = xr.open_zarr(signals)
    sample = sample_dimension(dataset)
    fitted = read_network(str(network / "network"))
    solver = build_solver(learned.solver, learned.network.latents)
    state = xr.open_zarr(network)
    solver.load_state_dict({k: torch.from_numpy(state[k].values) for k in solver.state_dict()})
    part = dataset.isel({sample: slice(start, start + config.chunk)})
    torch.set_num_threads(1)  # the same bits, however many chunks run side by side
    modulations, statistics = fit(
        copy.deepcopy(fitted.network).to(device),
        solver.to(device),
        signals_of(part, fitted.coordinates, learned.by_area).to(device),
        config.steps,
        torch.from_numpy(area_weights(fitted.grid)).to(device),
    )
    found = {"modulation": modulations, **statistics}
    partial = target.with_suffix(".partial")
    save_file({name: value.cpu().contiguous() for name, value in found.items()}, partial)
    partial.replace(target)


fit_chunk_task = task(name="fit_chunk", cache_policy=NO_CACHE)(fit_chunk)


@stage("functasets", version=2)
def fit_all(work: Work, config: Fitting, signals: Reference, network: Reference) -> Outcome:
    """Fit every signal of every split with the network fixed."""
    learned = MetaLearning(**work.record(network).configuration)
    dataset = xr.open_zarr(work.path(signals))
    sample = sample_dimension(dataset)
    chunks = work.folder / "chunks"
    chunks.mkdir(exist_ok=True)
    starts = range(0, dataset.sizes[sample], config.chunk)
    targets = [chunks / f"{start:09d}.npz" for start in starts]
    threads = torch.get_num_threads()
    with progress(dataset.sizes[sample], "fitting", "signal") as bar:
        done = _each(
            (work.path(signals), work.path(network), learned, config, start, target)
            for start, target in zip(starts, targets, strict=True)
        )
        for start, _ in zip(starts, done, strict=True):
            bar.update(min(config.chunk, dataset.sizes[sample] - start))
    torch.set_num_threads(threads)
    found = [load_file(target) for target in targets]
    fits = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    fitted = read_network(str(work.path(network) / "network"))
    quality = _quality(fits, fitted)
    coordinates = {
        str(name): ("sample", c.values, c.attrs)
        for name, c in dataset.coords.items()
        if c.dims == (sample,)
    }
    attributes = {
        "title": f"Functaset of {', '.join(v.name for v in fitted.variables)}",
        "licence": work.licence(signals),
        "source": dataset.attrs.get("source", ""),
        "configuration": json.dumps(
            {"metalearn": learned.model_dump(mode="json"), "fit": config.model_dump(mode="json")}
        ),
        "provenance": json.dumps({"signals": signals.digest, "network": network.digest}),
    }
    write_modulations(work.result, fits["modulation"], coordinates, quality, fitted, attributes)
    share_network(work.path(network), work.result)
    summary = _summary(dataset, fits, quality)
    null = null_model(dataset, fitted.coordinates, summary["latents"])
    test = signals_of(dataset.isel({sample: split_indices(dataset, ["test"])}), fitted.coordinates)
    summary["psnr_principal_components"] = psnr(null.squared_error(test))
    return Outcome(work.licence(signals), summary)


def _each(chunks: Iterable[tuple[Any, ...]]) -> Iterator[None]:
    """Fit chunks, side by side where a flow's task runner can."""
    if TaskRunContext.get() is None:
        yield from itertools.starmap(fit_chunk, chunks)
    else:
        for future in [fit_chunk_task.submit(*chunk) for chunk in chunks]:
            yield future.result()


def _quality(fits: dict[str, np.ndarray], fitted: FittedNetwork) -> dict[str, Any]:
    """Return the variables that say how good each sample is, in the data's own units."""
    scale = np.array([v.scale for v in fitted.variables])
    units = ", ".join(dict.fromkeys(v.attributes.get("units", "1") for v in fitted.variables))
    own = {
        "rmse": (np.sqrt(fits["squared"]) * scale, "root mean square error"),
        "bias": (fits["bias"] * scale, "mean of decoded minus original"),
        "maximum_error": (fits["largest"] * scale, "largest absolute error"),
        "rmse_weighted": (
            np.sqrt(fits["squared_weighted"]) * scale,
            "root mean square error, weighted by cos latitude",
        ),
        "bias_weighted": (
            fits["bias_weighted"] * scale,
            "mean of decoded minus original, weighted by cos latitude",
        ),
    }
    psnr_attributes = {"units": "dB", "long_name": "peak signal-to-noise ratio, range of one"}
    with np.errstate(divide="ignore"):
        own_psnr = -10 * np.log10(fits["mse"])
    return {
        "psnr": ("sample", own_psnr.astype(np.float32), psnr_attributes),
        "variable": np.array([v.name for v in fitted.variables], dtype=object),
    } | {
        name: (
            ("sample", "variable"),
            values.astype(np.float32),
            {"units": units, "long_name": text},
        )
        for name, (values, text) in own.items()
    }


def _summary(
    dataset: xr.Dataset, fits: dict[str, np.ndarray], quality: dict[str, Any]
) -> dict[str, Any]:
    """Return sizes and the quality of every split: PSNR of the mean squared error."""
    splits = [str(s) for s in np.unique(dataset["split"].values)]
    chosen = {split: split_indices(dataset, [split]) for split in splits}
    test = chosen["test"]

    def rms(name: str) -> float:
        return float(np.sqrt(np.square(quality[name][1][test]).mean()))

    return {
        "units": quality["rmse"][2]["units"],
        "signals": len(fits["modulation"]),
        "latents": fits["modulation"].shape[1],
        "psnr": {split: psnr(fits["mse"][i]) for split, i in chosen.items()},
        "test": {
            "rmse": rms("rmse"),
            "rmse_weighted": rms("rmse_weighted"),
            "bias": float(quality["bias"][1][test].mean()),
            "bias_weighted": float(quality["bias_weighted"][1][test].mean()),
            "maximum_error": float(quality["maximum_error"][1][test].max()),
        },
    }
