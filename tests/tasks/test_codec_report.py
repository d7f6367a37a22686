"""The report of a codec, from a tiny run of its stages: what it says is what was measured."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from functory.metalearning.fitting import Fitting
from functory.metalearning.outer import MetaLearning
from functory.reporting.codec_page import CodecReport, pictures
from storage.codecs import read_codec
from storage.references import Reference
from storage.versions import Store
from tasks.acquire_images import ImageAcquisition, acquire_images
from tasks.codec import CodecTraining, codec
from tasks.fit import fit_all
from tasks.metalearn import metalearn
from tasks.prepare_images import PrepareImages, prepare_signals_of_images
from tasks.report_codec import CodecReporting, report_codec, signal_bits, summary_table

SHAPES = pytest.mark.parametrize(
    ("shape", "sequence"),
    [
        ((300,), False),
        ((150,), True),
        ((3, 300), False),
        ((70, 18), True),
        ((2, 20, 17), False),
        ((2, 9, 8, 10), False),
    ],
)
BRIEF = {"steps": 4, "batch": 4, "rate": 1e-3, "evaluate_every": 2, "checkpoint_every": 4}
TESTED = 2  # images of the test split: all are shown
SOURCE = {"kind": "demo", "pictures": 20, "side": 16}
LEARNING = {
    "network": {"latents": 4, "width": 16, "depth": 3, "omega_0": 20},
    "solver": {"kind": "gauss-newton"},
    "tangent": {"steps": 2},
    "optimisation": BRIEF,
    "coordinates": "box",
    "patches": {"size": 8},
}
TRAINING = {
    "steps": [0.05, 0.02],
    "entropy": {"flow": {"optimisation": BRIEF}, "distillation": {"optimisation": BRIEF}},
}


@dataclass(frozen=True)
class Done:
    """What a tiny run left behind."""

    store: Store
    references: dict[str, Reference]
    content: CodecReport
    """What the report told."""

    def summary(self, stage: str) -> dict[str, Any]:
        return self.store.record(self.references[stage]).summary

    def path(self, stage: str) -> Path:
        return self.store.path(self.references[stage])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Train a codec of tiny images and report on it."""
    told: list[CodecReport] = []

    def draw(content: CodecReport) -> dict[str, bytes]:
        told.append(content)
        return pictures(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUNCTORY_STORE", str(tmp_path_factory.mktemp("codec")))
        patch.setattr("tasks.report_codec.pictures", draw)
        raw = acquire_images.plain("tiny", ImageAcquisition(source=SOURCE))
        images = PrepareImages(source=SOURCE, preparation={"size": 16})
        made = {"signals": prepare_signals_of_images.plain("tiny", images, raw=raw)}
        made["network"] = metalearn.plain("tiny", MetaLearning(**LEARNING), **made)
        made["functaset"] = fit_all.plain("tiny", Fitting(), **made)
        made["codec"] = codec.plain("tiny", CodecTraining(**TRAINING), **made)
        del made["network"]
        config = CodecReporting(examples=TESTED)
        made["report"] = report_codec.plain("tiny", config, **made)
        return Done(Store.default(), made, told[0])


def test_the_report_has_its_page_its_pictures_and_a_table(done):
    names = {path.name for path in done.path("report").iterdir()}
    assert names == {"index.html", "rates.png", "bits.png", "reconstructions.png"}
    table = dict(done.summary("report")["table"])
    html = (done.path("report") / "index.html").read_text()
    assert "functory encode FILE.png -o FILE.fct --with tiny" in html
    fine = done.summary("codec")["qualities"][-1]
    assert table["codes"] == "image"
    assert table["values per image"] == "768 (16 × 16 × 3)"
    assert table["compression ratio"].startswith(f"{8 * 768 / fine['bits']:,.0f} against 8 bits")
    for value in (*table.values(), f"{fine['bits']:,.1f}", f"{fine['psnr']:.2f}"):
        assert f">{value}<" in html


def test_sizes_are_what_the_model_said_in_training(done):
    found = done.summary("codec")["qualities"]
    assert len(done.content.qualities) == len(found) == 2
    for quality, trained in zip(done.content.qualities, found, strict=True):
        assert len(quality.sizes) == TESTED
        assert quality.sizes.mean() == pytest.approx(trained["model_bits"])
        assert quality.bits == trained["bits"]


def test_bits_of_latents_add_up_to_those_of_histograms(done):
    for quality in done.content.qualities:
        cells = 2 * 2
        assert cells * quality.latents.sum() == pytest.approx(quality.histogram_bits)


def test_examples_are_decoded_as_well_as_training_measured(done):
    examples = done.content.examples
    with xr.open_zarr(done.path("signals")) as signals:
        tested = signals["image"].values[signals["split"].values == "test"]
    np.testing.assert_array_equal(examples.originals, tested)
    for reached, trained in zip(examples.psnr, done.summary("codec")["qualities"], strict=True):
        errors = 10 ** (-reached / 10)
        assert -10 * np.log10(errors.mean()) == pytest.approx(trained["psnr"], abs=1e-3)


def test_the_network_counts_in_the_ratio_as_often_as_it_is_shared(done):
    made, summary = read_codec(done.path("codec")), done.summary("codec")
    ratios = []
    for signals in (1, 1000, 10**9):
        text = dict(summary_table(summary, made, 8, signals))["compression ratio"]
        alone, shared = re.findall(r"[\d,.]+(?= against| with)", text)
        ratios.append(float(shared.replace(",", "")))
    assert ratios[0] < 1 < ratios[1] < ratios[2]
    assert round(ratios[2]) == float(alone.replace(",", ""))


class Unary:
    """A model whose symbols take as many bits as they say."""

    def bits(self, symbols: np.ndarray) -> np.ndarray:
        return symbols.sum(-1).astype(float)


@SHAPES
def test_each_signal_adds_what_its_symbols_take(shape, sequence):
    symbols = np.random.default_rng(0).integers(0, 9, (*shape, 5))
    found = signal_bits(SimpleNamespace(sequence=sequence), SimpleNamespace(model=Unary()), symbols)
    np.testing.assert_allclose(found, symbols.reshape(len(symbols), -1).sum(1))
