"""Quality of occupancies: accuracy, overlap, and where predictions are best rounded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from functory.quality import best_thresholds, occupancy_statistics
from functory.signals import Signals

POINTS = 40


def signals(features: Tensor, observed: Tensor | None = None) -> Signals:
    return Signals(torch.zeros(features.shape[1], 3), features, observed)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values)[..., None]


def random_case(seed: int, gaps: bool = False) -> tuple[Signals, Tensor]:
    """Return four shapes and predictions that are better than chance."""
    generator = torch.Generator().manual_seed(seed)
    shape = (4, POINTS, 1)
    features = (torch.rand(shape, generator=generator) < 0.3).float()
    prediction = 0.3 + 0.3 * features + 0.3 * torch.randn(shape, generator=generator)
    observed = (torch.rand(shape, generator=generator) < 0.6).float() if gaps else None
    return signals(features, observed), prediction


def test_a_case_by_hand() -> None:
    truth = signals(rows([1, 1, 0, 0, 0], [1, 1, 1, 1, 0]))
    prediction = rows([0.9, 0.4, 0.6, 0.1, 0.5], [0.6, 0.7, 0.8, 0.9, -0.3])
    found = occupancy_statistics(truth, prediction)
    torch.testing.assert_close(found["accuracy"], torch.tensor([0.6, 1]))
    torch.testing.assert_close(found["iou"], torch.tensor([1 / 3, 1]))
    squared = torch.tensor([0.01 + 0.36 + 0.36 + 0.01 + 0.25, 0.16 + 0.09 + 0.04 + 0.01 + 0.09])
    torch.testing.assert_close(found["mse"], squared / 5)


def test_what_is_at_the_surface_is_empty_and_what_is_above_is_not() -> None:
    truth = signals(rows([1.0, 0.0]))
    prediction = rows([0.5, 0.5])
    assert occupancy_statistics(truth, prediction)["iou"].tolist() == [0]
    assert occupancy_statistics(truth, prediction, 0.49)["iou"].tolist() == [0.5]
    assert occupancy_statistics(truth, prediction, 0.5)["accuracy"].tolist() == [0.5]


def test_empty_shapes() -> None:
    truth = signals(rows([0, 0, 0], [0, 0, 0], [1, 0, 0]))
    prediction = rows([0.1, 0.2, 0.3], [0.1, 0.2, 0.9], [0.1, 0.2, 0.3])
    found = occupancy_statistics(truth, prediction)
    assert found["iou"].tolist() == [1, 0, 0]
    torch.testing.assert_close(found["accuracy"], torch.tensor([1, 2 / 3, 2 / 3]))


@settings(deadline=None)
@given(st.integers(0, 99))
def test_gaps_count_for_nothing(seed: int) -> None:
    truth, prediction = random_case(seed, gaps=True)
    assert truth.observed is not None
    found = occupancy_statistics(truth, prediction)
    gone = 1 - truth.observed
    other = occupancy_statistics(
        Signals(truth.points, truth.features * truth.observed, truth.observed), prediction + gone
    )
    for i in range(4):
        seen = truth.observed[i, :, 0] > 0
        alone = occupancy_statistics(
            truth.take(slice(i, i + 1)).at(seen), prediction[i, seen][None]
        )
        for name, values in found.items():
            torch.testing.assert_close(values[i], alone[name][0])
            torch.testing.assert_close(values[i], other[name][i])


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 0.9))
def test_signals_and_points_may_come_in_any_order(seed: int, surface: float) -> None:
    truth, prediction = random_case(seed, gaps=True)
    found = occupancy_statistics(truth, prediction, surface)
    generator = torch.Generator().manual_seed(seed)
    i, p = (torch.randperm(n, generator=generator) for n in (4, POINTS))
    again = occupancy_statistics(truth.take(i).at(p), prediction[i][:, p], surface)
    for name in found:
        torch.testing.assert_close(again[name], found[name][i])


@settings(deadline=None)
@given(st.integers(0, 99))
def test_rounded_figures_depend_on_the_order_of_values_alone(seed: int) -> None:
    truth, prediction = random_case(seed)
    found = occupancy_statistics(truth, prediction, 0.4)
    stretched = occupancy_statistics(truth, 3 * prediction + 1, 3 * 0.4 + 1)
    for name in ("accuracy", "iou"):
        torch.testing.assert_close(stretched[name], found[name])
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    inverted = signals(1 - truth.features)
    torch.testing.assert_close(
        occupancy_statistics(inverted, 0.8 - prediction, 0.4)["accuracy"], found["accuracy"]
    )
    errors = (1 - found["iou"]) * ((truth.features > 0) | (prediction > 0.4)).sum((1, 2))
    torch.testing.assert_close(1 - found["accuracy"], errors / POINTS)


def by_hand(truth: Tensor, prediction: Tensor, threshold: float) -> tuple[float, float]:
    overlaps, rights = [], []
    for shape, values in zip(truth[..., 0] > 0.5, prediction[..., 0] > threshold, strict=True):
        occupied, predicted = (set(part.nonzero()[:, 0].tolist()) for part in (shape, values))
        either = occupied | predicted
        overlaps.append(len(occupied & predicted) / len(either) if either else 1.0)
        rights.append(1 - len(occupied ^ predicted) / POINTS)
    return sum(overlaps) / len(overlaps), sum(rights) / len(rights)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 99))
def test_the_best_thresholds_are_those_of_an_exhaustive_search(seed: int) -> None:
    truth, prediction = random_case(seed)
    found = best_thresholds(truth, prediction)
    tried = [by_hand(truth.features, prediction, i / 100) for i in range(5, 100)]
    for place, name in enumerate(("iou", "accuracy")):
        reached = by_hand(truth.features, prediction, found[name])[place]
        assert reached == pytest.approx(max(values[place] for values in tried), abs=1e-6)


def test_a_shifted_prediction_is_rounded_where_it_was_shifted_to() -> None:
    truth, _ = random_case(0)
    for shift in (0.105, 0.455, 0.805):
        found = best_thresholds(truth, 0.2 * (truth.features - 0.5) + shift)
        for threshold in found.values():
            assert shift - 0.1 <= threshold < shift + 0.1
