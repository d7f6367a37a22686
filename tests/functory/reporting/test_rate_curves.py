import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.reporting.rate_curves import SPACING, _apart, rate_figure

CURVES = {
    "ours": [(0.1, 26.0), (0.4, 31.0), (1.6, 36.0)],
    "JPEG": [(0.2, 24.0), (0.8, 30.0), (1.7, 33.9)],
    "JPEG 2000": [(0.1, 25.5), (0.4, 30.5), (1.7, 34.0)],
}


def drawn(curves, **options):
    (axes,) = rate_figure(curves, "bits per pixel", "PSNR (dB)", **options).axes
    return axes


def test_every_codec_is_drawn_and_named_once():
    axes = drawn(CURVES, emphasised=["ours"])
    assert {line.get_label() for line in axes.lines} == set(CURVES)
    assert sorted(text.get_text() for text in axes.texts) == sorted(CURVES)
    for line in axes.lines:
        assert list(zip(*line.get_data(), strict=True)) == CURVES[line.get_label()]
    widths = {line.get_label(): line.get_linewidth() for line in axes.lines}
    assert widths["ours"] > widths["JPEG"] == widths["JPEG 2000"]
    assert {line.get_linestyle() for line in axes.lines if line.get_label() == "ours"} == {"-"}


@pytest.mark.parametrize(("last", "scale"), [(0.9, "linear"), (1.1, "log")])
def test_what_spans_a_decade_is_drawn_in_logarithms(last, scale):
    assert drawn({"x": [(0.1, 20), (last, 30)]}).get_xscale() == scale
    errors = drawn({"x": [(1, 0.1), (2, last)]})
    assert (errors.get_xscale(), errors.get_yscale()) == ("linear", scale)


def test_what_is_not_finite_is_left_out():
    axes = drawn({"x": [(1.0, 20.0), (2.0, np.inf), (3.0, 30.0)], "nothing": [(1.0, np.nan)]})
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [1, 3]
    assert [text.get_text() for text in axes.texts] == ["x"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12).map(sorted))
def test_names_never_overlap_and_stay_where_they_fit(heights):
    placed = _apart(heights)
    assert len(placed) == len(heights)
    assert all(b - a > SPACING - 1e-9 for a, b in itertools.pairwise(placed))
    assert np.mean(placed) == pytest.approx(np.mean(heights))
    if all(b - a > SPACING for a, b in itertools.pairwise(heights)):
        assert placed == pytest.approx(heights)


def test_nothing_to_draw_is_an_empty_figure():
    assert not drawn({}).lines


def test_a_figure_can_be_saved():
    figure = rate_figure(CURVES, "bits per pixel", "PSNR (dB)", ["ours"])
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
