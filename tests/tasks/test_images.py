"""The stages of the flow `celeba`, end to end on tiny images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from images_pipeline import TINY_IMAGES, plain_images
from skimage.metrics import structural_similarity

import storage.accessor  # noqa: F401 — registers the accessor
from functory.signals import StoredSignals, split_indices
from functory.sources.signal_sets import open_signals
from storage.references import Reference
from storage.versions import Store

SIZE = TINY_IMAGES["preparation"]["size"]
FORMS = pytest.mark.parametrize("form", ["functaset", "spatial"])
SECTIONS = [
    "Summary",
    "Images and their reconstructions",
    "Quality in each split",
    "One vector, or one for each patch",
    "New images",
    "How like the data are they?",
    "Not memorised?",
    "What is between two images",
    "Between the pixels",
    "Half an image is enough?",
    "Finding attributes",
    "What the units of the network do",
    "Training",
    "Provenance",
]


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


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Return the structural similarity of two images, by another implementation."""
    return float(
        structural_similarity(
            one,
            other,
            channel_axis=-1,
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=1,
        )
    )


# Functasets


def test_a_functaset_says_what_each_function_is_of(done: dict[str, Reference]) -> None:
    signals = open_signals(path(done["signals"]))
    for form in ("functaset", "spatial"):
        functaset = opened(done[form])
        for name in ("split", "name", "attribute", "attributes"):
            assert functaset[name].dims == signals[name].dims
            assert functaset[name].values.tolist() == signals[name].values.tolist()
        assert functaset["attributes"].dims == ("sample", "attribute")
        glasses = functaset["attributes"].sel(attribute="Glasses")
        assert 0 < int(glasses.sum()) < functaset.sizes["sample"]


def test_an_image_has_one_vector_or_one_for_each_patch(done: dict[str, Reference]) -> None:
    whole, spatial = opened(done["functaset"]), opened(done["spatial"])
    assert dict(whole["modulation"].sizes) == {"sample": 48, "latent": 4}
    shape = {"sample": 48, "row": 2, "column": 2, "latent": 4}
    assert dict(spatial["modulation"].sizes) == shape
    assert whole["modulation"].dtype == spatial["modulation"].dtype == np.float32
    assert summary(done["functaset"])["latents"] == 4
    assert summary(done["spatial"])["latents"] == 2 * 2 * 4


@FORMS
def test_quality_is_that_of_the_decoded_functions(done: dict[str, Reference], form: str) -> None:
    functaset, truth = opened(done[form]), images(done["signals"])
    decoded = functaset.functa.decode().values
    squared = ((decoded - truth) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(functaset["psnr"], psnr(squared), rtol=1e-4)
    shown = decoded.clip(0, 1).astype(truth.dtype)
    similarity = [ssim(*pair) for pair in zip(truth, shown, strict=True)]
    np.testing.assert_allclose(functaset["ssim"], similarity, atol=1e-4)
    known = summary(done[form])
    for split in ("train", "test"):
        chosen = split_indices(functaset, [split])
        assert known["psnr"][split] == pytest.approx(psnr(squared[chosen].mean()), rel=1e-4)
        mean = np.mean([similarity[i] for i in chosen])
        assert known["ssim"][split] == pytest.approx(mean, abs=1e-4)


# Decoding


@FORMS
def test_functions_decode_to_images(done: dict[str, Reference], form: str) -> None:
    decoded = opened(done[form]).functa.decode()
    signals = open_signals(path(done["signals"]))
    assert decoded.dims == ("sample", "y", "x", "channel")
    assert decoded.shape == (48, SIZE, SIZE, 3)
    assert decoded["channel"].values.tolist() == ["red", "green", "blue"]
    assert decoded.attrs["units"] == "1"
    np.testing.assert_array_equal(decoded["y"], signals["y"])
    # within the range of colours but for what functions overshoot, and as bright as the images
    assert float(decoded.min()) > -0.5
    assert float(decoded.max()) < 1.5
    assert float(decoded.mean()) == pytest.approx(float(signals["image"].mean()), abs=0.05)


@FORMS
def test_refined_images_have_the_centres_of_smaller_pixels(
    done: dict[str, Reference], form: str
) -> None:
    few = opened(done[form]).isel(sample=[0, 40])
    fine = few.functa.decode(refine=8)
    assert fine.shape == (2, 8 * SIZE, 8 * SIZE, 3)
    centres = (np.arange(8 * SIZE) + 0.5) / (8 * SIZE)
    np.testing.assert_allclose(fine["y"], centres)
    np.testing.assert_allclose(fine["x"], centres)
    thirds = few.functa.decode(refine=3)  # the middle one of three has its pixel's centre
    np.testing.assert_allclose(thirds[:, 1::3, 1::3], few.functa.decode(), atol=1e-5)


@FORMS
def test_a_place_has_its_colour_whatever_else_is_asked_for(
    done: dict[str, Reference], form: str
) -> None:
    functaset = opened(done[form])
    whole = functaset.functa.decode()
    rows, columns = whole["y"].values[[14, 3, 7]], whole["x"].values[::5]
    part = functaset.functa.decode([5, 41], y=rows, x=columns)
    np.testing.assert_allclose(part, whole[[5, 41]][:, [14, 3, 7]][:, :, ::5], atol=1e-5)
    point = functaset.functa.decode(5, y=rows[1], x=columns[2])
    assert point.dims == ("channel",)
    np.testing.assert_allclose(point, whole[5, 3, 10], atol=1e-5)


# The report, and running again


def test_the_report_is_one_page_that_needs_nothing_else(done: dict[str, Reference]) -> None:
    folder = path(done["page"])
    page = (folder / "index.html").read_text()
    headings = [part.split("</h2>")[0].strip() for part in page.split("<h2>")[1:]]
    assert sorted(headings) == sorted(SECTIONS)
    assert "not CelebA" in page
    for loaded in ("http:", "https:", "//cdn", "<script", "<link", "url(", "@import", "srcset"):
        assert loaded not in page
    pictures = page.split('src="')[1:]
    assert all(picture.startswith("data:image/png;base64,") for picture in pictures)
    assert len(pictures) == len(list(folder.glob("*.png")))
    for label, reference in done.items():
        assert (reference.digest[:12] in page) == (label not in ("raw", "page"))


def test_nothing_is_computed_twice(
    done: dict[str, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a stage was computed again")

    monkeypatch.setattr("tasks.stage.Stage._compute", refuse)
    assert plain_images(TINY_IMAGES) == done


def test_patches_that_are_read_one_by_one_are_those_read_at_once(
    done: dict[str, Reference],
) -> None:
    coordinates = opened(done["spatial"]).functa.network.coordinates
    stored = StoredSignals(open_signals(path(done["signals"])), coordinates)
    read = stored.read()
    assert len(stored) == len(read) == 48 * 4
    order = torch.randperm(len(stored), generator=torch.Generator().manual_seed(0))[:50]
    for chosen in (order, torch.tensor([7]), torch.tensor([9, 8, 9])):
        taken, expected = stored.take(chosen), read.take(chosen)
        assert torch.equal(taken.features, expected.features)
        assert torch.equal(taken.points, expected.points)
