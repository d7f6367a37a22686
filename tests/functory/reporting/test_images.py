"""Pictures of images: every pixel where it belongs, in its own colour, with the right words."""

import io

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from functory.reporting import image_charts, images
from functory.reporting.frame import encode
from functory.reporting.image_charts import Attribute, Perturbation
from functory.reporting.images import (
    Completion,
    Examples,
    Forms,
    Neighbours,
    Paths,
    Refinement,
    Samples,
)
from functory.reporting.sheets import Panel, abreast, sheet

NOTICE = "Drawings by a generator, not photographs."


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(size=shape).astype(np.float32)


def canvas(figure: Figure) -> np.ndarray:
    """Return a sheet as it goes into the figure, (y, x, 3) bytes."""
    return np.asarray(figure.axes[0].images[0].get_array())


def drawn(figure: Figure, notice: str = "") -> np.ndarray:
    """Return a figure as its file has it."""
    png = encode({"figure": figure}, notice)["figure"]
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def find(page: np.ndarray, image: np.ndarray, times: int) -> list[tuple[int, int]]:
    """Return where on a page an image is, every pixel `times` as high and wide."""
    levels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    levels = np.broadcast_to(levels, (*image.shape[:2], 3)).repeat(times, 0).repeat(times, 1)
    height, width = levels.shape[:2]
    first, last = page[: 1 - height or None, : 1 - width or None], page[height - 1 :, width - 1 :]
    corners = (first[..., 0] == levels[0, 0, 0]) & (last[..., 0] == levels[-1, -1, 0])
    return [
        (y, x)
        for y, x in np.argwhere(corners).tolist()
        if np.array_equal(page[y : y + height, x : x + width], levels)
    ]


@pytest.mark.parametrize("notice", ["", NOTICE, NOTICE * 4])
def test_pixels_of_an_image_are_squares_of_one_colour_also_below_a_notice(notice):
    rows = [[Panel(noise(16, 16, 3), "below"), Panel(noise(16, 16, 1))]]
    figure = sheet(rows, ["name"], ["one", "other"])
    plain = canvas(figure)
    page = drawn(figure, notice)
    assert page.shape[1] == plain.shape[1] == 1536
    assert (page.shape[0] > plain.shape[0]) == bool(notice)
    left, right = (find(page, panel.image, 12) for panel in rows[0])
    assert len(left) == len(right) == 1
    assert left[0][0] == right[0][0]
    assert right[0][1] - left[0][1] > 16 * 12


def test_a_notice_does_not_touch_what_is_below():
    figure = sheet([[Panel(noise(16, 16, 3))]])
    plain, noticed = drawn(figure), drawn(figure, NOTICE * 4)
    np.testing.assert_array_equal(noticed[-len(plain) :], plain)
    assert (noticed[: -len(plain)] == (0x8A, 0x3A, 0x0C)).all(-1).sum() > 100


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (64, 64), (100, 80), (300, 300)])
def test_as_many_as_are_said_stand_abreast(size):
    image = noise(*size, 3)
    count = abreast(image, ["original"])
    assert count > 5
    page = canvas(sheet([[Panel(image)] * count], ["original"]))
    assert (page < 255).any(-1).any(0).sum() > 0.75 * (page.shape[1] - 200)  # it is well filled


def test_values_outside_the_unit_interval_are_clipped():
    image = np.array([[[-0.5], [1.5]], [[0.5], [0.0]]])
    page = canvas(sheet([[Panel(image)]]))
    assert find(page, np.clip(image, 0, 1), 96)
    assert set(np.unique(page)) == {0, 128, 255}


def test_reconstructions_are_below_originals_and_their_error_says_its_factor():
    originals = noise(3, 16, 16, 3)
    reconstructions = originals.copy()
    reconstructions[1, :8] += 0.15 - 0.3 * (originals[1, :8] > 0.5)
    examples = Examples(originals, reconstructions, [99.0, 22.4, 99.0], [1.0, 0.71, 1.0])
    figure = images.comparison(examples)
    page = canvas(figure)
    for original, reconstruction in zip(originals, reconstructions, strict=True):
        places = find(page, original, 12) + find(page, reconstruction, 12)
        assert len({x for _, x in places}) == 1
        assert len({y for y, _ in places}) == 2
    said = texts(figure)
    assert said[:3] == ["99.0 dB\nSSIM 1.000", "22.4 dB\nSSIM 0.710", "99.0 dB\nSSIM 1.000"]
    assert "error, 5×" in said
    ((_, middle),) = find(page, originals[1], 12)
    errors = page[-250:-60]  # of the last row, above the numbers
    assert errors[:90, middle + 96].mean() > 100
    assert errors[-10:, middle + 96].max() < 40


def test_forms_are_told_apart_with_their_psnr():
    originals, spatial, whole = noise(3, 2, 8, 8, 3)
    figure = images.forms(Forms((64, 64), originals, spatial, whole, [(30.1, 25.2), (31.3, 26.4)]))
    page = canvas(figure)
    heights = [find(page, image[0], 24)[0][0] for image in (originals, spatial, whole)]
    assert heights == sorted(heights)
    assert texts(figure)[:4] == ["30.1 dB", "31.3 dB", "25.2 dB", "26.4 dB"]


def test_a_gallery_has_as_many_as_fit_and_is_small_enough_for_an_artifact(data):
    with Image.open(data / "images" / "kodak" / "kodim23.png") as photograph:
        pixels = np.asarray(photograph.convert("RGB"), dtype=np.float32) / 255
    crops = pixels.reshape(8, 64, 12, 64, 3).swapaxes(1, 2).reshape(96, 64, 64, 3)
    figure = images.gallery(Samples("draws", crops))
    page = canvas(figure)
    assert [bool(find(page, crop, 2)) for crop in crops[[0, 10, 65, 66]]] == [True] * 3 + [False]
    assert len(encode({"samples": figure}, NOTICE)["samples"]) < 2**20


def test_a_gallery_may_end_in_the_middle_of_a_row():
    samples = noise(13, 64, 64, 1)
    page = canvas(images.gallery(Samples("draws", samples)))
    places = [find(page, image, 2)[0] for image in samples]
    assert len({y for y, _ in places}) == 2
    assert places[11][1] == places[0][1]


def test_ways_have_their_ends_and_shares():
    steps = noise(5, 8, 8, 3)
    figure = images.interpolation(Paths(steps, steps[::-1]))
    said = texts(figure)
    assert said[-5:] == ["one image", "25%", "50%", "75%", "the other"]
    page = canvas(figure)
    (first, last), (again, _) = find(page, steps[0], 24), find(page, steps[2], 24)
    assert first[0] < last[0]
    assert first[1] < again[1] < last[1]
    assert len(find(canvas(images.interpolation(Paths(steps))), steps[0], 24)) == 1


def test_neighbours_stand_below_their_sample_the_nearest_first():
    samples, nearest = noise(2, 8, 8, 3), noise(2, 4, 8, 8, 3)
    distance = np.array([[1.0, 2.345, 12.34, 99], [0.1234, 0.2, 123.4, 99]])
    figure = images.neighbours(Neighbours("flow", samples, nearest, distance))
    page = canvas(figure)
    for sample, near in zip(samples, nearest, strict=True):
        places = [find(page, image, 24)[0] for image in (sample, *near[:3])]
        assert len({x for _, x in places}) == 1
        assert places == sorted(places)
        assert not find(page, near[3], 24)
    assert texts(figure)[:6] == ["1.00", "0.123", "2.35", "0.200", "12.3", "123"]


def test_the_enlarged_part_is_where_edges_are_steepest():
    fine = 0.2 + 0.05 * noise(128, 128, 3)
    fine[70:90, 40:60] = noise(20, 20, 3)
    coarse = fine.reshape(16, 8, 16, 8, 3).mean((1, 3))
    figure = images.refinements([Refinement(coarse, fine)])
    pixels, bicubic, function = (patch.get_bbox() for patch in figure.axes[0].patches)
    assert texts(figure)[-3:] == ["pixels, 16 × 16", "bicubic, 128 × 128", "function, 128 × 128"]
    page = canvas(figure)
    ((top, left),) = find(page, coarse, 25)
    part = (pixels.y0 + 0.5 - top) / 25, (pixels.x0 + 0.5 - left) / 25
    assert part[0] <= 8.75 <= 11.25 <= part[0] + 4
    assert part[1] <= 5 <= 7.5 <= part[1] + 4
    assert bicubic.height == function.height == pixels.height == 100
    row, column = (int(corner) for corner in part)
    assert len(find(page, coarse[row : row + 4, column : column + 4], 100)) == 1


def test_what_was_hidden_is_hatched_and_what_was_seen_is_not():
    original, fitted, free = noise(3, 16, 16, 3)
    seen = np.zeros((16, 16), dtype=bool)
    seen[:, :6] = True
    figure = images.completions([Completion("left part", seen, original, fitted, free, (20, 10.5))])
    page = canvas(figure)
    places = [find(page, image, 16)[0][1] for image in (fitted, free, original)]
    assert places == sorted(places)
    (_, top_left), *_ = sorted((x, (y, x)) for y, x in find(page, original[:, :6], 16))
    hidden = page[top_left[0] : top_left[0] + 256, top_left[1] + 96 : top_left[1] + 256]
    assert np.ptp(hidden, axis=-1).max() == 0
    assert len(np.unique(hidden)) == 2
    assert texts(figure)[:2] == ["20.0 dB", "10.5 dB"]
    assert "left part" in texts(figure)


def test_attributes_are_in_order_of_what_is_gained_over_the_majority():
    found = [
        Attribute("hat", 0.95, 0.01, 0.94),
        Attribute("smile", 0.9, 0.02, 0.6),
        Attribute("beard", 0.7, 0.01, 0.75),
    ]
    (axes,) = image_charts.attributes(found).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["smile", "hat", "beard"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.9, 0.95, 0.7])
    ticks = axes.collections[-1].get_segments()
    np.testing.assert_allclose([tick[0][0] for tick in ticks], [0.6, 0.94, 0.75])


def test_the_loss_of_a_diffusion_is_drawn_twice():
    curves = {"step": [0, 10], "loss": [1.0, 0.4], "held_out_loss": [1.1, 0.5]}
    history = xr.Dataset({name: ("evaluation", values) for name, values in curves.items()})
    (axes,) = image_charts.denoising(history).axes
    training, held_out = (line.get_ydata() for line in axes.lines)
    np.testing.assert_allclose([training, held_out], [[1.0, 0.4], [1.1, 0.5]])


def test_perturbations_are_drawn_by_layer_in_levels_of_a_byte():
    differences = np.zeros((3, 2, 8, 8, 3))
    differences[:, 0, 2, 3] = np.array([0.02, -0.04, 0.01])[:, None]
    differences[:, 1, 5, 5] = np.array([0.01, 0.02, -0.02])[:, None]
    perturbation = Perturbation(
        amount=0.01,
        layers=np.array([0, 0, 0, 1, 1]),
        rmse=np.array([0.02, 0.01, 0.03, 0.002, 0.001]),
        images=noise(2, 8, 8, 3),
        chosen=np.array([0, 2, 4]),
        differences=differences,
    )
    chart, *grid = image_charts.perturbation(perturbation).axes
    lines = {line.get_label(): line.get_xydata() for line in chart.lines}
    np.testing.assert_allclose(lines["layer 0"], [[0, 5.1], [1, 2.55], [2, 7.65]])
    np.testing.assert_allclose(lines["layer 1"], [[3, 0.51], [4, 0.255]])
    np.testing.assert_allclose(lines["on the right"][:, 0], [0, 2, 4])
    shown = [[axes for axes in grid[i : i + 4] if axes.images] for i in (0, 4, 8)]
    assert [len(row) for row in shown] == [2, 4, 2]
    largest = [[axes.get_xlabel() for axes in row] for row in shown[1:]]
    assert largest == [["±5.1", "±10", "±5.1", "±10"], ["±5.1", "±5.1"]]
    changes = np.asarray(shown[1][1].images[0].get_array())
    assert changes[2, 3] == pytest.approx(-10.2)
    assert np.count_nonzero(changes) == 1
