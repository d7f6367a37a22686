"""The commands of the codec, from file to file."""

import io
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from images_pipeline import NETWORK, STEPS, TINY_IMAGES
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app
from functory.errors import InputError, StoreError
from functory.formats import read
from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.codec import CodecTraining, codec
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare_images import PrepareImages, prepare_signals_of_images

LEARNING = {
    "network": NETWORK,
    "tangent": {"steps": 4},
    "coordinates": "box",
    "patches": {"size": 8},
    "optimisation": STEPS,
}
TRAINING = {
    "steps": [0.4, 0.02],
    "entropy": {"flow": {"optimisation": STEPS}, "distillation": {"optimisation": STEPS}},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a codec of images in patches."""
    root = tmp_path_factory.mktemp("coding")
    source = {"source": TINY_IMAGES["source"]}
    prepared = {**source, "preparation": TINY_IMAGES["preparation"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(root))
        raw = acquire_images.plain("tiny", ImageAcquisition.model_validate(source))
        config = PrepareImages.model_validate(prepared)
        signals = prepare_signals_of_images.plain("tiny", config, raw=raw)
        network = metalearn.plain("tiny", MetaLearning.model_validate(LEARNING), signals=signals)
        functaset = fit_all.plain("tiny", Fitting(steps=1), signals=signals, network=network)
        training = CodecTraining.model_validate(TRAINING)
        codec.plain("tiny", training, signals=signals, network=network, functaset=functaset)
    return root


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return an image whose sides are no multiple of a patch's."""
    y, x = np.mgrid[:21, :38] / 38
    Image.fromarray(np.uint8(255 * np.stack([y, x, (x + y) / 2], -1))).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def call(store: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setenv("FUNCTORY_STORE", str(store))
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_image_goes_through_a_file(store, photo, monkeypatch, capsys):
    coded, back = photo.with_suffix(".fct"), photo.with_name("back.png")
    call(store, monkeypatch, "encode", str(photo), "-o", str(coded), "--with", "tiny")
    call(store, monkeypatch, "decode", str(coded), "-o", str(back))
    missed = read(back)["image"].values - read(photo)["image"].values
    assert missed.shape == (1, 21, 38, 3)
    assert float(np.abs(missed).mean()) < 0.2
    assert coded.stat().st_size < missed.size  # of bytes


def test_a_part_at_four_times_the_resolution(store, photo, monkeypatch):
    coded, part = photo.with_suffix(".fct"), photo.with_name("part.nc")
    call(store, monkeypatch, "encode", str(photo), "-o", str(coded), "--with", "tiny@v1")
    options = ("--scale", "4", "--box", "y=0.5:1", "--box", "x=0:0.25")
    call(store, monkeypatch, "decode", str(coded), "-o", str(part), *options)
    with xr.open_dataset(part) as found:
        assert found.sizes["y"] == 42
        assert found.sizes["x"] == 38
        assert float(found["y"].min()) >= 0.5


def test_codecs_are_listed_with_their_qualities(store, tmp_path, monkeypatch, capsys):
    from flows import coding

    shown = io.StringIO()
    monkeypatch.setattr(coding.console, "file", shown, raising=False)
    monkeypatch.setenv("FUNCTORY_STORE", str(store))
    coding.codecs()
    assert "tiny@v1" in shown.getvalue()
    monkeypatch.setenv("FUNCTORY_STORE", str(tmp_path))
    coding.codecs()
    assert "There is no codec yet" in shown.getvalue()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("encode", "photo.png", "-o", "a.fct", "--with", "other"), "has no codecs/other"),
        (("encode", "none.png", "-o", "a.fct", "--with", "tiny"), "none.png"),
        (("encode", "photo.png", "-o", "no/a.fct", "--with", "tiny"), "no folder no"),
        (("encode", "photo.png", "-o", "a.fct", "--with", "coin", "--size", "5"), "LAYERSxWIDTH"),
        (("decode", "photo.png", "-o", "a.png"), "not a file that Functory coded"),
    ],
)
def test_what_is_wrong_is_one_sentence(store, photo, monkeypatch, words, said):
    monkeypatch.chdir(photo.parent)
    monkeypatch.setenv("FUNCTORY_STORE", str(store))
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, InputError | StoreError)
    assert said in str(result.exception)
    assert len(str(result.exception).splitlines()) == 1
    assert not (photo.parent / "a.fct").exists()
    assert sorted(p.name for p in photo.parent.iterdir()) == ["photo.png"]
