"""The outer loop: which points fit and which measure, and what a killed run resumes from."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from problem import small_signals
from torch import Tensor

from functory.fields.coordinates import coordinates_for
from functory.fields.siren import LatentModulatedSiren, SirenConfig
from functory.metalearning import outer
from functory.metalearning.gauss_newton import GaussNewtonSteps
from functory.metalearning.outer import MetaLearning, draw_points, meta_learn
from functory.metalearning.tangent import TangentLoss, TangentStart
from functory.optimisation import Optimisation
from functory.signals import Signals, StoredSignals
from functory.training import Step

CONFIG = MetaLearning(
    network=SirenConfig(latents=2, width=8, depth=3, omega_0=10),
    tangent=TangentStart(steps=6),
    optimisation=Optimisation(
        steps=6, batch=2, rate=1e-3, optimiser="soap", evaluate_every=6, checkpoint_every=2
    ),
    device="cpu",
)


@pytest.mark.parametrize(("points", "others"), [(6, 6), (10, 10), (12, 8)])
def test_other_points_measure_than_those_of_the_fit(points: int, others: int) -> None:
    step = Step(0, torch.Generator().manual_seed(0))
    fitted, measured = draw_points(small_signals(), points, step)
    assert isinstance(fitted, torch.Tensor)
    assert isinstance(measured, torch.Tensor)
    assert len(set(fitted.tolist())) == points
    assert len(set(measured.tolist()) - set(fitted.tolist())) == others


def test_the_same_points_measure_where_there_are_hardly_others() -> None:
    fitted, measured = draw_points(small_signals(), 17, Step(0, torch.Generator()))
    assert fitted is measured
    assert draw_points(small_signals(), None, Step(0, torch.Generator())) == (slice(None),) * 2


def test_the_tangent_is_aligned_at_more_points_than_there_are_shifts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # at fewer, shifts fit any values, and training came to nothing (26 dB instead of 35)
    drawn, real = [], TangentLoss.__call__

    def recorded(self: TangentLoss, network: LatentModulatedSiren, chosen: Tensor) -> Tensor:
        drawn.append(len(chosen))
        return real(self, network, chosen)

    monkeypatch.setattr(TangentLoss, "__call__", recorded)
    points = torch.linspace(-1, 1, 200)[:, None].expand(-1, 2)
    data = Signals(points, torch.sin(points[:, :1] * torch.rand(30, 1, 1) * 6))
    meta_learn(data, data, CONFIG.model_copy(update={"points": 8}))
    assert drawn == [4 * 16] * 6


def learned(checkpoint: Path) -> dict[str, Tensor]:
    data = small_signals()
    data = Signals(data.points.float(), data.features.float())
    return meta_learn(data, data, CONFIG, checkpoint)[0].state_dict()


@pytest.mark.parametrize("phase", [TangentLoss, GaussNewtonSteps])
def test_a_run_killed_in_either_phase_resumes_to_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: type
) -> None:
    expected = learned(tmp_path / "undisturbed")
    method = "__call__" if phase is TangentLoss else "first_step"
    real, calls = getattr(phase, method), 0

    def deadly(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(phase, method, deadly)
        with pytest.raises(KeyboardInterrupt):
            learned(tmp_path / "killed")
    resumed = learned(tmp_path / "killed")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def shapes() -> StoredSignals:
    """Return boxes in a small grid, as a signal set on xarray."""
    generator = np.random.default_rng(0)
    voxels = np.zeros((12, 4, 4, 4), dtype=bool)
    for shape in voxels:
        low = generator.integers(0, 3, 3)
        shape[tuple(map(slice, low, low + generator.integers(1, 4, 3)))] = True
    axes = ("z", "y", "x")
    attributes = {"normalisation_offset": 0.0, "normalisation_scale": 1.0}
    dataset = xr.Dataset(
        {"occupancy": (("sample", *axes), voxels, attributes)},
        {axis: (np.arange(4) + 0.5) / 4 for axis in axes},
        {"sample_dimension": "sample", "mask": "none", "modality": "shape"},
    )
    return StoredSignals(dataset, coordinates_for("pixel-centres", axes, dataset.coords))


@pytest.mark.parametrize("points", [None, 20])
def test_stored_signals_teach_what_signals_in_memory_do(points: int | None) -> None:
    stored, config = shapes(), CONFIG.model_copy(update={"points": points})
    whole = stored.read()
    expected, rows = meta_learn(whole, whole, config)
    found, again = meta_learn(stored, whole, config)
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    assert again == rows


def test_no_more_stored_signals_are_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    stored, sizes = shapes(), list[int]()
    real = StoredSignals.take

    def recorded(self: StoredSignals, samples: Tensor) -> Signals:
        sizes.append(len(samples))
        return real(self, samples)

    monkeypatch.setattr(outer, "HELD_VALUES", 5 * 4**3)
    monkeypatch.setattr(StoredSignals, "take", recorded)
    monkeypatch.setattr(StoredSignals, "read", None)
    model, history = meta_learn(stored, real(stored, torch.arange(3)), CONFIG)
    assert sizes == [5] + [CONFIG.optimisation.batch] * CONFIG.optimisation.steps
    assert np.isfinite(history.rows[-1]["psnr"])
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
