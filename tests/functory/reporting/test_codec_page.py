"""The report of a codec: what it says is what was measured, for every kind of data."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from functory.reporting import codec_charts, codec_examples
from functory.reporting.codec_charts import Quality
from functory.reporting.codec_examples import Coded, draw_coded
from functory.reporting.codec_page import SIGNALS, CodecReport, pictures, render

NOTICE = "Synthetic data, not observations."
AXES = {
    "climate": {"latitude": np.linspace(50, 58, 5), "longitude": np.linspace(-10, 2, 6)},
    "image": {"y": np.arange(8), "x": np.arange(8), "channel": ["red", "green", "blue"]},
    "audio": {"t": np.arange(2000) / 1000},
    "volume": {axis: np.arange(8) for axis in "zyx"},
    "shape": {axis: np.arange(8) for axis in "zyx"},
}


def coded(modality: str, qualities: int = 2, samples: int = 2) -> Coded:
    """Return noise, and the same plus 0.1 at quality 1, 0.05 at quality 2, and so on."""
    axes = AXES[modality]
    shape = (samples, *map(len, axes.values()))
    values = np.random.default_rng(0).uniform(0.2, 0.8, shape)
    originals = xr.DataArray(values, dims=("sample", *axes), coords=axes)
    if modality == "climate":
        times = np.datetime64("2019-03-01T00", "ns") + np.arange(samples).astype("m8[D]")
        originals = originals.assign_coords(time=("sample", times))
    decoded = xr.concat([originals + 0.1 / 2**i for i in range(qualities)], "quality")
    bits = 8.0 * (10 + np.arange(qualities * samples).reshape(qualities, samples))
    return Coded(modality, originals, decoded, bits)


def quality(number: int, **changed: object) -> Quality:
    fields = {
        "bits": 800.0 * number,
        "histogram_bits": 1000.0 * number,
        "psnr": 20 + 6.0206 * number,
        "rmse": 1.23456 / number,
        "latents": np.linspace(4, 1, 16) * number,
        "sizes": np.linspace(600, 1000, 9) * number,
        "held_out": {"histogram": 3.25, "network": 2.5},
    }
    return Quality(**(fields | changed))


def report_on(modality: str, **changed: object) -> CodecReport:
    fields = {
        "title": "a/<codec>",
        "notice": NOTICE,
        "licence": "Made by <nobody>; see https://example.org/licence",
        "table": [("test PSNR", "25.61 dB")],
        "modality": modality,
        "units": "K",
        "values": 1600,
        "qualities": [quality(1), quality(2)],
        "examples": coded(modality),
        "sequence": False,
        "provenance": [("codec", "codecs/a 0123", '{"steps": [0.1, 0.05]}')],
    }
    return CodecReport(**(fields | changed))


@pytest.fixture(scope="module")
def report() -> CodecReport:
    return report_on("image")


@pytest.fixture(scope="module")
def twice(report) -> list[dict[str, bytes]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(pictures, [report, report]))


class Page(HTMLParser):
    """What a page refers to, the cells of its tables and what it says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
        if data.strip() and self.tags[-1][0] == "td":
            self.cells.append(data)
            self.tags.append(("", {}))


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def written(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def drawn(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40, metadata={"Software": None})
    return stream.getvalue()


def test_the_same_report_gives_the_same_bytes_in_any_thread(twice):
    assert twice[0] == twice[1]
    assert set(twice[0]) == {"rates", "bits", "reconstructions"}


def test_pictures_are_as_wide_as_the_page_and_headed_by_the_notice(twice):
    for png in twice[0].values():
        image = Image.open(io.BytesIO(png))
        assert image.width == 1536
        assert set(image.info) == {"dpi"}
        top = np.asarray(image.convert("RGB"))[:60]
        assert (top == (0x8A, 0x3A, 0x0C)).all(axis=-1).sum() > 100


def test_the_page_holds_every_picture_and_refers_to_nothing(report, twice):
    html = render(report, twice[0])
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not {"href", "srcset", "poster"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        if tag == "img":
            assert NOTICE in (attributes["alt"] or "")
    assert sum(tag == "img" for tag, _ in page.tags) == len(twice[0])
    assert "http" not in html.replace("https://example.org/licence", "")
    assert "<codec>" not in html
    for said in (NOTICE, report.licence, report.title, "25.61 dB", "codecs/a 0123"):
        assert said in page.text


def test_the_page_says_how_to_code_and_decode(report, twice):
    text = Page(render(report, twice[0])).text
    assert "functory encode FILE.png -o FILE.fct --with a/<codec>" in text
    assert "functory decode FILE.fct -o OUT.png --scale 2" in text


def test_tables_have_what_was_measured(report, twice):
    cells = Page(render(report, twice[0])).cells
    assert cells[:6] == ["26.02", "1.23", "800.0", "0.5", "1,000.0", "20.0%"]
    assert cells[12:] == ["3.250", "2.500"] * 2


def test_a_codec_that_loses_to_histograms_says_so(report, twice):
    losing = [quality(1, histogram_bits=640.0, held_out={})]
    cells = Page(render(replace(report, qualities=losing), twice[0])).cells
    assert cells[4:] == ["640.0", "−25.0%"]


@pytest.mark.parametrize("modality", SIGNALS)
def test_every_kind_of_data_has_a_page_in_its_own_words(modality, twice):
    text = Page(render(report_on(modality), twice[0])).text
    assert f"bits per {SIGNALS[modality]}" in text
    assert not {s for s in SIGNALS.values() if f"bits per {s}" in text} - {SIGNALS[modality]}


@pytest.mark.parametrize("sequence", [False, True])
def test_only_a_sequence_has_earlier_signals(sequence, report, twice):
    text = Page(render(replace(report, sequence=sequence), twice[0])).text
    assert ("coded without one before it" in text) == sequence
    assert ("what earlier images say" in text) == sequence


def test_psnr_is_of_each_signal_in_the_range_of_the_data():
    known = coded("climate")
    np.testing.assert_allclose(known.psnr, [[20, 20], [26.0206, 26.0206]], rtol=1e-5)
    wider = replace(known, scale=10.0)
    np.testing.assert_allclose(wider.psnr, known.psnr + 20)
    gaps = known.originals.copy()
    gaps[0, :2] = np.nan
    np.testing.assert_allclose(replace(known, originals=gaps).psnr, known.psnr)


def test_fields_have_a_figure_each_with_a_row_for_each_quality():
    figures = draw_coded(coded("climate", qualities=3))
    assert len(figures) == 2
    assert titles(figures[1])[:9] == [
        *("Original, 2019-03-02 00:00", "Quality 1: 11.0 bytes", "Difference (RMSE 0.1)"),
        *("Original, 2019-03-02 00:00", "Quality 2: 13.0 bytes", "Difference (RMSE 0.05)"),
        *("Original, 2019-03-02 00:00", "Quality 3: 15.0 bytes", "Difference (RMSE 0.025)"),
    ]


@pytest.mark.parametrize("modality", ["image", "volume"])
def test_images_stand_beside_their_originals_with_bytes_and_psnr(modality):
    (figure,) = draw_coded(coded(modality))
    said = written(figure)
    assert {"original", "quality 1", "quality 2", "error, 5×"} <= set(said)
    assert [s for s in said if "bytes" in s] == [
        *("10.0 bytes, 20.0 dB", "12.0 bytes, 26.0 dB"),
        *("11.0 bytes, 20.0 dB", "13.0 bytes, 26.0 dB"),
    ]


def test_shapes_are_surfaces_without_errors():
    (figure,) = draw_coded(coded("shape", qualities=1, samples=1))
    said = written(figure)
    assert "10.0 bytes, 20.0 dB" in said
    assert not [text for text in said if text.startswith("error")]


def test_sounds_have_their_errors_and_spectra_on_top_of_each_other():
    (figure,) = draw_coded(coded("audio", samples=1))
    assert titles(figure)[:3] == [
        "Original",
        "Quality 1: 10.0 bytes, 20.0 dB",
        "Quality 2: 11.0 bytes, 26.0 dB",
    ]
    original, first, second = figure.axes[:3]
    assert [len(axes.collections) for axes in (original, first, second)] == [1, 2, 2]
    # errors are the same at all times: a band of no height
    _, error = second.collections
    np.testing.assert_allclose(error.get_paths()[0].vertices[:, 1], 0.05)
    (ends,) = {axes.images[0].get_clim() for axes in figure.axes[3:6]}
    assert ends[1] - ends[0] == codec_examples.REACH


@pytest.mark.parametrize("length", [5, 400, 1999])
def test_a_drawn_sound_reaches_as_far_as_the_sound(length):
    sound = np.random.default_rng(length).normal(size=length)
    times, low, high = codec_examples._extent(np.arange(length) / 10, sound)
    assert len(times) <= codec_examples.ACROSS
    assert (low.min(), high.max()) == (sound.min(), sound.max())
    assert (low <= high).all()


def test_slices_are_seen_from_above_with_the_front_at_the_top():
    volume = np.zeros((4, 3, 3))
    volume[2, -1, 0] = 1  # y runs from back to front, x from left to right
    assert codec_examples.VIEWS["volume"](volume)[0, 0, 0] == 1


@pytest.mark.parametrize(("qualities", "shown"), [(1, [1]), (3, [1, 2, 3]), (6, [1, 3, 6])])
def test_up_to_three_qualities_are_shown_with_both_ends(qualities, shown):
    (figure,) = draw_coded(coded("volume", qualities))
    named = [text for text in written(figure) if text.startswith("quality")]
    assert named == [f"quality {number}" for number in shown]


def test_what_is_decoded_exactly_can_be_drawn():
    exact = coded("image", 1)
    (figure,) = draw_coded(replace(exact, decoded=exact.originals.expand_dims("quality")))
    drawn(figure)
    assert "10.0 bytes, inf dB" in written(figure)


def test_the_curve_of_histograms_is_as_good_at_other_rates():
    figure = codec_charts.rates([quality(1), quality(2)], 1600, "field")
    drawn(figure)
    axes = figure.axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(curves["as coded"].get_xdata(), [800, 1600])
    histograms = curves["with a histogram for each latent"]
    np.testing.assert_array_equal(histograms.get_xdata(), [1000, 2000])
    np.testing.assert_array_equal(histograms.get_ydata(), curves["as coded"].get_ydata())
    np.testing.assert_allclose(axes.child_axes[0].get_xlim(), np.array(axes.get_xlim()) / 1600)


def test_one_quality_whose_signals_are_all_as_large_can_be_drawn():
    one = [quality(1, sizes=np.full(3, 100.0), latents=np.array([2.0]))]
    drawn(codec_charts.bits(one, "field"))


def test_the_bits_of_every_quality_are_drawn():
    qualities = [quality(number) for number in range(1, 6)]
    figure = codec_charts.bits(qualities, "field")
    steps, boxes = figure.axes
    heights = [patch.get_data().values for patch in steps.patches]
    np.testing.assert_array_equal(heights, [q.latents for q in qualities])
    assert [label.get_text() for label in boxes.get_yticklabels()] == [
        f"quality {number}" for number in range(1, 6)
    ]
