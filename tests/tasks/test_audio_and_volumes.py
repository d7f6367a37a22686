"""Sounds and volumes through the stages: acquired, prepared, learned and fitted in patches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import soundfile
import xarray as xr
from pydantic import TypeAdapter

import storage.accessor  # noqa: F401 — registers the accessor
from functory.errors import InputError
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.sources.audio import AudioSource
from functory.sources.audio_preparation import AudioPreparation
from functory.sources.signal_sets import open_signals
from functory.sources.volume_preparation import VolumePreparation
from functory.sources.volumes import VolumeSource
from storage.references import Reference
from storage.versions import Store
from tasks.acquire_audio import AudioAcquisition, acquire_audio
from tasks.acquire_volumes import VolumeAcquisition, acquire_volumes
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare_audio import PrepareAudio, prepare_signals_of_audio
from tasks.prepare_volumes import PrepareVolumes, prepare_signals_of_volumes

SPLIT = {"method": "random-sizes", "train": 3, "test": 1}
SHORT = {"seconds": 0.05, "rate": 8000, "split": SPLIT}
SMALL = {"size": 8, "split": SPLIT}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path / "store"))
    return Store.default()


def audio(source: dict[str, Any], preparation: dict[str, Any] = SHORT) -> Reference:
    chosen = TypeAdapter(AudioSource).validate_python(source)
    raw = acquire_audio.plain("test", AudioAcquisition(source=chosen))
    made = AudioPreparation.model_validate(preparation)
    config = PrepareAudio(source=chosen, preparation=made)
    return prepare_signals_of_audio.plain("test", config, raw=raw)


def volumes(source: dict[str, Any], preparation: dict[str, Any] = SMALL) -> Reference:
    chosen = TypeAdapter(VolumeSource).validate_python(source)
    raw = acquire_volumes.plain("test", VolumeAcquisition(source=chosen))
    made = VolumePreparation.model_validate(preparation)
    config = PrepareVolumes(source=chosen, preparation=made)
    return prepare_signals_of_volumes.plain("test", config, raw=raw)


def sounds(_: Path) -> Reference:
    return audio({"kind": "demo", "recordings": 8, "speakers": 4, "rate": 8000})


def heads(_: Path) -> Reference:
    return volumes({"kind": "demo", "volumes": 4, "size": 16})


def write_sounds(folder: Path) -> Reference:
    folder.mkdir(exist_ok=True)
    for i in range(4):
        noise = np.random.default_rng(i).normal(0, 0.1, 500)
        soundfile.write(folder / f"{i}.wav", noise, 8000)
    return audio({"kind": "files", "paths": [str(folder)], "attribution": "mine"})


def write_heads(folder: Path) -> Reference:
    folder.mkdir(exist_ok=True)
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 99, (8, 9, 10)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), folder / f"{i}.nii.gz")
    return volumes({"kind": "nifti", "paths": [str(folder)], "attribution": "mine"})


@pytest.mark.parametrize(
    ("signals_of", "variable", "patch", "cells"),
    [
        (sounds, "audio", 50, ("t_cell",)),
        (heads, "volume", 4, ("z_cell", "row", "column")),
    ],
)
def test_functions_of_patches_are_learned_fitted_and_decoded(
    store: Store,
    tmp_path: Path,
    signals_of: Callable[[Path], Reference],
    variable: str,
    patch: int,
    cells: tuple[str, ...],
) -> None:
    signals = signals_of(tmp_path)
    learning = MetaLearning.model_validate(
        {
            "network": {"latents": 3, "width": 16, "depth": 3, "omega_0": 15},
            "coordinates": "box",
            "patches": {"size": patch},
            "tangent": {"steps": 4},
            "optimisation": {"steps": 4, "batch": 4, "rate": 1e-4, "evaluate_every": 2},
        }
    )
    network = metalearn.plain("test", learning, signals=signals)
    reference = fit_all.plain("test", Fitting(), signals=signals, network=network)
    functaset = xr.open_zarr(store.path(reference), chunks=None)
    truth = open_signals(store.path(signals))
    assert functaset["modulation"].dims == ("sample", *cells, "latent")
    assert functaset.sizes["latent"] == 3
    decoded = functaset.functa.decode()
    assert decoded.dims == truth[variable].dims
    scale = truth[variable].attrs["normalisation_scale"]
    squared = ((decoded - truth[variable]) / scale).values.reshape(len(decoded), -1) ** 2
    np.testing.assert_allclose(functaset["psnr"], -10 * np.log10(squared.mean(1)), rtol=1e-3)
    for name in {"split", "speaker", "origin", "start"} & set(truth.coords):
        np.testing.assert_array_equal(functaset[name].values, truth[name].values)
    record = store.record(reference)
    assert record is not None
    assert {"train", "test"} == set(record.summary["psnr"])
    assert record.summary["psnr_principal_components"] > 0
    assert "CC0" in record.licence


@pytest.mark.parametrize(("write", "suffix"), [(write_sounds, ".wav"), (write_heads, ".nii.gz")])
def test_files_are_known_by_their_contents_and_damaged_ones_publish_nothing(
    store: Store, tmp_path: Path, write: Callable[[Path], Reference], suffix: str
) -> None:
    def summary(reference: Reference) -> dict[str, Any]:
        record = store.record(reference)
        assert record is not None
        assert record.licence == "mine"
        return record.summary

    folder = tmp_path / "files"
    first = write(folder)
    assert summary(first)["splits"]["train"] == 3 * summary(first)["splits"]["test"]
    assert write(folder) == first
    (folder / f"4{suffix}").write_bytes((folder / f"1{suffix}").read_bytes())
    assert summary(first)["repeated"] == 0
    assert summary(write(folder))["repeated"] == 1
    (folder / f"4{suffix}").write_bytes(b"damaged")
    published = len(store.records("signals"))
    with pytest.raises(InputError, match=f"4{suffix} cannot be read as"):
        write(folder)
    assert len(store.records("signals")) == published
