"""The outer loop: learn a base network on which modulations are found in a few steps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from functory.configuration import Config
from functory.fields.coordinates import CoordinatesKind
from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.metalearning.fitting import fit
from functory.metalearning.solvers import GradientDescent, Solver, SolverConfig, build_solver
from functory.quality import psnr
from functory.signals import Signals
from functory.training import Device, History, Optimisation, Step, batch, resolve_device, train

__all__ = ["MetaLearning", "MetaModel", "build_model", "meta_learn"]


class MetaLearning(Config):
    """How the base network is learned."""

    network: SirenConfig = SirenConfig()
    """Size of the base network."""
    solver: SolverConfig = GradientDescent()
    """How modulations are found."""
    optimisation: Optimisation = Optimisation(steps=1000, batch=16, rate=5e-4)
    """The outer loop."""
    coordinates: CoordinatesKind = "sphere"
    """What the network sees: the unit sphere, a box with ends at -1 and 1, or pixel centres."""
    points: PositiveInt | None = None
    """Points drawn for every outer step, the same for its signals; null takes all."""
    device: Device = "auto"
    """Where to train; auto takes a GPU if there is one."""


class MetaModel(nn.Module):
    """What is learned in the outer loop: the base network and the solver's own parameters."""

    def __init__(self, network: LatentModulatedSiren, solver: Solver) -> None:
        super().__init__()
        self.network, self.solver = network, solver

    def groups(self, config: MetaLearning) -> list[dict[str, Any]]:
        """Return Adam's parameter groups."""
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
    training: Signals,
    held_out: Signals,
    config: MetaLearning,
    checkpoint: Path | None = None,
    label: str = "meta-learning",
) -> tuple[MetaModel, History]:
    """Learn a base network and its solver (equations 4.8 and 4.9 of the thesis).

    The outer loss is the mean squared error of the fitted signals, of second order in the
    parameters. `held_out` only measures: the last parameters are kept, not the best.
    """
    device = resolve_device(config.device)
    training, held_out = training.to(device), held_out.to(device)
    outputs = training.features.shape[-1]
    model = build_model(training.points.shape[-1], outputs, config).to(device)
    history = train(
        model,
        outer_loss(model, training, config),
        config.optimisation,
        label=label,
        groups=model.groups(config),
        evaluate=lambda: {"psnr": psnr(fit(model.network, model.solver, held_out)[1]["mse"])},
        after_step=model.solver.project,
        checkpoint=checkpoint,
    )
    return model, history


def outer_loss(
    model: MetaModel, training: Signals, config: MetaLearning
) -> Callable[[Step], Tensor]:
    """Return the loss of an outer step: the error of its batch after the inner solver."""
    size, seed = config.optimisation.batch, config.optimisation.seed

    def loss(step: Step) -> Tensor:
        signals = training.take(batch(len(training), size, seed, step.number))
        count = len(signals.points)
        if config.points is not None and config.points < count:
            chosen = torch.randperm(count, generator=step.generator)[: config.points]
            signals = signals.at(chosen)
        phi = model.solver(model.network, signals)
        return signals.squared_error(model.network(signals.points, phi)).mean()

    return loss
