"""Principal components: the null model of every functaset."""

import numpy as np
import pytest
import torch

from functory.models.principal_components import PrincipalComponents
from functory.signals import Signals


def signals(count: int = 30, gaps: bool = False) -> Signals:
    generator = torch.Generator().manual_seed(0)
    low_rank = torch.rand(count, 4, generator=generator) @ torch.rand(4, 24, generator=generator)
    noise = 0.05 * torch.randn(count, 24, generator=generator)
    features = (low_rank + noise).view(count, 12, 2)
    points = torch.rand(12, 2, generator=generator)
    if not gaps:
        return Signals(points, features)
    observed = (torch.rand(count, 12, 1, generator=generator) > 0.2).float()
    return Signals(points, features * observed, observed)


def test_they_are_those_of_the_singular_value_decomposition() -> None:
    data = signals()
    found = PrincipalComponents.fit(data, 4)
    values = data.features.flatten(1)
    _, sizes, exact = torch.linalg.svd(values - values.mean(0), full_matrices=False)
    torch.testing.assert_close(found.deviations, sizes[:4] / 30**0.5, rtol=1e-4, atol=0)
    overlap = (found.directions @ exact[:4].mT).square().sum()
    assert float(overlap) == pytest.approx(4, abs=1e-3)


def test_all_components_reproduce_the_training_signals() -> None:
    data = signals(10)
    found = PrincipalComponents.fit(data, 9)
    assert float(found.squared_error(data).max()) < 1e-10


def test_more_components_are_never_worse() -> None:
    data = signals()
    errors = [float(PrincipalComponents.fit(data, k).squared_error(data).mean()) for k in (1, 3, 9)]
    assert errors == sorted(errors, reverse=True)


def test_no_more_are_given_than_there_are() -> None:
    assert len(PrincipalComponents.fit(signals(5), 100).directions) == 5


def test_what_was_not_observed_does_not_matter() -> None:
    data = signals(gaps=True)
    assert data.observed is not None
    other = Signals(data.points, data.features + 9 * (1 - data.observed), data.observed)
    first, second = (PrincipalComponents.fit(d, 4) for d in (data, other))
    torch.testing.assert_close(first.mean, second.mean)
    np.testing.assert_array_equal(first.squared_error(data), second.squared_error(other))
