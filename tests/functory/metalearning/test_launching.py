"""Meta-learning in several processes: the same curve, and what happens when one is lost."""

from pathlib import Path

import pytest
import torch
from together import doomed, write_signals

from functory.distributed import launch
from functory.errors import FunctoryError, InputError
from functory.fields.siren import SirenConfig
from functory.metalearning.launching import learn
from functory.metalearning.outer import MetaLearning
from functory.metalearning.rate_distortion import RateDistortion
from functory.metalearning.tangent import TangentStart
from functory.optimisation import Optimisation

# A batch that two processes cannot share equally. Not with SOAP, whose first steps are of full size
# even along directions in which a gradient is nothing but rounding: there, one process differs as
# much from itself with the batch in reverse.
OPTIMISATION = Optimisation(steps=10, batch=5, rate=2e-3, evaluate_every=1, checkpoint_every=4)
CONFIG = MetaLearning(
    network=SirenConfig(latents=3, width=16, depth=3, omega_0=10),
    tangent=TangentStart(steps=4),
    optimisation=OPTIMISATION,
    coordinates="box",
    points=60,
    device="cpu",
    rate=RateDistortion(step=0.02, optimisation=OPTIMISATION.model_copy(update={"steps": 3})),
)


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signals(tmp_path_factory.mktemp("signals") / "waves")


def learned(
    signals: Path, folder: Path, processes: int, patch: pytest.MonkeyPatch
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    patch.setenv("FUNCTORY_PROCESSES", str(processes))
    model, history = learn(signals, CONFIG, folder / "checkpoint.safetensors")
    return model.state_dict(), history.rows


def test_two_processes_learn_what_one_does(
    signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    weights, rows = learned(signals, tmp_path / "one", 1, monkeypatch)
    same, again = learned(signals, tmp_path / "two", 2, monkeypatch)
    assert len(rows) == len(again) == 13
    for row, other in zip(rows, again, strict=True):
        assert row == pytest.approx(other, rel=1e-5, nan_ok=True)
    for name, value in weights.items():
        torch.testing.assert_close(same[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_lost_process_is_one_error_and_the_next_run_goes_on(
    signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "undisturbed", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    expected = learned(signals, folders[0], 2, monkeypatch)
    checkpoint = folders[1] / "checkpoint.safetensors"
    with pytest.raises(
        FunctoryError, match=r"Process 2 of 2 .* was lost \(SIGKILL\); run the same"
    ) as caught:
        # after four steps of the tangent, and two after the first checkpoint of the outer loop
        launch(2, doomed, signals, CONFIG, checkpoint, checkpoint.with_suffix(".learned"), 4 + 6)
    assert "\n" not in str(caught.value)
    assert checkpoint.exists()
    resumed = learned(signals, folders[1], 2, monkeypatch)
    assert str(resumed[1]) == str(expected[1])
    assert all(torch.equal(resumed[0][name], expected[0][name]) for name in expected[0])


@pytest.mark.parametrize(
    ("processes", "sentence"),
    [("two", "has to be a number"), ("0", "has to be"), ("6", "a batch has only 5 signals")],
    ids=["text", "none", "too many"],
)
def test_a_wrong_number_of_processes_is_one_sentence(
    signals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str, sentence: str
) -> None:
    monkeypatch.setenv("FUNCTORY_PROCESSES", processes)
    with pytest.raises(InputError, match=f"FUNCTORY_PROCESSES is .*{sentence}"):
        learn(signals, CONFIG, tmp_path / "checkpoint")
