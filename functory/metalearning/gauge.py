"""The gauge of the modulations: of all equivalent ones, the one that is comparable and ordered.

Functions depend on phi through M phi alone, so phi -> A phi with M -> M A^-1 changes nothing but
what damping means. A gauge in which equal steps of any latent change the functions equally makes
one quantiser step near optimal, and latents sorted by energy make truncation progressive.
"""

import torch
from torch import Tensor

from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.gauss_newton import GaussNewtonSteps
from functory.signals import Signals

__all__ = ["fix_gauge"]


@torch.no_grad()
def fix_gauge(network: LatentModulatedSiren, solver: GaussNewtonSteps, training: Signals) -> Tensor:
    """Whiten, rotate and sort the modulations, and absorb it into the modulation matrix.

    Afterwards J'WJ at phi = 0 is the identity, but for what damping takes from directions that
    hardly change the functions; the modulations of the training signals are uncorrelated; their
    variances fall from latent to latent; and the largest entry of each column of M is positive.

    Returns
    -------
    Tensor
        The variances, (latents,).
    """
    modulation = network.modulation.weight
    factor = solver.projector(network, training).factor
    phi = solver.first_step(network, training).double() @ factor
    variances, rotation = torch.linalg.eigh(torch.atleast_2d(phi.mT.cov()))
    whitened = torch.linalg.solve_triangular(factor.mT, rotation.flip(1), upper=True)
    matrix = modulation.double() @ whitened
    largest = matrix.gather(0, matrix.abs().argmax(0, keepdim=True))
    modulation.copy_(matrix * largest.sign())
    return variances.flip(0)
