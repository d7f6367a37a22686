"""Models of tiny images: what they publish is what was measured, and can be measured again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from images_pipeline import TINY_IMAGES
from safetensors.torch import load_file

import storage.accessor  # noqa: F401 — registers the accessor
from functory.errors import InputError
from functory.models.classifier import ModulationClassifier, attribute_accuracies
from functory.models.generative_quality import frechet_distance, nearest_distances
from functory.models.image_features import FeatureNetwork, FeatureTraining
from functory.signals import some, split_indices
from functory.sources.signal_sets import open_signals
from storage.diffusions import read_diffusion
from storage.priors import read_prior
from storage.references import Reference
from storage.versions import Store
from tasks.classify import Classification
from tasks.complete import METHODS, Completing, complete_signals

SIZE = TINY_IMAGES["preparation"]["size"]


@pytest.fixture
def done(
    images_run: tuple[Store, dict[str, Reference]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Reference]:
    store, references = images_run
    monkeypatch.setenv("FUNCTORY_STORE", str(store.root))
    return references


def path(reference: Reference) -> Path:
    return Store.default().path(reference)


def opened(reference: Reference) -> xr.Dataset:
    return xr.open_zarr(path(reference), chunks=None)


def images(reference: Reference) -> np.ndarray:
    return np.asarray(open_signals(path(reference))["image"].values)


def summary(reference: Reference) -> dict[str, Any]:
    record = Store.default().record(reference)
    assert record is not None
    return record.summary


def psnr(squared: np.ndarray) -> np.ndarray:
    return np.asarray(-10 * np.log10(squared))


def test_published_models_draw_the_published_samples(done: dict[str, Reference]) -> None:
    for samples, model in (
        ("diffusion_samples", "diffusion"),
        ("spatial_samples", "spatial_diffusion"),
    ):
        drawn = opened(done[samples])
        again = read_diffusion(path(done[model]))[0].sample(8, 4, seed=0)
        np.testing.assert_allclose(drawn["modulation"], again, rtol=1e-4, atol=1e-4)
        decoded = drawn.functa.decode()
        assert decoded.shape == (8, SIZE, SIZE, 3)
        assert np.isfinite(decoded).all()
        assert (decoded.std("sample") > 0).all()  # each is another image
    drawn = opened(done["flow_samples"])
    flow, classes = read_prior(path(done["prior"]))
    assert not classes
    again = torch.cat([flow.sample(8, t, seed) for seed, t in enumerate((1.0, 0.7))])
    np.testing.assert_allclose(drawn["modulation"], again, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(drawn["temperature"], np.repeat([1, 0.7], 8))
    assert drawn.functa.decode().shape == (16, SIZE, SIZE, 3)


def test_completions_are_scored_where_the_image_was_hidden(done: dict[str, Reference]) -> None:
    completed, signals = opened(done["completions"]), open_signals(path(done["signals"]))
    assert completed["method"].values.tolist() == [m for m in METHODS for _ in range(2)]
    truth = signals["image"].isel(sample=completed["of"].values)
    assert (truth["split"] == "test").all()
    decoded = completed.functa.decode().sel(x=slice(0.5, None)).values
    hidden = truth.sel(x=slice(0.5, None)).values
    assert hidden.shape[2] == SIZE / 2
    unseen = psnr(((decoded - hidden) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(completed["unseen"], unseen, rtol=1e-4)
    known = summary(done["completions"])["all but the right half"]
    means = [known[method] for method in METHODS]
    np.testing.assert_allclose(means, unseen.reshape(2, 2).mean(1), rtol=1e-4)
    mean = signals["image"].isel(sample=split_indices(signals, ["train"])).mean("sample")
    np.testing.assert_allclose(completed["mean"], mean, atol=1e-5)


def test_spatial_functions_are_not_completed(done: dict[str, Reference]) -> None:
    spatial, signals = opened(done["spatial"]), open_signals(path(done["signals"]))
    half = signals["image"].isel(sample=[0]).where(signals["x"] < 0.5)
    config = Completing.model_validate(TINY_IMAGES["completion"])
    inputs = {k: done[k] for k in ("signals", "prior")}
    patches = {"functaset": done["spatial"], "network": done["spatial_network"]}
    completions: list[Callable[[], object]] = [
        lambda: spatial.functa.complete(half, path(done["prior"])),
        lambda: complete_signals.plain("spatial", config, **inputs, **patches),
    ]
    for completion in completions:
        with pytest.raises(InputError, match="Spatial functions cannot be completed") as refused:
            completion()
        assert "\n" not in str(refused.value)
    assert not Store.default().records("completions", "spatial")


def test_a_published_classifier_of_attributes_is_what_was_measured(
    done: dict[str, Reference],
) -> None:
    known, functaset = summary(done["attribute_classifiers"]), opened(done["functaset"])
    names = functaset["attribute"].values.tolist()
    assert known["attributes"] == names
    weights = load_file(path(done["attribute_classifiers"]) / "mlp-0.safetensors")
    nothing = torch.zeros(functaset.sizes["latent"])
    model = ModulationClassifier(nothing, nothing, len(names), Classification().model).eval()
    model.load_state_dict(weights)
    test = functaset.isel(sample=split_indices(functaset, ["test"]))
    values, truth = (torch.from_numpy(test[v].values) for v in ("modulation", "attributes"))
    accuracies, balanced = attribute_accuracies(model, values, truth.bool())
    for measured, expected in (("accuracy", accuracies), ("balanced_accuracy", balanced)):
        assert list(known[measured]) == names
        assert list(known[measured].values()) == pytest.approx(expected.tolist())


def test_training_images_are_what_generated_ones_are_held_against(
    done: dict[str, Reference],
) -> None:
    drawn = ["flow prior, temperature 1", "flow prior, temperature 0.7", "diffusion"]
    for evaluation, sets in (
        ("evaluation", ["training images", "reconstructions", *drawn]),
        ("spatial_evaluation", ["training images", "reconstructions", "diffusion"]),
    ):
        found = summary(done[evaluation])
        measured = json.loads((path(done[evaluation]) / "measures.json").read_text())
        assert measured == found
        assert found.pop("images") == 8
        assert list(found) == sets
        floor = found.pop("training images")
        assert "nearest_training_image" not in floor  # each is its own
        for of_set in found.values():
            assert of_set["frechet_distance"] > floor["frechet_distance"]
            assert of_set["nearest_training_image"] > 0


def test_what_was_measured_can_be_measured_again(done: dict[str, Reference]) -> None:
    """By the published network of features, on the published samples."""
    signals = open_signals(path(done["signals"]))
    pixels = torch.from_numpy(images(done["signals"]).astype(np.float32)).flatten(1, 2)
    training, test = (pixels[split_indices(signals, [split])] for split in ("train", "test"))
    config = FeatureTraining.model_validate(TINY_IMAGES["evaluation"]["features"])
    outputs, nothing = signals.sizes["attribute"], torch.zeros(3)
    for evaluation, samples in (
        ("evaluation", "diffusion_samples"),
        ("spatial_evaluation", "spatial_samples"),
    ):
        network = FeatureNetwork(nothing, nothing, SIZE, SIZE, outputs, config)
        network.load_state_dict(load_file(path(done[evaluation]) / "features.safetensors"))
        network.eval()
        real, known = (network.features(s[some(np.arange(len(s)), 8)]) for s in (test, training))
        decoded = opened(done[samples]).functa.decode().values.clip(0, 1)
        drawn = torch.from_numpy(decoded).flatten(1, 2)
        found = summary(done[evaluation])
        for name, features in (
            ("training images", known),
            ("diffusion", network.features(drawn)),
        ):
            distance = frechet_distance(real, features)
            assert found[name]["frechet_distance"] == pytest.approx(distance, rel=1e-3)
        nearest = float(nearest_distances(drawn.flatten(1), training.flatten(1)).mean())
        assert found["diffusion"]["nearest_training_image"] == pytest.approx(nearest, rel=1e-4)
