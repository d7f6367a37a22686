"""Features of a network trained on images: what they learn, and what they tell apart."""

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from functory.models import image_features
from functory.models.generative_quality import frechet_distance
from functory.models.image_features import FeatureNetwork, FeatureTraining, train_features
from functory.optimisation import Optimisation

SIDE = 28
TRAINING = FeatureTraining(
    channels=12,
    features=16,
    optimisation=Optimisation(steps=50, batch=64, rate=5e-3, schedule="cosine", evaluate_every=20),
    device="cpu",
)
SHORT = FeatureTraining(
    channels=4,
    features=6,
    optimisation=Optimisation(
        steps=8, batch=16, rate=5e-3, evaluate_every=2, checkpoint_every=3, seed=1
    ),
    device="cpu",
)


@pytest.fixture(scope="module")
def digits(data: Path) -> tuple[Tensor, Tensor]:
    """Return some of MNIST's test digits, in an order of their own, and their classes."""
    values = [
        np.frombuffer(gzip.decompress((data / "images/mnist" / name).read_bytes()), np.uint8)
        for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    ]
    images, labels = values[0][16:].reshape(-1, SIDE**2, 1), values[1][8:]
    few = np.random.default_rng(0).permutation(len(labels))[:1200]
    return torch.from_numpy(images[few] / np.float32(255)), torch.from_numpy(labels[few]).long()


def drawings(count: int, height: int, width: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, height * width, channels, generator=generator)


def blurred(images: Tensor) -> Tensor:
    pictures = images.mT.unflatten(-1, (SIDE, SIDE))
    return nn.functional.avg_pool2d(pictures, 5, 1, 2).flatten(2).mT


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("knowing", ["classes", "attributes", "nothing"])
def test_held_out_digits_are_nearer_than_anything_that_is_none(
    digits: tuple[Tensor, Tensor], knowing: str
) -> None:
    images, classes = digits
    labels = {
        "classes": classes,
        "attributes": torch.stack([classes % 2 == 0, classes < 5, classes == 1], 1),
        "nothing": None,
    }[knowing]
    training, held_out = images[:900], images[900:]
    known = None if labels is None else labels[:900]
    network, history = train_features(training, SIDE, SIDE, TRAINING, known)
    features = network.features(training)

    def distance(others: Tensor) -> float:
        return frechet_distance(features, network.features(others))

    noise = drawings(300, SIDE, SIDE, 1)
    mixtures = (held_out + held_out.roll(1, 0)).clamp(max=1)
    sevens = held_out[classes[900:] == 7]  # all other modes are dropped
    worse = (noise, blurred(held_out), mixtures, sevens)
    assert 3 * distance(held_out) < min(map(distance, worse))
    with torch.no_grad():
        answers = network.head(network.features(held_out))
    if knowing == "classes":
        assert (answers.argmax(1) == classes[900:]).float().mean() > 0.5  # by chance 0.1
    elif labels is not None:
        assert ((answers > 0) == labels[900:]).float().mean() > 0.8
    else:
        by_chance = math.log(2 * TRAINING.optimisation.batch - 1)
        assert history.rows[-1]["loss"] < 0.7 * by_chance


@pytest.mark.parametrize(("height", "width", "channels"), [(64, 64, 3), (28, 28, 1), (11, 40, 3)])
def test_features_are_of_each_image_alone(height: int, width: int, channels: int) -> None:
    images = drawings(30, height, width, channels)
    optimisation = SHORT.optimisation.model_copy(update={"steps": 1})
    config = SHORT.model_copy(update={"optimisation": optimisation})
    network, _ = train_features(images, height, width, config)
    features = network.features(images)
    assert features.shape == (30, 6)
    assert not features.requires_grad
    assert not network.training
    torch.testing.assert_close(network.features(images[7:9]), features[7:9])
    many = images.repeat(10, 1, 1)  # more than are seen at once
    torch.testing.assert_close(network.features(many), features.repeat(10, 1))


def test_convolutions_see_images_as_they_are() -> None:
    network = FeatureNetwork(torch.zeros(3), torch.ones(3), 5, 7, 2, SHORT)
    images = drawings(2, 5, 7, 3)
    pictures = network.pictures(images)
    assert pictures.shape == (2, 3, 5, 7)
    assert torch.equal(pictures[1, 2, 4, 6], images[1, -1, 2])
    assert torch.equal(pictures[0, 1, 0, 6], images[0, 6, 1])


def test_views_are_parts_at_the_same_place() -> None:
    ramp = torch.linspace(0, 1, 32).expand(50, 1, 32, 32)
    torch.manual_seed(0)
    views = image_features._view(ramp)
    assert views.shape == ramp.shape
    torch.testing.assert_close(views[:, :, 3], views[:, :, 20])  # still of columns
    inner = views[:, 0, 16, 2:-2].diff()
    assert (inner > 0).all()  # neither turned nor mirrored
    steps = inner.mean(1) * 31  # the ramp's, times the side and the contrast of the view
    assert image_features.PART * (1 - image_features.SHADE) <= steps.min() < 0.8
    assert 0.9 < steps.max() <= 1 + image_features.SHADE


def test_views_are_told_apart_by_their_directions() -> None:
    torch.manual_seed(0)
    far = torch.eye(8)
    found = image_features._told_apart(torch.cat([far, 3 * far]))
    wrong = image_features._told_apart(torch.cat([far, far.roll(1, 0)]))
    assert found == pytest.approx(math.log(1 + 14 * math.exp(-5)), abs=1e-5)
    assert wrong > found + 4
    alike = image_features._told_apart(torch.ones(16, 5))
    assert alike == pytest.approx(math.log(15), abs=1e-5)


def test_a_seed_says_all_and_a_killed_run_resumes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = drawings(40, 12, 12, 3), torch.arange(40) % 3
    before = torch.random.get_rng_state()
    whole, history = train_features(images, 12, 12, SHORT, labels)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(1)
    assert [row["step"] for row in history.rows] == [2, 4, 6, 8]
    calls, viewed = 0, image_features._view

    def deadly(pictures: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return viewed(pictures)

    with monkeypatch.context() as patch:
        patch.setattr(image_features, "_view", deadly)
        with pytest.raises(KeyboardInterrupt):
            train_features(images, 12, 12, SHORT, labels, tmp_path / "checkpoint")
    resumed, _ = train_features(images, 12, 12, SHORT, labels, tmp_path / "checkpoint")
    assert same(resumed, whole)
    optimisation = SHORT.optimisation.model_copy(update={"seed": 2})
    other = SHORT.model_copy(update={"optimisation": optimisation})
    assert not same(train_features(images, 12, 12, other, labels)[0], whole)


def test_a_channel_that_never_varies_is_no_trouble() -> None:
    images = drawings(20, 12, 12, 3)
    images[..., 1] = 0.5
    network, _ = train_features(images, 12, 12, SHORT)
    assert network.features(images).isfinite().all()
