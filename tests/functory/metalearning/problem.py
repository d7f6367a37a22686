"""A small network and small signals that the tests of all inner solvers use."""

import torch

from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.signals import Signals

CONFIG = SirenConfig(latents=5, width=12, depth=4, omega_0=15)


def small_network() -> LatentModulatedSiren:
    torch.manual_seed(0)
    return LatentModulatedSiren(2, 2, CONFIG).double()


def small_signals(gaps: bool = False, own: bool = False, area: bool = False) -> Signals:
    """Three signals of 20 points: with gaps, points of their own, weights of the points."""
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(3, 20, 2, generator=generator).double()
    points = torch.rand(*((3, 20, 2) if own else (20, 2)), generator=generator).double() * 2 - 1
    observed = (torch.rand(3, 20, 1, generator=generator) > 0.3).double() if gaps else None
    weights = torch.rand(20, generator=generator).double() * 2 if area else None
    return Signals(points, features if observed is None else features * observed, observed, weights)
