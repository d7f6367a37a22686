"""Fitting: the modulations of signals on a fixed base network."""

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.inner_loop import Solver
from functory.quality import error_statistics
from functory.signals import Signals
from functory.training import Device

__all__ = ["Fitting", "Measure", "fit"]

Measure = Callable[[Signals, Tensor], dict[str, Tensor]]

VALUES = 2**21  # activations of a layer that are held at once: 8 MB, about a processor's cache


class Fitting(Config):
    """How all signals are fitted on the learned network."""

    steps: PositiveInt | None = None
    """Inner steps; null takes as many as in training."""
    points: PositiveInt | None = None
    """Points at which the second and later steps are computed, the same for all; null takes all.

    Quality is measured at all points, and the first step, which is cheap, uses all of them.
    """
    chunk: PositiveInt = 256
    """Signals of one unit of parallel work, and of what a killed run loses."""
    device: Device = "auto"
    """Where to fit; auto takes a GPU if there is one."""


def fit(
    network: LatentModulatedSiren,
    solver: Solver,
    signals: Signals,
    steps: int | None = None,
    measure: Measure = error_statistics,
    points: int | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fit every signal, a few at a time: how many depends on the sizes alone.

    Returns
    -------
    tuple
        Modulations, (signals, latents), and what is measured of every signal.
    """
    size = max(1, VALUES // (signals.features.shape[1] * network.config.width))
    drawn = _draw(signals.features.shape[1], points)
    modulations, rows = [], []
    with torch.no_grad():
        first = solver.first_step(network, signals)  # of all signals: they share its Jacobian
        for start in range(0, len(signals), size):
            part = signals.take(slice(start, start + size))
            phi = solver.refine(network, part.at(drawn), first[start : start + size], steps)
            rows.append(measure(part, network(part.points, phi)))
            modulations.append(phi)
    statistics = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return torch.cat(modulations), statistics


def _draw(count: int, points: int | None) -> Tensor | slice:
    """Draw some of the points, in order; always the same."""
    if points is None or points >= count:
        return slice(None)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:points].sort().values
