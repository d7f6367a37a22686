"""Signals: what is read from a signal set, and what each of their points counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from functory.errors import InputError
from functory.fields.coordinates import Sphere, area_weights
from functory.signals import Signals, StoredSignals, signals_of, some


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


@pytest.mark.parametrize("by_area", [False, True])
@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=9))
def test_stored_signals_are_taken_in_any_order_and_number(by_area: bool, chosen: list[int]) -> None:
    stored = StoredSignals(signal_set(), Sphere(), by_area)
    samples = torch.tensor(chosen)
    found, expected = stored.take(samples), stored.read().take(samples)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.points, expected.points)
    whole = torch.ones_like(found.features)  # signals without a gap need not say so
    assert expected.observed is not None
    assert torch.equal(whole if found.observed is None else found.observed, expected.observed)
    assert found.area is expected.area is None or torch.equal(found.area, expected.area)


def test_stored_signals_know_their_size() -> None:
    stored = StoredSignals(signal_set(), Sphere())
    assert len(stored) == len(stored.read()) == 3
    assert stored.values == stored.read().features.numel() == 120


def test_only_the_signals_that_are_taken_are_read(tmp_path: Path) -> None:
    signal_set().chunk({"time": 1}).to_zarr(tmp_path / "set", zarr_format=3, consolidated=False)
    (tmp_path / "set" / "t2m" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
    dataset = xr.open_zarr(tmp_path / "set", chunks=None, consolidated=False)
    stored = StoredSignals(dataset, Sphere())
    taken = stored.take(torch.tensor([2, 1, 2]))
    assert torch.equal(taken.features[0], taken.features[2])
    with pytest.raises(Exception, match=r"(?i)zstd|invalid|decompress|decod"):
        stored.take(torch.tensor([0]))


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 80))
def test_some_are_spread_over_all(count: int, most: int) -> None:
    positions = 3 * np.arange(count) + 1
    chosen = some(positions, most)
    assert len(chosen) == min(count, most)
    assert (np.diff(chosen) > 0).all()
    assert set(chosen) <= set(positions)
    assert chosen[0] == positions[0]
    if 1 < most < count:
        assert chosen[-1] == positions[-1]
        gaps = np.diff(chosen) / 3
        assert gaps.max() - gaps.min() <= 1
