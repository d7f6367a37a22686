"""The outer loop: learn a base network on which modulations are found in a few steps."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from functory.configuration import Config
from functory.distributed import by_first, share, weight
from functory.fields.coordinates import CoordinatesKind, Patches
from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.gauge import fix_gauge
from functory.metalearning.gauss_newton import GaussNewton, GaussNewtonSteps
from functory.metalearning.inner_loop import Solver
from functory.metalearning.rate_distortion import (
    DENSITY_RATE,
    RateDistortion,
    RateDistortionLoss,
    sort_latents,
)
from functory.metalearning.solvers import SolverConfig, build_solver
from functory.metalearning.tangent import TangentLoss, TangentStart
from functory.optimisation import Optimisation
from functory.quality import psnr
from functory.signals import Signals, StoredSignals, some
from functory.training import Device, History, Step, batch, resolve_device, train

__all__ = ["HELD_VALUES", "MetaLearning", "MetaModel", "build_model", "meta_learn", "tune_rate"]

RELAPSE = 4.0  # 6 dB: far beyond what batches differ by
HELD_VALUES = 2**28  # of signals that are held in memory at once: 1 GB


class MetaLearning(Config):
    """How the base network is learned."""

    network: SirenConfig = SirenConfig()
    """Size of the base network."""
    solver: SolverConfig = GaussNewton()
    """How modulations are found."""
    tangent: TangentStart | None = TangentStart()
    """How the network's tangent space is aligned at first; null starts from random weights."""
    optimisation: Optimisation = Optimisation(
        steps=1000, batch=16, rate=1e-3, optimiser="soap", schedule="cosine", warmup=20
    )
    """The outer loop."""
    coordinates: CoordinatesKind = "sphere"
    """What the network sees: the unit sphere, a box with ends at -1 and 1, or pixel centres."""
    patches: Patches | None = None
    """How signals are cut into patches with modulations of their own; null cuts none.

    Each patch is fitted as a signal, on coordinates of its own from -1 to 1.
    """
    by_area: bool = False
    """Whether errors count by cos latitude, in training and in fitting, or equally."""
    points: PositiveInt | None = None
    """Points drawn for every outer step, the same for its signals; null takes all.

    As many others measure the fit, as far as there are others.
    """
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""
    rate: RateDistortion | None = None
    """How the network is trained on for rounded modulations; null leaves it as it is."""

    @model_validator(mode="after")
    def _steps_need_the_gauge(self) -> Self:
        if self.rate is not None and not isinstance(self.solver, GaussNewton):
            raise ValueError(
                "rate needs the solver 'gauss-newton': only its modulations have a gauge in which "
                "a step is an error"
            )
        return self

    @model_validator(mode="after")
    def _patches_are_of_boxes(self) -> Self:
        if self.patches is not None and (self.coordinates == "sphere" or self.by_area):
            raise ValueError("patches need coordinates 'box' or 'pixel-centres', and no by_area")
        return self


class MetaModel(nn.Module):
    """What is learned in the outer loop: the base network and the solver's own parameters."""

    def __init__(self, network: LatentModulatedSiren, solver: Solver) -> None:
        super().__init__()
        self.network, self.solver = network, solver

    def groups(self, config: MetaLearning) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups."""
        sizes = list(self.solver.parameters())
        groups: list[dict[str, Any]] = [{"params": list(self.network.parameters())}]
        if sizes:
            rate = getattr(config.solver, "rate", None) or config.optimisation.rate
            groups.append({"params": sizes, "lr": rate})
        return groups


def build_model(inputs: int, outputs: int, config: MetaLearning) -> MetaModel:
    """Build the network and solver with the configured seed's initial parameters."""
    with torch.random.fork_rng([]):
        torch.manual_seed(config.optimisation.seed)
        network = LatentModulatedSiren(inputs, outputs, config.network)
        return MetaModel(network, build_solver(config.solver, config.network.latents))


def meta_learn(
    training: Signals | StoredSignals,
    held_out: Signals,
    config: MetaLearning,
    checkpoint: Path | None = None,
    label: str = "meta-learning",
) -> tuple[MetaModel, History]:
    """Learn a base network and its solver (equations 4.8 and 4.9 of the thesis).

    The outer loss is the mean squared error of the fitted signals, of second order in the
    parameters. `held_out` only measures: the last parameters are kept, not the best. Where
    nothing depends on it (with Gauss-Newton steps), the modulations' gauge is fixed at the end,
    and with a `rate` the network is then trained on. Of stored signals, some stand for all in what
    needs them all at once.
    """
    device = resolve_device(config.device)
    held_out = held_out.to(device)
    if isinstance(training, Signals):
        training = training.to(device)
    known = _known(training).to(device)
    outputs = held_out.features.shape[-1]
    model = build_model(held_out.points.shape[-1], outputs, config).to(device)
    begun = by_first(lambda: checkpoint is not None and checkpoint.exists())
    if config.tangent is not None and not begun:
        align_tangent(model.network, known, config, config.tangent, checkpoint, label)
    history = train(
        model,
        outer_loss(model, training, config),
        config.optimisation,
        label=label,
        groups=model.groups(config),
        evaluate=lambda: {"psnr": psnr(fit(model.network, model.solver, held_out)[1]["mse"])},
        relapse=RELAPSE,
        after_step=model.solver.project,
        checkpoint=checkpoint,
    )
    if isinstance(model.solver, GaussNewtonSteps):
        fix_gauge(model.network, model.solver, known)
    if config.rate is not None:
        after = checkpoint and checkpoint.with_suffix(".rate")
        tuned = tune_rate(model, training, held_out, config, config.rate, after, label)
        history = _joined(history, tuned)
    return model, history


def tune_rate(
    model: MetaModel,
    training: Signals | StoredSignals,
    held_out: Signals,
    config: MetaLearning,
    rate: RateDistortion,
    checkpoint: Path | None = None,
    label: str = "meta-learning",
) -> History:
    """Train a learned network on for what its rounded modulations cost (thesis, section 6.4.3).

    The network's gauge must have been fixed; it stays as the rate leaves it, in order of variance.
    """
    network, solver = model.network, model.solver
    assert isinstance(solver, GaussNewtonSteps)  # as the configuration promises
    device = next(network.parameters()).device
    known, held_out = _known(training).to(device), held_out.to(device)
    objective = RateDistortionLoss(network, solver, known, rate.step, rate.weight)
    fitted = fitted_batches(model, training, config, rate.optimisation, lambda chosen: chosen)

    def loss(step: Step) -> Tensor:
        return objective(*fitted(step), step.generator)

    history = train(
        nn.ModuleDict({"network": network, "density": objective.density}),
        loss,
        rate.optimisation,
        label=f"{label}, rate",
        groups=[
            {"params": list(network.parameters())},
            {"params": list(objective.density.parameters()), "lr": DENSITY_RATE},
        ],
        evaluate=lambda: objective.measure(held_out),
        relapse=RELAPSE,
        checkpoint=checkpoint,
    )
    sort_latents(network, solver, known)
    return history


def _joined(first: History, then: History) -> History:
    """Return one history of two runs: steps count on, and what was not measured is NaN."""
    names, taken = list(then.rows[-1]), first.rows[-1]["step"]
    rows = [{name: row.get(name, math.nan) for name in names} for row in first.rows]
    rows += [row | {"step": taken + row["step"]} for row in then.rows]
    return History(rows, first.restarts + then.restarts)


def _known(training: Signals | StoredSignals) -> Signals:
    """Read as many of the signals, spread over all, as may be held at once."""
    if isinstance(training, Signals):
        return training
    most = max(1, HELD_VALUES * len(training) // training.values)
    return training.take(torch.from_numpy(some(np.arange(len(training)), most)))


def align_tangent(
    network: LatentModulatedSiren,
    training: Signals,
    config: MetaLearning,
    tangent: TangentStart,
    checkpoint: Path | None,
    label: str,
) -> None:
    """Train the network's tangent space, and set the modulation matrix to the best one for it."""
    objective = TangentLoss(training, config.network.latents, tangent.penalty)
    changes = {"steps": tangent.steps, "rate": tangent.rate, "schedule": "cosine"}
    points = config.points and max(config.points, enough_points(network))

    def loss(step: Step) -> Tensor:
        return objective(network, draw_points(training, points, step)[0])

    train(
        network,
        loss,
        config.optimisation.model_copy(update=changes),
        label=f"{label}, tangent",
        checkpoint=checkpoint and checkpoint.with_suffix(".tangent"),
    )
    objective.solve(network)


def enough_points(network: LatentModulatedSiren) -> int:
    """Return the points below which shifts could fit any values, whatever the tangent space."""
    return math.ceil(4 * network.modulation.out_features / network.outputs)


def outer_loss(
    model: MetaModel, training: Signals | StoredSignals, config: MetaLearning
) -> Callable[[Step], Tensor]:
    """Return the loss of an outer step: the error of its batch after the inner solver.

    In several processes, each has the error of its share, weighted by how much of the batch it is.
    """
    fitted = fitted_batches(model, training, config, config.optimisation, share)
    size = min(config.optimisation.batch, len(training))

    def loss(step: Step) -> Tensor:
        measured, phi = fitted(step)
        error = measured.squared_error(model.network(measured.points, phi)).mean()
        return error * weight(len(measured), size)

    return loss


def fitted_batches(
    model: MetaModel,
    training: Signals | StoredSignals,
    config: MetaLearning,
    optimisation: Optimisation,
    part: Callable[[Tensor], Tensor],
) -> Callable[[Step], tuple[Signals, Tensor]]:
    """Return what draws a step's signals, at the points that measure, and fits modulations.

    Of a step's batch, `part` takes what this process fits.
    """
    device = next(model.parameters()).device

    def fitted(step: Step) -> tuple[Signals, Tensor]:
        chosen = batch(len(training), optimisation.batch, optimisation.seed, step.number)
        signals = training.take(part(chosen)).to(device)
        known, measured = (signals.at(p) for p in draw_points(signals, config.points, step))
        return measured, model.solver(model.network, known)

    return fitted


def draw_points(signals: Signals, points: int | None, step: Step) -> tuple[Tensor | slice, ...]:
    """Draw the points that signals are fitted at in a step, and those that measure the fit."""
    count = signals.points.shape[-2]
    if points is None or points >= count:
        return slice(None), slice(None)
    order = torch.randperm(count, generator=step.generator)
    fitted, measured = order[:points], order[points:][:points]
    # too few others would measure too roughly
    return fitted, measured if 2 * len(measured) >= points else fitted
