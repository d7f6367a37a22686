"""The stages of the flow `shapenet`, end to end on tiny shapes."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import xarray as xr
from shapes_pipeline import TINY_SHAPES, plain_shapes

import storage.accessor  # noqa: F401 — registers the accessor
from functory.models.classifier import ConvolutionalConfig, VoxelClassifier
from functory.sources.signal_sets import open_signals
from storage.references import Reference
from storage.versions import Store
from tasks.complete import METHODS


@pytest.fixture
def done(
    shapes_run: tuple[Store, dict[str, Reference]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Reference]:
    store, references = shapes_run
    monkeypatch.setenv("FUNCTORY_STORE", str(store.root))
    return references


def path(reference: Reference) -> Path:
    return Store.default().path(reference)


def test_a_functaset_says_which_model_and_class_each_function_is_of(
    done: dict[str, Reference],
) -> None:
    functaset = xr.open_zarr(path(done["functaset"]), chunks=None)
    signals = open_signals(path(done["signals"]))
    for name in ("label", "model", "split"):
        assert functaset[name].values.tolist() == signals[name].values.tolist()
    assert functaset.sizes["sample"] == 2 * 50
    of_split = functaset["model"].groupby(functaset["split"])
    models = [set(part.values.tolist()) for _, part in of_split]
    assert sum(map(len, models)) == 50  # no model in two splits


def test_quality_is_that_of_the_decoded_functions_at_their_surface(
    done: dict[str, Reference],
) -> None:
    functaset = xr.open_zarr(path(done["functaset"]), chunks=None)
    truth = open_signals(path(done["signals"]))["occupancy"].values
    surface = functaset.functa.network.surface
    decoded = functaset.functa.decode().values > surface
    agreed = (decoded == truth).mean((1, 2, 3))
    np.testing.assert_allclose(functaset["accuracy"].values, agreed, atol=1e-3)
    overlap = (decoded & truth).sum((1, 2, 3)) / (decoded | truth).sum((1, 2, 3))
    np.testing.assert_allclose(functaset["iou"].values, overlap, atol=1e-2)


def test_samples_have_classes_and_temperatures(done: dict[str, Reference]) -> None:
    samples = xr.open_zarr(path(done["samples"]), chunks=None)
    counted = samples.to_dataframe().groupby(["label", "temperature"]).size() // 4
    assert len(counted) == 10 * 2
    assert (counted == 2).all()  # of four latents each


def test_completions_are_scored_for_every_mask_and_method(done: dict[str, Reference]) -> None:
    completed = xr.open_zarr(path(done["completions"]), chunks=None)
    assert completed.sizes["sample"] == 5 * len(METHODS) * 2
    inferred = completed["method"].values == METHODS[0]
    assert all(completed["label"].values[inferred])
    truth = open_signals(path(done["signals"]))["occupancy"]
    half = (completed["mask"].values == "left half") & inferred
    values = completed.isel(sample=half).functa.decode()
    unseen = truth.isel(sample=completed["of"].values[half]).sel(x=slice(0.5, None)).values
    guessed = values.sel(x=slice(0.5, None)).values > completed.functa.network.surface
    overlap = [(g & u).sum() / max(1, (g | u).sum()) for g, u in zip(guessed, unseen, strict=True)]
    np.testing.assert_allclose(completed["unseen"].values[half], overlap, atol=1e-3)


def test_a_published_classifier_is_what_was_measured(done: dict[str, Reference]) -> None:
    from safetensors.torch import load_file

    summary = Store.default().record(done["voxel_classifiers"]).summary  # type: ignore[union-attr]
    model = VoxelClassifier(12, 10, ConvolutionalConfig(channels=4)).eval()
    model.load_state_dict(load_file(path(done["voxel_classifiers"]) / "cnn-4-0.safetensors"))
    signals = open_signals(path(done["signals"])).load()
    test = signals["split"].values == "test"
    with torch.no_grad():
        logits = model(torch.from_numpy(signals["occupancy"].values[test]).flatten(1).float())
    names = np.array(summary["classes"])[logits.argmax(1).numpy()]
    right = (names == signals["label"].values[test].astype(object)).mean()
    assert right == pytest.approx(summary["cnn-4"]["accuracy"])


def test_the_report_is_one_page_with_meshes_beside_it(done: dict[str, Reference]) -> None:
    folder = path(done["page"])
    page = (folder / "index.html").read_text()
    for heading in ("Summary", "Half a shape", "Classifying", "Provenance"):
        assert heading in page
    assert "not ShapeNet" in page
    meshes = list((folder / "meshes").glob("*.ply"))
    assert meshes
    assert all(isinstance(trimesh.load(mesh), trimesh.Trimesh) for mesh in meshes)


def test_nothing_is_computed_twice(
    done: dict[str, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a stage was computed again")

    monkeypatch.setattr("tasks.stage.Stage._compute", refuse)
    assert plain_shapes(TINY_SHAPES) == done
