"""Signals: what is read from a signal set, and what each of their points counts."""

import numpy as np
import pytest
import torch
import xarray as xr

from functory.errors import InputError
from functory.fields.coordinates import Sphere, area_weights
from functory.signals import Signals, signals_of


def signal_set(mask: str = "observed") -> xr.Dataset:
    values = np.random.default_rng(0).uniform(200, 300, (3, 5, 8))
    values[1, 2, 3] = np.nan
    attributes = {"normalisation_offset": 200.0, "normalisation_scale": 100.0}
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values, attributes)},
        {"latitude": np.linspace(90, -90, 5), "longitude": np.arange(0, 360, 45.0)},
        {"sample_dimension": "time", "mask": mask},
    )


def test_gaps_are_masked() -> None:
    data = signal_set()
    signals = signals_of(data, Sphere())
    assert signals.observed is not None
    assert signals.observed.sum() == 3 * 40 - 1
    assert signals.features[1, 2 * 8 + 3] == 0
    expected = (data["t2m"].values[0] - 200) / 100
    np.testing.assert_allclose(signals.features[0, :, 0], expected.ravel(), atol=1e-6)


def test_gaps_that_were_not_promised_are_refused() -> None:
    with pytest.raises(InputError, match="1 values"):
        signals_of(signal_set(mask="complete"), Sphere())


def test_areas_are_those_of_the_sphere() -> None:
    grid = {"latitude": np.array([90.0, 60, 0]), "longitude": np.array([0.0, 90])}
    np.testing.assert_allclose(area_weights(grid), np.repeat([0, 1, 2], 2), atol=1e-6)
    assert area_weights({"y": np.arange(3), "x": np.arange(2)}).tolist() == [1] * 6


def test_errors_by_area_forget_the_poles() -> None:
    signals = signals_of(signal_set(), Sphere(), by_area=True)
    wrong = signals.features.clone()
    wrong[:, :8] += 1  # the pole is one point, however many longitudes it has
    assert float(signals.squared_error(wrong).max()) < 1e-6
    wrong[0, 16:24] += 1  # the equator
    share = 1 / (1 + 2 * np.cos(np.pi / 4))
    assert float(signals.squared_error(wrong)[0]) == pytest.approx(share)


def test_parts_of_signals_keep_their_own_points_and_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(3, 6, 2, generator=generator)
    signals = Signals(own, torch.rand(3, 6, 1, generator=generator), area=torch.arange(6.0))
    part = signals.take(slice(1, 3)).at(torch.tensor([4, 0]))
    assert torch.equal(part.points, own[1:, [4, 0]])
    assert part.area is not None
    assert part.area.tolist() == [4, 0]
