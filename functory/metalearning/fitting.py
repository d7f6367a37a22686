"""Fitting: the modulations of signals on a fixed base network."""

import torch
from pydantic import PositiveInt
from torch import Tensor

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.inner_loop import Solver
from functory.quality import error_statistics
from functory.signals import Signals
from functory.training import Device

__all__ = ["Fitting", "fit"]

VALUES = 2**21  # activations of a layer that are held at once: 8 MB, about a processor's cache


class Fitting(Config):
    """How all signals are fitted on the learned network."""

    steps: PositiveInt | None = None
    """Inner steps; null takes as many as in training."""
    chunk: PositiveInt = 256
    """Signals of one unit of parallel work, and of what a killed run loses."""
    device: Device = "auto"
    """Where to fit; auto takes a GPU if there is one."""


def fit(
    network: LatentModulatedSiren,
    solver: Solver,
    signals: Signals,
    steps: int | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Fit every signal, a few at a time: how many depends on the sizes alone.

    Returns
    -------
    tuple
        Modulations, (signals, latents), and the statistics of `quality.error_statistics`, with the
        given (points,) weights or equal ones.
    """
    if weights is None:
        weights = torch.ones(signals.features.shape[1], device=signals.points.device)
    size = max(1, VALUES // (signals.features.shape[1] * network.config.width))
    modulations, rows = [], []
    with torch.no_grad():
        first = solver.first_step(network, signals)  # of all signals: they share its Jacobian
        for start in range(0, len(signals), size):
            part = signals.take(slice(start, start + size))
            phi = solver.refine(network, part, first[start : start + size], steps)
            rows.append(error_statistics(part, network(part.points, phi), weights))
            modulations.append(phi)
    statistics = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    return torch.cat(modulations), statistics
