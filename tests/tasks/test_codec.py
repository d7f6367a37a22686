"""Codecs from end to end: trained by the stage, files in, coded files, files out."""

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from images_pipeline import TINY_IMAGES
from mutations import forged, mutate
from pipeline import TINY

from functory.coding.container import Reader
from functory.coding.decoding import decode_dataset, native_grid
from functory.coding.encoding import encode_dataset
from functory.errors import InputError, StoreError
from functory.fields.grids import finer, within
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from storage.codecs import codec_of, find_codec
from storage.references import Reference
from storage.versions import Store
from tasks.acquire import Acquisition, acquire
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.codec import CodecTraining, codec
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare import PrepareERA5, prepare
from tasks.prepare_images import PrepareImages, prepare_signals_of_images

BRIEF = {"steps": 6, "batch": 8, "rate": 1e-3, "evaluate_every": 3, "checkpoint_every": 3}
TRAINING = {
    "steps": [0.4, 0.02],
    "entropy": {"flow": {"optimisation": BRIEF}, "distillation": {"optimisation": BRIEF}},
}
NETWORK = {"latents": 4, "width": 16, "depth": 3, "omega_0": 15}
FIELDS = {"source": TINY["source"], "preparation": TINY["preparation"]}
PICTURES = {"source": TINY_IMAGES["source"], "preparation": TINY_IMAGES["preparation"]}
Trained = tuple[Store, xr.Dataset, str]


def learning(**changes: Any) -> MetaLearning:
    return MetaLearning.model_validate(
        {"network": NETWORK, "tangent": {"steps": 4}, "optimisation": BRIEF, **changes}
    )


def train(
    store: Store, name: str, signals: Reference, config: MetaLearning, **changes: Any
) -> None:
    network = metalearn.plain(name, config, signals=signals)
    functaset = fit_all.plain(name, Fitting(steps=1), signals=signals, network=network)
    training = CodecTraining.model_validate({**TRAINING, **changes})
    codec.plain(name, training, signals=signals, network=network, functaset=functaset)


def fields(name: str) -> Reference:
    config = Acquisition.model_validate({"source": TINY["source"]})
    raw = acquire.plain(name, config)
    return prepare.plain(name, PrepareERA5.model_validate({**FIELDS}), raw=raw)


def pictures(name: str) -> Reference:
    raw = acquire_images.plain(
        name, ImageAcquisition.model_validate({"source": PICTURES["source"]})
    )
    return prepare_signals_of_images.plain(name, PrepareImages.model_validate(PICTURES), raw=raw)


KINDS = {
    "whole fields in a row": (fields, "sphere", None, True),
    "patches of fields in a row": (fields, "box", {"size": 7}, True),
    "patches of images, blended": (pictures, "box", {"size": 5, "overlap": 1}, False),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a codec; return its store, what it is to code, and its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path_factory.mktemp("codecs")))
        store, name = Store.default(), "tiny"
        make, coordinates, patches, sequence = KINDS[request.param]
        signals = make(name)
        config = learning(coordinates=coordinates, patches=patches)
        train(store, name, signals, config, sequence=sequence)
    dataset = xr.open_zarr(store.path(signals), chunks=None).load()
    dataset = dataset.isel({_sample(dataset): slice(0, 20)})
    for variable in dataset.variables.values():
        variable.encoding = {}
        variable.attrs = {k: v for k, v in variable.attrs.items() if "normalisation" not in k}
    return store, dataset, name


def _sample(dataset: xr.Dataset) -> str:
    return str(dataset.attrs["sample_dimension"])


def coded(trained: Trained, quality: int | None = None, workers: int = 1) -> bytes:
    store, dataset, name = trained
    model, identity = codec_of(store, name)
    file = io.BytesIO()
    encode_dataset(dataset, file, model, identity, quality, workers)
    return file.getvalue()


def decoded(trained: Trained, content: bytes, **options: Any) -> xr.Dataset:
    reader = Reader(io.BytesIO(content))
    model = find_codec(trained[0], reader.header.identity)
    return decode_dataset(reader, model, **options).load()


def signal_of(dataset: xr.Dataset) -> str:
    return "image" if "image" in dataset else "t2m"


def test_what_is_decoded_has_the_coordinates_and_attributes_of_what_was_coded(trained):
    _, dataset, _ = trained
    found = decoded(trained, coded(trained))
    name = signal_of(dataset)
    for coordinate in dataset.coords:
        xr.testing.assert_identical(found[coordinate].variable, dataset[coordinate].variable)
    assert found[name].dims == dataset[name].dims
    assert found[name].attrs == dataset[name].attrs
    assert found.attrs == dataset.attrs


def test_what_is_decoded_is_the_functions_of_the_rounded_modulations(trained):
    store, dataset, name = trained
    model, _ = codec_of(store, name)
    found = decoded(trained, coded(trained))
    signals, point = model.signals(dataset), model.quality(None)
    everything = tuple(
        slice(0, n) for n in model.layout(dict(dataset.sizes), _sample(dataset)).shape
    )
    symbols = model.symbols(signals, everything, point)
    phi = torch.from_numpy(point.quantiser.dequantise(symbols))
    grid = {axis: dataset[axis].values for axis in model.fitted.coordinates.axes}
    whole = replace(model.fitted, grid=grid).decode(phi, grid).numpy()
    variable = model.fitted.variables[0]
    expected = whole.reshape(found[signal_of(dataset)].shape) * variable.scale + variable.offset
    np.testing.assert_allclose(
        found[signal_of(dataset)].values, expected, atol=2e-4 * variable.scale
    )


def test_a_part_is_what_it_is_in_the_whole(trained):
    _, dataset, _ = trained
    content = coded(trained)
    whole, name = decoded(trained, content), signal_of(dataset)
    y, x = whole[name].dims[1:3]
    at = within(
        {axis: whole[axis].values for axis in (y, x)},
        {y: tuple(whole[y].values[[2, 9]]), x: tuple(whole[x].values[[3, 12]])},
    )
    part = decoded(trained, content, at=at, samples=slice(3, 11))
    inside = whole.isel({_sample(dataset): slice(3, 11)}).sel(at)
    np.testing.assert_allclose(part[name].values, inside[name].values, rtol=1e-5, atol=1e-5)
    xr.testing.assert_identical(part["split"].variable, inside["split"].variable)


def test_a_finer_grid_has_the_same_functions_where_they_meet(trained):
    _, dataset, _ = trained
    content = coded(trained)
    name = signal_of(dataset)
    reader = Reader(io.BytesIO(content))
    native = native_grid(reader, find_codec(trained[0], reader.header.identity))
    degrees = name == "t2m"
    at = {axis: finer(values, 3, ends=degrees) for axis, values in native.items()}
    fine, whole = decoded(trained, content, at=at), decoded(trained, content)
    start = 0 if degrees else 1
    shared = fine.isel({axis: slice(start, None, 3) for axis in native})
    np.testing.assert_allclose(
        shared[name].values,
        whole[name].values,
        rtol=1e-4,
        atol=1e-3 * float(np.ptp(whole[name].values)),
    )


def test_threads_change_nothing(trained):
    content = coded(trained)
    assert coded(trained, workers=3) == content
    with dask.config.set(scheduler="threads", num_workers=3):
        side_by_side = decoded(trained, content)
    with dask.config.set(scheduler="synchronous"):
        xr.testing.assert_identical(side_by_side, decoded(trained, content))


def test_a_finer_quality_takes_more_and_misses_less(trained):
    _, dataset, _ = trained
    name = signal_of(dataset)
    sizes, errors = [], []
    for quality in (1, 2):
        content = coded(trained, quality)
        sizes.append(len(content))
        missed = decoded(trained, content)[name] - dataset[name]
        errors.append(float((missed**2).mean()))
    assert sizes[0] < sizes[1]
    assert errors[0] > errors[1]


def test_leading_modulations_come_closer_the_more_they_are(trained):
    _, dataset, _ = trained
    content, name = coded(trained), signal_of(dataset)
    whole = decoded(trained, content)[name]
    missed = [
        float(((decoded(trained, content, latents=n)[name] - whole) ** 2).mean()) for n in (1, 2, 4)
    ]
    assert missed[0] > missed[1] > missed[2] == 0


def test_a_file_of_a_codec_that_is_not_there_says_which_it_needs(trained, tmp_path: Path):
    identity = Reader(io.BytesIO(coded(trained))).header.identity
    with pytest.raises(StoreError, match=f"coded with codecs/{identity.name}@v1"):
        find_codec(Store(tmp_path), identity)


def test_inputs_that_the_codec_does_not_know_are_refused(trained):
    store, dataset, name = trained
    model, identity = codec_of(store, name)
    variable = signal_of(dataset)
    for wrong, said in (
        (dataset.rename({variable: "other"}), "but the input has other"),
        (dataset.expand_dims("level"), "select or rename dimensions"),
    ):
        with pytest.raises(InputError, match=said):
            encode_dataset(wrong, io.BytesIO(), model, identity)
    with pytest.raises(InputError, match="There is no quality 7"):
        encode_dataset(dataset, io.BytesIO(), model, identity, quality=7)


def test_damaged_chunks_with_right_checksums_never_crash(trained):
    content = coded(trained)
    random, said = np.random.default_rng(0), 0
    for _ in range(30):
        try:
            decoded(trained, forged(content, random))
        except (InputError, StoreError):
            said += 1
    assert said


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files_never_crash_nor_hang(trained):
    content, random = coded(trained), np.random.default_rng(1)
    outcomes = {"refused": 0, "decoded": 0}
    for _ in range(100_000):
        changed = mutate(content, random)
        began = time.process_time()
        try:
            decoded(trained, changed)
            outcomes["decoded"] += 1
        except (InputError, StoreError) as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            outcomes["refused"] += 1
        assert time.process_time() - began < 1
    assert outcomes["refused"] > outcomes["decoded"]
