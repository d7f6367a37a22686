"""The report: maps that are right about the Earth, charts that bear odd data, one closed page."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import cftime
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from functory.reporting import charts, maps
from functory.reporting.maps import Completions
from functory.reporting.page import Report, pictures, render

NAMES = {"reconstructions", "training", "quality", "rates", "samples", "refined", "completions"}
REGION = "A region without observations"
NOTICE = "Synthetic data made by a generator, not ERA5."
WORLD = (np.linspace(88.5, -88.5, 12), np.arange(24) * 15.0)
GAUSSIAN = (np.degrees(np.arcsin(np.polynomial.legendre.leggauss(12)[0])), np.arange(24) * 15.0)
BRITAIN = (np.arange(58, 49.9, -1), np.arange(-10, 2.1, 1))


def fields(grid, samples=2, units="K", seed=0) -> xr.DataArray:
    latitude, longitude = grid
    noise = np.random.default_rng(seed).normal(size=(samples, len(latitude), len(longitude)))
    times = [cftime.DatetimeNoLeap(1870, month + 1, 16, 12) for month in range(samples)]
    return xr.DataArray(
        260 + 40 * np.cos(np.radians(latitude))[:, None] + noise,
        dims=("sample", "latitude", "longitude"),
        coords={"latitude": latitude, "longitude": longitude, "time": ("sample", times)},
        attrs={"units": units, "long_name": "2 metre temperature"},
    )


def one_sample(grid) -> xr.DataArray:
    return fields(grid, 1).assign_coords(temperature=("sample", [0.7]))


def gaps(grid, samples=1, hidden=(slice(3, 6), slice(4, 9))) -> Completions:
    """Return fields without a region, two kelvin too warm with the prior and five without."""
    truth = fields(grid, samples)
    observed = truth.copy(deep=True)
    observed[:, *hidden] = np.nan
    return Completions(observed, truth + 2.0, truth + 5.0, truth)


def finer(field) -> xr.DataArray:
    axes = {
        axis: np.interp(np.arange(4 * field.sizes[axis] - 3) / 4, range(field.sizes[axis]), values)
        for axis, values in (("latitude", field["latitude"]), ("longitude", field["longitude"]))
    }
    return field.interp(axes)


def psnr_rates(psnr, unquantised=31.0) -> xr.Dataset:
    dimensions = ("representation", "quantiser", "bits")
    bits = [[90.0, 120, 150], [95.0, 130, 160]]
    return xr.Dataset(
        {"psnr": (dimensions, [psnr, psnr]), "factorised_bits": (dimensions, [bits, bits])},
        {
            "representation": ["functions", "principal components"],
            "quantiser": ["per data set", "per latent"],
            "bits": [3, 4, 5],
        },
        {"flow_bits": 110.0, "flow_bit_width": 4, "points": 288, "psnr_unquantised": unquantised},
    )


def psnr_quality(psnr, split) -> xr.Dataset:
    return xr.Dataset({"psnr": ("sample", psnr), "split": ("sample", split)})


def history(**variables) -> xr.Dataset:
    return xr.Dataset({name: ("evaluation", values) for name, values in variables.items()})


def drawn(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40, metadata={"Software": None})
    return stream.getvalue()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


@pytest.fixture(scope="module")
def report() -> Report:
    original = fields(WORLD, 1)
    return Report(
        title="era5-demo",
        notice=NOTICE,
        licence="Made by <nobody>; see https://example.org/licence",
        table=[("Test PSNR", "30.2 dB"), ("Test bias", "−0.02 °C")],
        originals=original,
        reconstructions=original + 0.5,
        history=history(step=[0, 50, 100], loss=[0.1, 0.01, 0.002], psnr=[10.0, 20.0, 27.0]),
        quality=psnr_quality([30.0, 31.0, 29.0, 28.0], ["train", "train", "validation", "test"]),
        rates=psnr_rates([[24.0, 27, 29], [26.0, 29, 30]]),
        prior_history=history(step=[0, 500], loss=[2.1, 1.5], log2_likelihood=[-2.2, -1.7]),
        samples=one_sample(WORLD),
        refined=finer(original[0]),
        coarse=original[0],
        provenance=[("fit", "functasets/era5-demo@v1", '{"steps": 3, "unit": "°C"}')],
        completions=gaps(WORLD),
    )


@pytest.fixture(scope="module")
def twice(report) -> list[dict[str, bytes]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(pictures, [report, report]))


@pytest.fixture
def images(twice) -> dict[str, bytes]:
    return twice[0]


def test_the_same_report_gives_the_same_bytes_in_any_thread(twice):
    assert twice[0] == twice[1]


def test_pictures_are_png_as_wide_as_the_page_without_dates_or_versions(images):
    assert set(images) == NAMES
    for png in images.values():
        image = Image.open(io.BytesIO(png))
        assert image.width == 1536
        assert set(image.info) == {"dpi"}


def test_the_notice_heads_every_picture(images):
    for png in images.values():
        top = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))[:60]
        assert (top == (0x8A, 0x3A, 0x0C)).all(axis=-1).sum() > 100


def test_temperatures_are_in_celsius_on_one_scale_and_differences_about_zero():
    original = fields(WORLD)
    figure = maps.comparison(original, original + 0.5)
    panels = [axes for axes in figure.axes if axes.images]
    ends = [axes.images[0].get_clim() for axes in panels]
    assert ends[0] == ends[1] == ends[3] == ends[4]
    assert -15 < ends[0][0] < ends[0][1] < 40
    assert ends[2] == pytest.approx((-0.5, 0.5))
    np.testing.assert_allclose(panels[2].images[0].get_array(), 0.5)
    assert titles(figure)[:3] == [
        "Original, 1870-01-16 12:00",
        "Reconstruction",
        "Difference (RMSE 0.5 °C)",
    ]
    assert "2 metre temperature (°C)" in [axes.get_xlabel() for axes in figure.axes]


def test_other_units_stay():
    rain = fields(WORLD, units="kg m-2 s-1").assign_attrs(long_name="precipitation")
    figure = maps.comparison(rain, rain - 1)
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert "precipitation (kg m-2 s-1)" in labels
    assert "reconstruction − original (kg m-2 s-1)" in labels
    assert figure.axes[0].images[0].get_clim()[1] > 290


@pytest.mark.parametrize(
    ("grid", "proportion"), [(WORLD, 1), (GAUSSIAN, 1), (BRITAIN, 1 / np.cos(np.radians(54)))]
)
def test_maps_keep_proportions_and_name_degrees(grid, proportion):
    figure = maps.comparison(fields(grid), fields(grid))
    panel = figure.axes[3]
    assert panel.get_aspect() == pytest.approx(proportion, rel=1e-3)
    drawn(figure)
    north = [label.get_text() for label in panel.get_yticklabels()]
    east = [label.get_text() for label in panel.get_xticklabels()]
    assert any(label.endswith("°N") for label in north)
    assert any(label.endswith("°W") for label in east)
    assert "0°" in east


@pytest.mark.parametrize(("start", "northwards"), [(0, True), (0, False), (90, True)])
def test_one_world_is_one_picture_however_its_axes_run(start, northwards):
    world = one_sample((WORLD[0], -180 + 15.0 * np.arange(24)))
    other = world.assign_coords(longitude=start + (world["longitude"] - start) % 360)
    other = other.sortby("longitude").sortby("latitude", ascending=northwards)
    assert drawn(maps.gallery(other)) == drawn(maps.gallery(world))


@pytest.mark.parametrize("west", [-10, 174])
def test_a_box_across_the_seam_of_longitudes_is_whole(west):
    box = one_sample((BRITAIN[0], west + np.arange(13.0)))
    for start in (-180, 0):
        other = box.assign_coords(longitude=start + (box["longitude"] - start) % 360)
        assert drawn(maps.gallery(other)) == drawn(maps.gallery(box))


def test_gaps_are_left_open_and_count_for_nothing():
    original = fields(WORLD)
    original[:, 3:6, 4:9] = np.nan
    figure = maps.comparison(original, original.fillna(280.0) + 2)
    assert "Difference (RMSE 2 °C)" in titles(figure)
    shown = figure.axes[0].images[0].get_array()
    assert shown.mask.sum() == 15
    drawn(figure)
    drawn(maps.refinement(original[0], finer(original[0])))


def test_a_constant_field_and_a_perfect_reconstruction_can_be_drawn():
    flat = xr.full_like(fields(WORLD, 1), 280.0)
    figure = maps.comparison(flat, flat)
    drawn(figure)
    original, reconstruction = (axes.images[0] for axes in figure.axes[:2])
    assert (np.array(original.to_rgba(6.85)) == reconstruction.to_rgba(6.85)).all()
    drawn(maps.refinement(flat[0], finer(flat[0])))


def test_the_enlarged_region_is_where_the_field_varies():
    field = fields(BRITAIN, 1)[0] * 0 + 280
    field.loc[{"latitude": 51, "longitude": -3}] = 290
    figure = maps.refinement(field, finer(field))
    whole, _, detail, decoded = figure.axes[:4]
    (west, east), (south, north) = detail.get_xlim(), detail.get_ylim()
    assert west <= -3 <= east
    assert south <= 51 <= north
    assert (decoded.get_xlim(), decoded.get_ylim()) == ((west, east), (south, north))
    frame = whole.patches[0].get_bbox()
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (west, east, south, north)
    assert titles(figure)[:2] == ["Original, 1° × 1°", "Decoded, 0.25° × 0.25°"]


@pytest.mark.parametrize("count", [1, 3, 5, 8, 12])
def test_the_gallery_shows_up_to_eight(count):
    temperatures = np.linspace(0.5, 1, count)
    samples = fields(WORLD, count).assign_coords(temperature=("sample", temperatures))
    shown = [title for title in titles(maps.gallery(samples)) if title]
    assert len(shown) == min(count, 8)
    assert shown[0] == "sampling temperature 0.5"


@pytest.mark.parametrize("grid", [WORLD, BRITAIN])
def test_completions_count_what_was_hidden_in_the_colours_of_the_truth(grid):
    gap = gaps(grid)
    straying = gap.without_prior + 20
    # where something was seen, errors are none of the completion's
    fitted = straying.where(gap.observed.isnull(), gap.truth)
    figure = maps.completions(replace(gap, without_prior=fitted))
    assert titles(figure)[:4] == [
        "Observed, 1870-01-16 12:00",
        "With the prior: 2 °C",
        "Without the prior: 25 °C",
        "Truth",
    ]
    panels = [axes for axes in figure.axes if axes.images]
    ends = {axes.images[0].get_clim() for axes in panels}
    assert len(ends) == 1
    assert max(ends)[1] < 40
    assert panels[0].images[0].get_array().mask.sum() == 15
    assert not np.ma.getmaskarray(panels[3].images[0].get_array()).any()


@pytest.mark.parametrize("grid", [WORLD, GAUSSIAN, BRITAIN])
def test_the_border_of_a_hidden_region_lies_between_its_points_and_others(grid):
    gap = gaps(grid)
    figure = maps.completions(gap)
    drawn(figure)
    lost = maps._displayed(gap.observed)[0].isnull()
    rows, columns = (np.flatnonzero(lost.any(axis)) for axis in ("longitude", "latitude"))
    latitude, longitude = lost["latitude"].values, lost["longitude"].values
    for panel in figure.axes[1:3]:
        (border,) = panel.collections
        (x, y) = border.get_paths()[0].vertices.T
        assert longitude[columns[0] - 1] < x.min() < longitude[columns[0]]
        assert longitude[columns[-1]] < x.max() < longitude[columns[-1] + 1]
        assert latitude[rows[0] - 1] < y.min() < latitude[rows[0]]
        assert latitude[rows[-1]] < y.max() < latitude[rows[-1] + 1]
    assert not figure.axes[0].collections
    assert not figure.axes[3].collections


def test_a_gap_of_the_data_is_not_a_hidden_region():
    gap = gaps(WORLD)
    missing = gap.truth["latitude"] < -80
    figure = maps.completions(
        replace(gap, observed=gap.observed.where(~missing), truth=gap.truth.where(~missing))
    )
    assert titles(figure)[1] == "With the prior: 2 °C"
    (border,) = figure.axes[1].collections
    assert min(path.vertices[:, 1].min() for path in border.get_paths()) > 0
    drawn(figure)


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (3, 3), (5, 3)])
def test_up_to_three_completions_are_shown(count, shown):
    assert titles(maps.completions(gaps(BRITAIN, count))).count("Truth") == shown


def test_exact_fields_are_counted_but_not_drawn():
    splits = ["train", "train", "train", "test"]
    figure = charts.quality(psnr_quality([30.0, 32.0, np.inf, np.inf], splits))
    drawn(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["train\n3 fields, 1 exact", "test\n1 fields, 1 exact"]
    assert "31.0" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("signal", ["a field", "an image"])
def test_quality_is_of_a_signal(signal):
    figure = charts.quality(psnr_quality([30.0], ["test"]), signal.split()[1])
    assert figure.axes[0].get_xlabel() == f"PSNR of {signal} (dB)"


def test_rates_that_reach_no_error_can_be_drawn():
    drawn(charts.rates(psnr_rates([[24.0, 27, np.inf], [26.0, np.inf, np.inf]], np.inf)))


def test_rates_name_bit_widths_and_bits_per_point():
    figure = charts.rates(psnr_rates([[24.0, 27, 29], [26.0, 29, 30]]))
    drawn(figure)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["3", "4", "5"] * 2
    star = next(line for line in axes.lines if line.get_marker() == "*")
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([110.0], [29.0])
    per_point = axes.child_axes[0].get_xlim()
    np.testing.assert_allclose(per_point, np.array(axes.get_xlim()) / 288)


def test_one_evaluation_is_a_history():
    drawn(
        charts.training(
            history(step=[0], loss=[0.1], psnr=[np.inf]), history(step=[0], log2_likelihood=[-2.0])
        )
    )


class Page(HTMLParser):
    """What a page refers to and says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_every_picture_and_refers_to_nothing(report, images):
    html = render(report, images)
    page = Page(html)
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    prefix = "data:image/png;base64,"
    assert {base64.b64decode(s.removeprefix(prefix)) for s in sources} == set(images.values())
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not {"href", "srcset", "poster"} & set(attributes)
        assert attributes.get("src", prefix).startswith(prefix)
    assert "url(" not in html
    assert "@import" not in html


def test_the_page_says_what_it_must(report, images):
    page = Page(render(report, images))
    for said in (NOTICE, report.licence, "Test PSNR", "−0.02 °C", "functasets/era5-demo@v1"):
        assert said in page.text
    assert '"unit": "°C"' in page.text
    for tag, attributes in page.tags:
        if tag == "img":
            assert NOTICE in attributes["alt"]


def test_without_completions_there_is_no_section_of_them(report, images):
    assert REGION in Page(render(report, images)).text
    bare = replace(report, completions=None)
    drawn_without = pictures(bare)
    assert set(drawn_without) == NAMES - {"completions"}
    assert REGION not in Page(render(bare, drawn_without)).text


def test_without_a_notice_there_is_none(report, images):
    page = Page(render(replace(report, notice=""), images))
    assert not [a for _, a in page.tags if a.get("class") == "notice"]


def test_what_a_user_wrote_is_not_markup(report, images):
    page = Page(render(replace(report, title="<script>alert()</script>"), images))
    assert "script" not in [tag for tag, _ in page.tags]
    assert "<script>alert()</script>" in page.text
