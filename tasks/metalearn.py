"""Meta-learn: the base network of a signal set."""

import numpy as np
import torch
import xarray as xr

from functory.fields.fitted_network import FittedNetwork, Variable
from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.fitting import fit
from functory.metalearning.inner_loop import Solver
from functory.metalearning.launching import learn, measured_split, training_signals
from functory.metalearning.outer import MetaLearning
from functory.quality import best_thresholds
from functory.signals import CHANNEL, Signals, grid_axes, signal_variables, some
from functory.sources.signal_sets import open_signals
from storage.networks import write_network
from storage.references import Reference
from tasks.stage import Outcome, Work, stage

__all__ = ["metalearn"]

ROUNDED = 64  # training signals that the surface of shapes is found on


@stage("networks", version=2)
def metalearn(work: Work, config: MetaLearning, signals: Reference) -> Outcome:
    """Learn a base network on which modulations are found in a few steps."""
    dataset = open_signals(work.path(signals))
    training, measured_on = training_signals(dataset, config), measured_split(dataset)
    model, history = learn(work.path(signals), config, work.checkpoint)
    learned = xr.Dataset(
        {k: ("evaluation", [row[k] for row in history.rows]) for k in history.rows[-1]}
        | {k: ("latent", v.detach().cpu().numpy()) for k, v in model.solver.state_dict().items()},
        attrs={"psnr_measured_on": measured_on, "restarts": history.restarts},
    )
    learned.to_zarr(work.result, zarr_format=3, consolidated=False, mode="w-")
    variables = tuple(describe(dataset[name]) for name in signal_variables(dataset))
    modality = dataset.attrs["modality"]
    network = model.network.cpu()
    grid = {axis: dataset[axis].values for axis in grid_axes(dataset)}
    if modality == "shape":
        known = training.take(torch.from_numpy(some(np.arange(len(training)), ROUNDED)))
        variables = (with_surface(variables[0], network, model.solver.cpu(), known),)
    write_network(
        work.result / "network",
        FittedNetwork(network, training.coordinates, grid, variables, modality),
    )
    parameters = sum(p.numel() for p in network.parameters())
    summary = {
        "latents": config.network.latents,
        "parameters": parameters,
        f"psnr_{measured_on}": history.rows[-1]["psnr"],
        "restarts": history.restarts,
    }
    return Outcome(work.licence(signals), summary)


def with_surface(
    variable: Variable, network: LatentModulatedSiren, solver: Solver, known: Signals
) -> Variable:
    """Add to occupancy the value at which it is best rounded on some training signals.

    Functions of thin shapes are lower than one half on many an occupied voxel.
    """
    phi, _ = fit(network, solver, known)
    with torch.no_grad():
        values = torch.cat([network(known.points, part) for part in phi.split(8)])
    surface = best_thresholds(known, values)["iou"]
    return variable.model_copy(update={"attributes": {**variable.attributes, "surface": surface}})


def describe(variable: xr.DataArray) -> Variable:
    """Return what a network needs to know of a variable to give it back in its own units."""
    kept = ("units", "long_name", "standard_name")
    return Variable(
        name=str(variable.name),
        attributes={name: variable.attrs[name] for name in kept if name in variable.attrs},
        offset=variable.attrs["normalisation_offset"],
        scale=variable.attrs["normalisation_scale"],
        channels=tuple(variable[CHANNEL].values.tolist()) if CHANNEL in variable.dims else (),
    )
