"""The one training loop: progress, checkpoints, resume, choice of the best, divergence guard."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from functory.checkpoints import pack, unpack
from functory.distributed import average, by_first, is_first
from functory.errors import DivergenceError
from functory.optimisation import Optimisation, build_optimiser
from functory.progress import progress

__all__ = ["Device", "History", "Step", "batch", "resolve_device", "train"]

Device = Literal["auto", "cpu", "cuda"]

MEMORY = 0.98  # of the running mean of losses: about fifty steps
RESTARTS = 3  # a run that diverges at an eighth of its rate will not be saved by a sixteenth


@dataclass(frozen=True)
class Step:
    """What a loss may depend on at one step, so that a resumed run repeats the same steps."""

    number: int
    generator: torch.Generator


@dataclass
class History:
    """What happened in training: rows of step, loss, rate and held-out measurements."""

    rows: list[dict[str, float]] = field(default_factory=list)
    restarts: int = 0
    best_step: int | None = None


def resolve_device(device: Device) -> torch.device:
    """Return the GPU where there is one and `auto` is asked for, else the named device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def batch(samples: int, size: int, seed: int, step: int) -> Tensor:
    """Return the sample indices of one step: shuffled epochs, a pure function of its arguments."""
    size = min(size, samples)
    per_epoch = samples // size
    epoch, position = divmod(step, per_epoch)
    return _permutation(samples, seed, epoch)[position * size : (position + 1) * size]


@lru_cache(maxsize=4)
def _permutation(samples: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(samples, generator=_generator(seed, epoch, salt=1))


def _generator(seed: int, number: int, salt: int) -> torch.Generator:
    # 2654435761 spreads consecutive numbers over the seeds (Knuth's multiplicative hash)
    mixed = (seed * 1_000_003 + number * 2_654_435_761 + salt * 97) % 2**63
    return torch.Generator().manual_seed(mixed)


def train(
    model: nn.Module,
    loss: Callable[[Step], Tensor],
    optimisation: Optimisation,
    *,
    label: str,
    groups: Sequence[Mapping[str, Any]] | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    select: str | None = None,
    relapse: float = math.inf,
    after_step: Callable[[], None] | None = None,
    checkpoint: Path | None = None,
) -> History:
    """Minimise a loss over a model's parameters, in place.

    Parameters
    ----------
    loss
        The loss of one step; everything random in it must come from the step's generator or from
        torch's default generator, which is seeded for every step.
    groups
        Parameter groups, where not all parameters share one rate.
    evaluate
        Held-out measurements; `select` names the one whose largest value chooses the parameters
        that the model ends with.
    relapse
        How many times its lowest the running mean of losses may be before training counts as
        diverged, for losses that are positive: a network can leave for good what it has learned
        without any value that is not finite.
    after_step
        Called after every update (to project parameters, say).
    checkpoint
        Where to save the state; an existing file of the same run is resumed from.

    Raises
    ------
    DivergenceError
        If the loss is not finite, or relapses, even after restarts from the last good checkpoint
        at lower rates.

    In several processes (`functory.distributed`) the loss and its gradient are means over theirs,
    so that all take the same steps, and the same decision to restart.
    """
    run = _Run(model, optimisation, groups, checkpoint, relapse)
    run.resume()
    with progress(
        optimisation.steps, label, "step", initial=run.step, disable=not is_first()
    ) as bar:
        while run.step < optimisation.steps:
            value = run.advance(loss, after_step)
            if value is None:
                run.restart(label)
                bar.n = run.step
                bar.refresh()
                continue
            bar.update()
            last = run.step == optimisation.steps
            if evaluate is not None and (last or run.step % optimisation.evaluate_every == 0):
                run.measure(evaluate, select)
                bar.set_postfix({k: f"{v:.4g}" for k, v in run.history.rows[-1].items()})
            elif evaluate is None and run.step % 10 == 0:
                bar.set_postfix(loss=f"{value:.4g}")
            if last or run.step % optimisation.checkpoint_every == 0:
                run.save()
    run.keep_best()
    return run.history


class _Run:
    """The state of one training run: everything that a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation,
        groups: Sequence[Mapping[str, Any]] | None,
        checkpoint: Path | None,
        relapse: float,
    ) -> None:
        self.model, self.optimisation, self.checkpoint = model, optimisation, checkpoint
        self.relapse, self.mean, self.lowest = relapse, math.nan, math.inf
        trained = [dict(g) for g in groups] if groups else [{"params": list(model.parameters())}]
        self.optimiser = build_optimiser(trained, optimisation)
        self.full_rates = [group["lr"] for group in self.optimiser.param_groups]
        self.step, self.scale, self.losses = 0, 1.0, list[float]()
        self.history = History()
        self.best: dict[str, Tensor] = {}
        self.snapshot = self._pack()

    def advance(
        self, loss: Callable[[Step], Tensor], after_step: Callable[[], None] | None
    ) -> float | None:
        """Take one step; return its loss, or None where training has diverged."""
        seed, clip = self.optimisation.seed, self.optimisation.clip
        factor = self.scale * self.optimisation.factor(self.step)
        for group, rate in zip(self.optimiser.param_groups, self.full_rates, strict=True):
            group["lr"] = rate * factor
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        generator = _generator(seed, self.step, salt=2)
        devices = [p.device for p in self.model.parameters() if p.is_cuda][:1]
        with torch.random.fork_rng(devices):
            torch.manual_seed(generator.initial_seed())
            value = loss(Step(self.step, generator))
            value.backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        value = average(value, parameters)
        norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
        if not (torch.isfinite(value) and torch.isfinite(norm)):
            return None
        number = float(value.detach())
        self.mean = number if math.isnan(self.mean) else MEMORY * self.mean + (1 - MEMORY) * number
        self.lowest = min(self.lowest, self.mean)
        if self._rise() > self.relapse:
            return None
        self.optimiser.step()
        if after_step is not None:
            after_step()
        self.step += 1
        self.losses.append(number)
        return number

    def _rise(self) -> float:
        """Return how many times its lowest the running mean of losses is, for positive losses."""
        return self.mean / self.lowest if self.lowest > 0 else 1.0

    def measure(self, evaluate: Callable[[], dict[str, float]], select: str | None) -> None:
        """Append a row to the history, and remember the parameters if they are the best."""
        self.model.eval()
        measured = by_first(evaluate)
        mean = sum(self.losses) / len(self.losses)
        self.losses.clear()
        row = {"step": self.step, "loss": mean, **measured}
        if select is not None and all(row[select] > r[select] for r in self.history.rows):
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.history.best_step = self.step
        self.history.rows.append(row)

    def keep_best(self) -> None:
        """Leave the model in evaluation mode, with the chosen parameters."""
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()

    def restart(self, label: str) -> None:
        """Go back to the last checkpoint at half the rate."""
        failed, restarts = self.step, self.history.restarts + 1
        if restarts > RESTARTS:
            raise DivergenceError(
                f"{label}: the loss diverges at step {failed + 1} even at "
                f"{self.scale:g} times the rate of {self.optimisation.rate:g}; "
                "lower the rate, or look at the data for outliers."
            )
        scale = self.scale / 2
        self._unpack(self.snapshot)
        self.history.restarts, self.scale = restarts, scale
        self.save()

    def save(self) -> None:
        """Remember the state, and write it to disk so that a reader sees the old or the new.

        A state that may be about to relapse is not one to go back to.
        """
        if self._rise() > math.sqrt(self.relapse):
            return
        self.snapshot = self._pack()
        if self.checkpoint is not None and is_first():
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            partial = self.checkpoint.with_suffix(".partial")
            partial.write_bytes(self.snapshot)
            partial.replace(self.checkpoint)

    def resume(self) -> None:
        """Take up the state on disk, if there is one."""
        path = self.checkpoint
        found = by_first(lambda: path.read_bytes() if path is not None and path.exists() else None)
        if found is not None:
            self.snapshot = found
            self._unpack(found)

    def _pack(self) -> bytes:
        return pack(
            {
                "model": self.model.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "scale": self.scale,
                "losses": self.losses,
                "mean": self.mean,
                "lowest": self.lowest,
                "history": asdict(self.history),
            }
        )

    def _unpack(self, packed: bytes) -> None:
        state = unpack(packed)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.step, self.scale = state["best"], state["step"], state["scale"]
        self.mean, self.lowest = state["mean"], state["lowest"]
        self.losses, self.history = state["losses"], History(**state["history"])
