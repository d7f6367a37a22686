"""Measures of generated images: what they must be of sets whose distance is known."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from functory.errors import InputError
from functory.models import generative_quality
from functory.models.generative_quality import (
    frechet_distance,
    inception_fid,
    nearest_distances,
    precision_recall,
    ssim,
)


def normal(samples: int, features: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=generator, dtype=torch.float64)
    return torch.randn(samples, features, generator=generator, dtype=torch.float64) @ mixing


def pictures(count: int, height: int, width: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, channels, generator=generator)


@pytest.mark.parametrize("samples", [200, 5])  # more and fewer than features
def test_a_set_is_at_no_distance_from_itself(samples: int) -> None:
    a = normal(samples, 12, 0)
    scale = float(a.var(0).sum())
    assert frechet_distance(a, a) < 1e-12 * scale
    assert frechet_distance(a, a[torch.randperm(samples)]) < 1e-12 * scale


@pytest.mark.parametrize("samples", [200, 5])
def test_shifted_sets_are_apart_by_their_means(samples: int) -> None:
    a, shift = normal(samples, 12, 0), torch.randn(12, dtype=torch.float64)
    assert frechet_distance(a, a + shift) == pytest.approx(float(shift.square().sum()))
    assert frechet_distance(a.float(), (a + 1000).float()) == pytest.approx(12e6, rel=1e-6)


def test_frechet_distance_is_the_formula() -> None:
    a, b = normal(60, 8, 0), normal(50, 8, 1)
    covariances = [np.cov(part.numpy(), rowvar=False) for part in (a, b)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = (a.mean(0) - b.mean(0)).square().sum()
    expected = float(means) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("m", "n"), [(90, 70), (90, 7), (6, 7)])
def test_frechet_distance_is_that_of_a_distance(m: int, n: int) -> None:
    a, b, c = normal(m, 10, 0), normal(n, 10, 1), normal(50, 10, 2)
    between = frechet_distance(a, b)
    assert between > 0
    assert frechet_distance(b, a) == pytest.approx(between)
    turn = torch.linalg.qr(normal(10, 10, 3)).Q
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(between)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * between)
    assert between**0.5 <= frechet_distance(a, c) ** 0.5 + frechet_distance(c, b) ** 0.5


def test_features_that_never_vary_are_no_trouble() -> None:
    a, b = normal(40, 6, 0), normal(40, 6, 1)
    expected = frechet_distance(a, b)
    constant = torch.full((40, 3), 2.0, dtype=torch.float64)
    found = frechet_distance(torch.cat([a, constant], 1), torch.cat([b, constant], 1))
    assert found == pytest.approx(expected)


def test_identical_sets_have_full_precision_and_recall() -> None:
    a = normal(700, 5, 0)
    assert precision_recall(a, a) == (1, 1)
    assert precision_recall(a, a[torch.randperm(700)]) == (1, 1)


def test_sets_apart_have_neither_precision_nor_recall() -> None:
    a = normal(100, 5, 0)
    assert precision_recall(a, a + 1e4) == (0, 0)


def test_a_dropped_mode_lowers_recall_and_not_precision() -> None:
    far = torch.zeros(400, 5, dtype=torch.float64)
    far[200:] = 1e4
    real, generated = normal(400, 5, 0) + far, normal(400, 5, 0)[:200]
    precision, recall = precision_recall(real, generated)
    assert (precision, recall) == (1, 0.5)
    assert precision_recall(generated, real) == (recall, precision)


def test_precision_is_the_share_within_reach_of_a_neighbour() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # nearest neighbours at 1, 1, 2 and 4
    generated = torch.tensor([[-1.0], [-1.1], [5.0], [11.0], [11.1]])
    assert precision_recall(real, generated, 1)[0] == pytest.approx(3 / 5)


def test_nearest_distances_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generative_quality, "ROWS", 16)
    a, b = normal(50, 30, 0), normal(40, 30, 1)
    every = (a[:, None] - b).square().sum(-1).sqrt()
    torch.testing.assert_close(nearest_distances(a, b), every.amin(1).float())
    assert (nearest_distances(a + 1000, a + 1000) == 0).all()


@pytest.mark.parametrize(
    ("measure", "what"),
    [
        (lambda few: frechet_distance(few[:1], few), "two samples"),
        (lambda few: frechet_distance(few, few[:0]), "two samples"),
        (lambda few: precision_recall(few, few[:3]), "3 generated"),
        (lambda few: precision_recall(few[:2], few), "2 real"),
    ],
)
def test_too_few_samples_are_refused(measure: Callable[[Tensor], object], what: str) -> None:
    with pytest.raises(InputError, match=what):
        measure(normal(10, 4, 0))


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (16, 9, 3), (5, 7, 1), (2, 1, 3)])
def test_an_image_is_wholly_similar_to_itself(shape: tuple[int, int, int]) -> None:
    a = pictures(3, *shape)
    b = (a + 0.3 * pictures(3, *shape, seed=1)).clamp(max=1)
    torch.testing.assert_close(ssim(a, a), torch.ones(3).double(), rtol=0, atol=1e-12)
    assert (ssim(a, b) < 1).all()
    torch.testing.assert_close(ssim(a, b), ssim(b, a))


def test_similarity_falls_with_noise_and_is_of_each_image_alone() -> None:
    a, noise = pictures(4, 24, 24, 3), pictures(4, 24, 24, 3, seed=1) - 0.5
    falling = torch.stack([ssim(a, a + amount * noise) for amount in (0, 0.1, 0.3, 1)])
    assert (falling.diff(dim=0) < 0).all()
    one = ssim(a[2:3], (a + 0.3 * noise)[2:3])
    torch.testing.assert_close(one, falling[2, 2:3])


def test_similarity_is_the_same_in_every_range() -> None:
    a, b = pictures(2, 16, 16, 3), pictures(2, 16, 16, 3, seed=1)
    torch.testing.assert_close(ssim(255 * a, 255 * b, 255), ssim(a, b))


def test_similarity_is_that_of_another_implementation() -> None:
    from skimage.metrics import structural_similarity

    a, b = (pictures(1, 40, 32, 3, seed=s)[0].numpy().astype(np.float64) for s in (0, 1))
    mixed = 0.7 * a + 0.3 * b
    expected = structural_similarity(
        a,
        mixed,
        channel_axis=-1,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1,
    )
    found = float(ssim(torch.from_numpy(a)[None], torch.from_numpy(mixed)[None]))
    assert found == pytest.approx(expected, abs=1e-6)


def test_fid_says_what_to_fetch(tmp_path: Path) -> None:
    a = pictures(3, 8, 8, 3)
    with pytest.raises(InputError, match="fetch weights-inception"):
        inception_fid(a, a, tmp_path / "absent.pth")


def test_fid_without_its_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # as if it were absent
    (tmp_path / "weights.pth").write_bytes(b"weights")
    a = pictures(3, 8, 8, 3)
    with pytest.raises(InputError, match=r"install functory\[fid\]"):
        inception_fid(a, a, tmp_path / "weights.pth")


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of weights, drawn at random, of the right names and shapes."""
    pytest.importorskip("torch_fidelity", reason="FID needs torch-fidelity: the extra `fid`")
    from torch_fidelity import FeatureExtractorInceptionV3, feature_extractor_inceptionv3

    with monkeypatch.context() as patch:
        patch.setattr(feature_extractor_inceptionv3, "load_state_dict_from_url", lambda *_, **__: 0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception", ["2048"])
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_fid_is_the_distance_of_inception_features(inception: Path) -> None:
    from torch_fidelity import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    a, b = pictures(3, 16, 16, 1), pictures(3, 16, 16, 1, seed=1) / 2
    extractor = FeatureExtractorInceptionV3("inception", ["2048"], str(inception))
    levels = [(255 * part).round().byte().movedim(-1, 1).repeat(1, 3, 1, 1) for part in (a, b)]
    features = [extractor(part)[0] for part in levels]
    means = [fid_features_to_statistics(part)["mu"] for part in features]
    found = inception_fid(a, b, inception, "cpu")
    assert found >= float(np.square(means[0] - means[1]).sum()) * (1 - 1e-6)
    few = [fid_features_to_statistics(part[:, :40]) for part in features]
    expected = fid_statistics_to_metric(*few, verbose=False)["frechet_inception_distance"]
    ours = frechet_distance(features[0][:, :40], features[1][:, :40])
    assert ours == pytest.approx(expected, rel=1e-4)
    assert found == pytest.approx(frechet_distance(*features), rel=1e-5)


def test_fid_refuses_a_file_that_would_run_code(inception: Path, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Malicious()}, inception)
    a = pictures(3, 8, 8, 3)
    with pytest.raises(InputError, match="does not hold the weights"):
        inception_fid(a, a, inception, "cpu")
    assert not (tmp_path / "ran").exists()
