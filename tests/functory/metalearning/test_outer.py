"""The outer loop: which points fit, and which measure."""

import pytest
import torch
from problem import small_signals

from functory.metalearning.outer import draw_points
from functory.training import Step


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
