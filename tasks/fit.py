"""Fit: the modulations of every signal, published as a functaset."""

import copy
import itertools
import json
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture
from safetensors.numpy import load_file
from safetensors.torch import save_file

from functory.errors import FunctoryError, StoreError
from functory.fields.coordinates import Patchwork
from functory.metalearning.fitting import Fitting, fit
from functory.metalearning.inner_loop import Solver
from functory.metalearning.outer import MetaLearning
from functory.metalearning.solvers import build_solver
from functory.progress import progress
from functory.signals import CHANNEL, grid_axes, sample_dimension, signals_of
from functory.sources.signal_sets import open_signals
from functory.training import resolve_device
from storage.functaset import share_network, write_modulations
from storage.networks import read_network
from storage.references import Reference
from tasks.null import null_quality
from tasks.quality import describe_quality, measure_for, measure_patchwork, summarise_quality
from tasks.stage import Outcome, Work, stage

__all__ = ["fit_all", "load_solver"]

SUBMITTED = 512  # chunks that are handed out at once: each holds a copy of the run's context


def fit_chunk(
    signals: Path, network: Path, learned: MetaLearning, config: Fitting, start: int, target: Path
) -> None:
    """Fit the signals from `start` on, and keep what was found in a file of the work folder.

    Raises
    ------
    StoreError
        If the store is not where this process could see it: a worker on another machine.
    """
    if target.exists():
        return
    if not (signals.exists() and network.exists() and target.parent.exists()):
        raise StoreError(
            f"The worker on {socket.gethostname()} does not see {signals}; keep the store on a "
            "file system that all workers share, under the same path."
        )
    device = resolve_device(config.device)
    dataset = open_signals(signals)
    sample = sample_dimension(dataset)
    fitted = read_network(str(network / "network"))
    solver = load_solver(network, learned)
    fitted = replace(fitted, network=copy.deepcopy(fitted.network).to(device))
    part = dataset.isel({sample: slice(start, start + config.chunk)})
    torch.set_num_threads(1)  # the same bits, however many chunks run side by side
    modulations, statistics = fit(
        fitted.network,
        solver.to(device),
        signals_of(part, fitted.coordinates, learned.by_area).to(device),
        config.steps,
        measure_for(fitted, device),
        config.points,
    )
    if isinstance(fitted.coordinates, Patchwork):  # what counts is the whole
        modulations = modulations.view(-1, *fitted.latent_shape)
        statistics = measure_patchwork(fitted, part, modulations)
    found = {"modulation": modulations, **statistics}
    partial = target.with_suffix(".partial")
    save_file({name: value.cpu().contiguous() for name, value in found.items()}, partial)
    partial.replace(target)


def load_solver(network: Path, learned: MetaLearning) -> Solver:
    """Return the solver that a network was learned with, and what of it was learned."""
    solver = build_solver(learned.solver, learned.network.latents)
    state = xr.open_zarr(network)
    solver.load_state_dict({k: torch.from_numpy(state[k].values) for k in solver.state_dict()})
    return solver


fit_chunk_task = task(name="fit_chunk", cache_policy=NO_CACHE)(fit_chunk)


@stage("functasets", version=2)
def fit_all(work: Work, config: Fitting, signals: Reference, network: Reference) -> Outcome:
    """Fit every signal of every split with the network fixed."""
    learned = MetaLearning(**work.record(network).configuration)
    dataset = open_signals(work.path(signals))
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
    quality = describe_quality(fits, fitted.modality, fitted.variables)
    elsewhere = {*grid_axes(dataset), CHANNEL}
    coordinates = {
        str(name): (["sample" if d == sample else d for d in c.dims], c.values, c.attrs)
        for name, c in dataset.coords.items()
        if not elsewhere & set(c.dims)
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
    summary = summarise_quality(dataset, fits, quality)
    latents = fitted.network.config.latents
    for name, value in null_quality(dataset, fitted.coordinates, latents).items():
        summary[f"{name}_principal_components"] = value
    return Outcome(work.licence(signals), summary)


def _each(chunks: Iterable[tuple[Any, ...]]) -> Iterator[None]:
    """Fit chunks, side by side where a flow's task runner can, and never all handed out at once."""
    if TaskRunContext.get() is None:
        yield from itertools.starmap(fit_chunk, chunks)
        return
    waiting: deque[PrefectFuture[None]] = deque()
    for chunk in chunks:
        waiting.append(fit_chunk_task.submit(*chunk))
        if len(waiting) == SUBMITTED:
            _finished(waiting.popleft())
            yield
    while waiting:
        _finished(waiting.popleft())
        yield


def _finished(chunk: PrefectFuture[None]) -> None:
    """Wait for a chunk."""
    try:
        chunk.result()
    except Exception as error:
        from distributed import KilledWorker  # takes long, and hardly ever happens

        if not isinstance(error, KilledWorker):
            raise
        raise FunctoryError(
            "The workers died again and again over the same signals, most likely for want of "
            "memory; lower fit.chunk, or ask for fewer by FUNCTORY_WORKERS, and run again."
        ) from error
