"""The functaset of a record: begun with its base network, and extended with the same one."""

import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors.numpy import load_file

from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.progress import progress
from functory.signals import signal_variables
from functory.sources.record_signals import month_chunk
from functory.sources.signal_sets import open_signals
from storage.functaset import share_network
from storage.networks import read_network
from storage.references import Reference
from tasks.fit import fit_all, fit_chunk
from tasks.quality import describe_quality
from tasks.shared_chunks import changed_chunks, chunk_along_samples, share_chunks
from tasks.stage import Outcome, Work, stage

__all__ = ["begin_functaset", "extend_functaset"]


@stage("functasets", version=1)
def begin_functaset(work: Work, config: Fitting, signals: Reference, network: Reference) -> Outcome:
    """Fit every signal of a record, with a chunk of modulations for each month."""
    outcome = fit_all.compute(work, config, signals=signals, network=network)
    period = month_chunk(open_signals(work.path(signals)))
    chunk_along_samples(work.result, "modulation", period)
    return outcome


@stage("functasets", version=1)
def extend_functaset(
    work: Work, config: Fitting, functaset: Reference, signals: Reference, network: Reference
) -> Outcome:
    """Fit the months whose signals are new or have changed; all others are shared.

    Every month is fitted by itself, so that the results do not depend on how many come at once.
    """
    earlier, dataset = work.record(functaset), open_signals(work.path(signals))
    before, now = work.record(earlier.parents["signals"]), work.record(signals)
    months, period = changed_chunks(before, now, signal_variables(dataset)), month_chunk(dataset)
    found = _fit_months(work, config, signals, network, months, period)
    known = xr.open_zarr(work.path(functaset), chunks=None)
    extended = _with_coordinates(_lengthened(known, dataset.sizes["time"]), dataset)
    extended.attrs["licence"] = work.licence(signals)
    extended.attrs["provenance"] = json.dumps(
        {"signals": signals.digest, "network": network.digest}
    )
    fitted = read_network(str(work.path(network) / "network"))
    for number, fits in found.items():
        at = slice(number * period, (number + 1) * period)
        described = describe_quality(fits, fitted.modality, fitted.variables)
        for name in extended.data_vars:
            extended[name].values[at] = described[str(name)][1]
    extended.to_zarr(work.result, zarr_format=3, consolidated=False, mode="w-")
    array = share_chunks(
        work.path(functaset), earlier, work.result, "modulation", dataset.sizes["time"], months
    )
    for number, fits in found.items():
        array[number * period : (number + 1) * period] = fits["modulation"]
    share_network(work.path(functaset), work.result)
    labels = [str(dataset["time"].values[number * period])[:7] for number in months]
    summary = {"signals": dataset.sizes["time"], "fitted": labels}
    return Outcome(work.licence(signals), earlier.summary | summary)


def _fit_months(
    work: Work,
    config: Fitting,
    signals: Reference,
    network: Reference,
    months: list[int],
    period: int,
) -> dict[int, dict[str, np.ndarray]]:
    """Return what is found of each month; of a killed process, finished months stay."""
    learned = MetaLearning(**work.record(network).configuration)
    config, threads = config.model_copy(update={"chunk": period}), torch.get_num_threads()
    chunks = work.folder / "chunks"
    chunks.mkdir(exist_ok=True)
    with progress(len(months), "fitting", "month") as bar:
        for number in months:
            target, start = chunks / f"{number:06d}", number * period
            fit_chunk(work.path(signals), work.path(network), learned, config, start, target)
            bar.update(1)
    torch.set_num_threads(threads)
    return {number: load_file(chunks / f"{number:06d}") for number in months}


def _lengthened(functaset: xr.Dataset, length: int) -> xr.Dataset:
    """Return what is known of each sample, with room for more of them."""
    variables: dict[str, Any] = {}
    for name, variable in functaset.drop_vars("modulation").variables.items():
        values = variable.values
        if variable.dims[:1] == ("sample",):
            longer = np.empty((length, *values.shape[1:]), values.dtype)
            longer[: len(values)] = values
            values = longer
        variables[str(name)] = (variable.dims, values, variable.attrs)
    extended = xr.Dataset(variables, attrs=functaset.attrs)
    return extended.set_coords([name for name in functaset.coords if name != "modulation"])


def _with_coordinates(functaset: xr.Dataset, signals: xr.Dataset) -> xr.Dataset:
    """Return the functaset with what the signal set says of its samples."""
    return functaset.assign_coords(
        {
            str(name): ("sample", coordinate.values, coordinate.attrs)
            for name, coordinate in signals.coords.items()
            if coordinate.dims == ("time",)
        }
    )
