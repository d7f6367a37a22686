"""The stage that classifies attributes, on a functaset whose attributes are known functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from provenance import PROVENANCE
from safetensors.torch import load_file

from functory.errors import InputError
from functory.models.classifier import ModulationClassifier, PerceptronConfig, attribute_accuracies
from functory.optimisation import Optimisation
from storage.references import Reference
from storage.versions import Store
from tasks.classify import Classification
from tasks.classify_attributes import attributes_of, classify_attributes

pytestmark = pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated")

SAMPLES, LATENTS = 300, 4
CONFIG = Classification(
    model=PerceptronConfig(width=16, depth=1),
    optimisation=Optimisation(steps=100, batch=64, rate=1e-2, evaluate_every=25),
    seeds=(0, 1),
    device="cpu",
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    return Store.default()


def functaset() -> xr.Dataset:
    values = np.random.default_rng(0).normal(size=(SAMPLES, LATENTS)).astype(np.float32)
    split = np.repeat(np.array(["train", "validation", "test"], object), SAMPLES // 3)
    attributes = np.stack([values[:, 0] > 0, values[:, 2] > -1], 1)
    return xr.Dataset(
        {"modulation": (("sample", "latent"), values)},
        coords={
            "split": ("sample", split),
            "attributes": (("sample", "attribute"), attributes),
            "attribute": np.array(["Smiling", "Young"], object),
        },
    )


def published(store: Store, dataset: xr.Dataset, folder: Path) -> Reference:
    dataset.to_zarr(folder, zarr_format=3, consolidated=False)
    return store.publish("functasets", "faces", folder, PROVENANCE)


def test_attributes_are_classified_by_name(store: Store, tmp_path: Path) -> None:
    dataset = functaset()
    assert attributes_of(dataset) == ("Smiling", "Young")
    reference = published(store, dataset, tmp_path / "functaset")
    done = classify_attributes.plain("faces", CONFIG, functaset=reference)
    assert done.kind == "attribute-classifiers"
    record = store.record(done)
    assert record is not None
    summary = record.summary
    assert summary["attributes"] == ["Smiling", "Young"]
    assert min(summary["accuracy"].values()) > 0.85
    assert summary["accuracy"]["Smiling"] > summary["majority"]["Smiling"] + 0.2
    test = dataset.isel(sample=slice(200, None))
    shares = test["attributes"].mean("sample").values
    assert summary["majority"]["Young"] == pytest.approx(float(shares[1]))
    assert summary["majority"]["Smiling"] in (
        pytest.approx(shares[0]),
        pytest.approx(1 - shares[0]),
    )
    accuracies = []
    for seed in CONFIG.seeds:
        mean = torch.zeros(LATENTS)
        model = ModulationClassifier(mean, mean, 2, CONFIG.model).eval()
        model.load_state_dict(load_file(store.path(done) / f"mlp-{seed}.safetensors"))
        values, truth = (torch.from_numpy(test[v].values) for v in ("modulation", "attributes"))
        accuracies.append(torch.stack(attribute_accuracies(model, values, truth)))
    expected, balanced = torch.stack(accuracies).mean(0)
    assert list(summary["accuracy"].values()) == pytest.approx(expected.tolist())
    assert list(summary["balanced_accuracy"].values()) == pytest.approx(balanced.tolist())


def test_a_functaset_without_attributes_is_refused(store: Store, tmp_path: Path) -> None:
    dataset = functaset().drop_vars(["attributes", "attribute"])
    assert attributes_of(dataset) == ()
    reference = published(store, dataset, tmp_path / "functaset")
    with pytest.raises(InputError, match="no attributes to classify"):
        classify_attributes.plain("faces", CONFIG, functaset=reference)
