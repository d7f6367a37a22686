"""Completion: the whole of a signal inferred from a part, with a flow as the prior."""

from dataclasses import dataclass

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from functory.configuration import Config
from functory.fields.siren import LatentModulatedSiren
from functory.metalearning.gauss_newton import normal_equations
from functory.models.flow_prior import FlowPrior
from functory.signals import Signals

__all__ = ["Completion", "complete"]

SHARES = (1.0, 0.4, 0.1)  # of a step: the best on the true objective is taken, or none
GROUP = 4  # signals that are completed at once
DRAWS = 8  # draws that are evaluated at once, and…
FEW = 1024  # … at how many of the points


class Completion(Config):
    """How modulations are inferred from observations: MAP, equation 5.2 of the thesis."""

    noise: PositiveFloat = 0.1
    """Standard deviation of what functions miss of signals, in units of the data's range."""
    independent: PositiveFloat = 512.0
    """The most observations that count as independent.

    What a function misses at one point it misses at the next, so that the likelihood of many points
    together knows far less than their number. With `noise` it makes lambda of the equation.
    """
    draws: PositiveInt = 64
    """Draws from the prior (of each class) among which starts are chosen."""
    starts: PositiveInt = 2
    """The best draws that are followed; the lowest objective at the end wins."""
    steps: PositiveInt = 12
    """Gauss-Newton steps."""
    points: PositiveInt = 8192
    """Observed points that are used at most, the same number for each signal."""
    seed: int = 0
    """Seed of the draws and of the points."""


@dataclass(frozen=True)
class _Problem:
    """MAP inference for some signals: at some observed points each, with their classes."""

    network: LatentModulatedSiren
    flow: FlowPrior
    signals: Signals
    weight: Tensor
    labels: Tensor | None

    def objective(self, phi: Tensor) -> Tensor:
        """Return -log p(phi) + lambda sum (f - y)^2 of each signal, (signals,)."""
        return self.penalty(phi) + self.weight * self.misfit(phi)

    def penalty(self, phi: Tensor) -> Tensor:
        return -self.flow.log_prob(phi, self.labels)

    def misfit(self, phi: Tensor) -> Tensor:
        prediction = self.network(self.signals.points, phi)
        return self.signals.squared_error(prediction) * self.signals.count()


def complete(
    network: LatentModulatedSiren, flow: FlowPrior, signals: Signals, config: Completion
) -> tuple[Tensor, Tensor | None]:
    """Infer the modulations of partly observed signals.

    Minimises -log p(phi) + lambda sum (f_phi(x) - y)^2 over the observed points, from the best of
    some draws from the prior, by steps that take the flow as a normal distribution and the
    functions as linear, and that only go where the objective falls. Under a class-conditional
    flow, the class is that of the draw that led to the lowest objective.

    Returns
    -------
    tuple
        Modulations, (signals, latents), and classes, (signals,), or None.
    """
    candidates, classes = _draws(flow, config)
    found, labels = [], []
    for start in range(0, len(signals), GROUP):
        part = _some_points(signals.take(slice(start, start + GROUP)), config)
        seen = signals.take(slice(start, start + GROUP)).count()
        weight = seen.clamp(max=config.independent) / (2 * config.noise**2) / part.count()
        best = _best_draws(network, flow, part, weight, candidates, classes, config.starts)
        starts, each = best.flatten(), torch.arange(len(part)).repeat_interleave(best.shape[1])
        chosen = None if classes is None else classes[starts]
        problem = _Problem(network, flow, part.take(each), weight[each], chosen)
        phi, reached = _minimise(problem, candidates[starts], config.steps)
        lowest = reached.view(best.shape).argmin(1) + torch.arange(len(part)) * best.shape[1]
        found.append(phi[lowest])
        labels.append(None if chosen is None else chosen[lowest])
    known = None if classes is None else torch.cat([part for part in labels if part is not None])
    return torch.cat(found), known


def _draws(flow: FlowPrior, config: Completion) -> tuple[Tensor, Tensor | None]:
    """Draw candidates from the prior, of every class, with its mean as the first."""
    if not flow.classes:
        drawn = flow.sample(config.draws, seed=config.seed)
        return torch.cat([flow.mean[None], drawn]), None
    classes = torch.arange(flow.classes).repeat_interleave(config.draws)
    return flow.sample(len(classes), seed=config.seed, labels=classes), classes


def _some_points(signals: Signals, config: Completion) -> Signals:
    """Give each signal the same number of its observed points, as points of its own."""
    known = signals.observed
    observed = torch.ones_like(signals.features[..., :1]) if known is None else known
    generator = torch.Generator().manual_seed(config.seed)
    # the same lots for all signals: what is inferred of one does not depend on its place
    lots = torch.rand(observed.shape[1], generator=generator) + (observed[..., 0] > 0)
    most = min(config.points, int((observed > 0).sum(1).max()))
    chosen = lots.topk(most, dim=1).indices  # observed ones first
    points = signals.points.expand(len(signals), -1, -1)

    def pick(values: Tensor) -> Tensor:
        return values.gather(1, chosen[..., None].expand(-1, -1, values.shape[-1]))

    return Signals(pick(points), pick(signals.features), pick(observed))


def _best_draws(
    network: LatentModulatedSiren,
    flow: FlowPrior,
    part: Signals,
    weight: Tensor,
    candidates: Tensor,
    classes: Tensor | None,
    count: int,
) -> Tensor:
    """Return for each signal the numbers of the draws with the lowest objectives."""
    few, scale = part.at(slice(0, FEW)), weight * part.count()
    best = []
    with torch.no_grad():
        penalty = -flow.log_prob(candidates, classes)
        for i in range(len(few)):
            one = few.take(slice(i, i + 1))
            parts = [network(one.points[0], some) for some in candidates.split(DRAWS)]
            objective = penalty + scale[i] * one.squared_error(torch.cat(parts))
            best.append(objective.topk(min(count, len(candidates)), largest=False).indices)
    return torch.stack(best)


def _minimise(problem: _Problem, phi: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Take steps of the likelihood's Gauss-Newton matrix and the prior's normal precision.

    Returns modulations and the objectives that they reach.
    """
    precision = problem.flow.deviation.double().square().reciprocal().diag()
    with torch.no_grad():
        reached = problem.objective(phi)
    for _ in range(steps):
        pull = _gradient(problem, phi).double()
        with torch.no_grad():
            f, jacobian = problem.network.linearised(problem.signals.points, phi)
            normal, right = normal_equations(f, jacobian, problem.signals)
            weight = 2 * problem.weight.double()[:, None, None]
            factor = torch.linalg.cholesky(weight * normal + precision)
            step = torch.cholesky_solve(weight * right - pull[..., None], factor)[..., 0]
            tried = torch.stack([phi, *(phi + share * step.to(phi.dtype) for share in SHARES)])
            values = [reached, *(problem.objective(candidate) for candidate in tried[1:])]
            reached, best = torch.stack(values).nan_to_num(torch.inf).min(0)
        phi = tried[best, torch.arange(len(phi))]
        if not best.any():
            break
    return phi, reached


def _gradient(problem: _Problem, phi: Tensor) -> Tensor:
    """Return the gradient of -log p, (signals, latents)."""
    with torch.enable_grad():
        leaf = phi.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(problem.penalty(leaf).sum(), leaf)
    return gradient
