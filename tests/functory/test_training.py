"""The training loop: resume, determinism, divergence guard, choice of the best."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from functory.errors import DivergenceError
from functory.optimisation import Optimisation
from functory.training import Step, batch, train

OPTIMISATION = Optimisation(
    steps=20, batch=4, rate=1e-2, schedule="cosine", warmup=3, checkpoint_every=5, evaluate_every=4
)
SOAP = OPTIMISATION.model_copy(update={"optimiser": "soap"})


class Regression:
    """A linear regression with dropout: uses both sources of randomness that a loss may use."""

    def __init__(self, stop_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.inputs = torch.randn(16, 3)
        self.stop_at = stop_at

    def loss(self, step: Step) -> Tensor:
        if step.number == self.stop_at:
            raise KeyboardInterrupt
        chosen = batch(16, 4, 0, step.number)
        noise = torch.randn(4, 3, generator=step.generator)
        inputs = self.inputs[chosen] + 0.1 * noise
        return (self.model(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    def evaluate(self) -> dict[str, float]:
        with torch.no_grad():
            error = (self.model(self.inputs) - self.inputs.sum(1, keepdim=True)).square().mean()
        return {"score": -float(error)}

    def run(
        self, checkpoint: Path | None = None, optimisation: Optimisation = OPTIMISATION
    ) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
        history = train(
            self.model,
            self.loss,
            optimisation,
            label="test",
            evaluate=self.evaluate,
            select="score",
            checkpoint=checkpoint,
        )
        return self.model.state_dict(), history.rows


@pytest.mark.parametrize("optimisation", [OPTIMISATION, SOAP], ids=["adam", "soap"])
@pytest.mark.parametrize("stop_at", [0, 4, 5, 13, 19])
def test_a_stopped_run_resumes_to_the_same_result(
    tmp_path: Path, stop_at: int, optimisation: Optimisation
) -> None:
    weights, rows = Regression().run(optimisation=optimisation)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        Regression(stop_at).run(checkpoint, optimisation)
    resumed, resumed_rows = Regression().run(checkpoint, optimisation)
    assert resumed_rows == rows
    assert all(torch.equal(resumed[name], weights[name]) for name in weights)


def test_a_resumed_run_repeats_at_most_one_checkpoint_interval(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        Regression(stop_at=13).run(checkpoint)
    seen: list[int] = []
    resumed = Regression()
    train(
        resumed.model,
        lambda step: (seen.append(step.number), resumed.loss(step))[1],
        OPTIMISATION,
        label="test",
        checkpoint=checkpoint,
    )
    assert seen == list(range(10, 20))


def test_training_leaves_torchs_generator_alone() -> None:
    regression = Regression()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    regression.run()
    assert torch.equal(torch.rand(1), expected)


def test_the_best_parameters_are_kept() -> None:
    regression = Regression()
    _, rows = regression.run()
    assert regression.evaluate()["score"] == pytest.approx(max(row["score"] for row in rows))


def diverging(
    bad_below: float, bad: float = float("nan")
) -> tuple[nn.Linear, Callable[[Step], Tensor], list[float]]:
    """Return a model whose loss is bad times itself at step 7 unless the rate is below a bound."""
    model = nn.Linear(1, 1)
    weights: list[float] = []

    def loss(step: Step) -> Tensor:
        weights.append(float(model.weight))
        value = (model(torch.ones(1, 1)) - 3).square().sum()
        # Adam's steps are about as long as the rate: the distance walked tells the rate
        walked = abs(float(model.weight) - weights[0])
        return value * bad if step.number == 7 and walked > 7 * bad_below else value

    return model, loss, weights


@pytest.mark.parametrize("bad", [float("nan"), 1000.0])
def test_a_divergent_run_restarts_from_its_checkpoint_at_a_lower_rate(bad: float) -> None:
    model, loss, weights = diverging(0.9e-2, bad)
    optimisation = OPTIMISATION.model_copy(update={"warmup": 0})
    history = train(model, loss, optimisation, label="test", relapse=4)
    assert history.restarts == 1
    assert weights[8] == weights[5]  # back at the checkpoint of step 5
    assert torch.isfinite(model.weight).all()


def test_a_loss_that_only_wavers_is_no_relapse() -> None:
    model, loss, _ = diverging(0.9e-2, bad=30.0)
    assert train(model, loss, OPTIMISATION, label="test", relapse=4).restarts == 0


def test_a_run_that_stays_divergent_gives_up_clearly() -> None:
    model, loss, _ = diverging(bad_below=-1)
    with pytest.raises(DivergenceError, match=r"step 8 even at 0\.125 times the rate"):
        train(model, loss, OPTIMISATION, label="test")


@given(
    samples=st.integers(1, 50),
    size=st.integers(1, 60),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
)
def test_an_epoch_shows_every_sample_at_most_once(
    samples: int, size: int, seed: int, epoch: int
) -> None:
    per_epoch = samples // min(size, samples)
    steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    seen = torch.cat([batch(samples, size, seed, step) for step in steps])
    assert len(seen.unique()) == len(seen)
    assert len(seen) > samples - min(size, samples)


def test_schedules() -> None:
    cosine = Optimisation(steps=100, batch=1, rate=1, schedule="cosine", warmup=10)
    assert [cosine.factor(s) for s in (0, 9, 10, 55)] == pytest.approx([0.1, 1.0, 1.0, 0.5])
    assert cosine.factor(99) < 0.001
    inverse = Optimisation(steps=100, batch=1, rate=1, schedule="inverse-sqrt", warmup=4)
    assert [inverse.factor(s) for s in (0, 3, 15)] == pytest.approx([0.25, 1.0, 0.5])
