"""The report of shapes: each section where its data are, figures in order, one closed page."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from functory.reporting import charts, shapes
from functory.reporting.charts import Classifier
from functory.reporting.shapes import Completion, Examples, Neighbours, Paths, Samples
from functory.reporting.shapes_page import ShapeReport, pictures, render

NOTICE = "Shapes made by a generator, not ShapeNet."
LEFT = np.broadcast_to(np.arange(8) < 4, (8, 8, 8))
ALWAYS = {
    "reconstructions": "Shapes and their reconstructions",
    "quality": "Quality in each split",
    "training": "Training",
}
OPTIONAL = {
    "refined": "Between the voxels",
    "samples": "New shapes",
    "paths": "What is between two shapes",
    "neighbours": "Not memorised?",
    "completions": "Half a shape is enough?",
    "classifiers": "Classifying functions",
}


def balls(*radii: float, size: int = 8) -> np.ndarray:
    z, y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size - 0.5] * 3, indexing="ij")
    return 0.5 + np.array(radii)[:, None, None, None] - np.sqrt(x**2 + y**2 + z**2)


def history(**variables) -> xr.Dataset:
    return xr.Dataset({name: ("evaluation", values) for name, values in variables.items()})


def drawn(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=40, metadata={"Software": None})
    return stream.getvalue()


def shown(figure: Figure) -> list[np.ndarray]:
    """Return the pictures of shapes in a figure, row by row."""
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def colour(picture: np.ndarray) -> str:
    """Return which of the colours a picture is mostly in."""
    ink = picture[(picture < 255).any(-1)].mean(0)
    if np.ptp(ink) < 15:
        return "grey"
    return ("orange", "green", "blue")[int(ink.argmax())]


def completion(label: str = "left half") -> Completion:
    original, fitted, free, mean = balls(0.4, 0.39, 0.2, 0.3)
    return Completion(label, LEFT, original, fitted, free, mean, (0.9, 0.3, 0.55))


@pytest.fixture(scope="module")
def report() -> ShapeReport:
    return ShapeReport(
        title="shapenet/demo",
        notice=NOTICE,
        licence="Made by <nobody>; see https://example.org/licence",
        table=[("test IoU", "0.912")],
        examples=Examples(
            ["chair", "table"],
            balls(0.4, 0.3),
            balls(0.39, 0.31),
            [0.97, 0.88],
            balls(0.4, size=16)[0],
        ),
        history=history(step=[0, 50], loss=[0.1, 0.01], iou=[0.2, 0.9]),
        prior_history=history(step=[0, 500], log2_likelihood=[-2.2, -1.7]),
        quality=xr.Dataset(
            {"iou": ("sample", [0.9, 0.92, 0.8]), "split": ("sample", ["train", "train", "test"])}
        ),
        provenance=[("fit", "functasets/demo@v1", '{"steps": 3}')],
        samples=Samples(["chair, 0.8", "table, 1", "chair, 0.8"], balls(0.2, 0.3, 0.4)),
        paths=Paths(balls(0.2, 0.3, 0.4), balls(0.2, 0.35, 0.4)),
        neighbours=Neighbours(balls(0.2, 0.3), balls(0.4, 0.3)[:, None], np.array([[0.1], [0.9]])),
        completions=[completion()],
        classifiers=[Classifier("MLP on modulations", 1000, 0.9, 0.01)],
    )


@pytest.fixture(scope="module")
def bare(report) -> ShapeReport:
    return replace(
        report,
        notice="",
        examples=replace(report.examples, refined=None),
        samples=None,
        paths=None,
        neighbours=None,
        completions=None,
        classifiers=None,
    )


@pytest.fixture(scope="module")
def twice(report) -> list[dict[str, bytes]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(pictures, [report, report]))


class Page(HTMLParser):
    """What a page refers to, its headings and what it says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1][0] == "h2" and data.strip():
            self.headings.append(data)
            self.tags.append(("", {}))


def test_the_same_report_gives_the_same_bytes_in_any_thread(twice):
    assert twice[0] == twice[1]


def test_pictures_are_as_wide_as_the_page_and_headed_by_the_notice(twice):
    assert set(twice[0]) == ALWAYS.keys() | OPTIONAL.keys()
    for png in twice[0].values():
        image = Image.open(io.BytesIO(png))
        assert image.width == 1536
        assert set(image.info) == {"dpi"}
        top = np.asarray(image.convert("RGB"))[:60]
        assert (top == (0x8A, 0x3A, 0x0C)).all(axis=-1).sum() > 100


def test_the_page_has_every_section_and_refers_to_nothing(report, twice):
    html = render(report, twice[0])
    page = Page(html)
    sections = {*ALWAYS.values(), *OPTIONAL.values()}
    assert sorted(page.headings) == sorted(["Summary", "Provenance", *sections])
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not {"href", "srcset", "poster"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        if tag == "img":
            assert NOTICE in (attributes["alt"] or "")
    assert "url(" not in html
    assert "http" not in html.replace("https://example.org/licence", "")
    for said in (NOTICE, report.licence, "0.912", "functasets/demo@v1"):
        assert said in page.text


def test_what_a_run_does_not_have_is_left_out(bare):
    images = pictures(bare)
    assert set(images) == set(ALWAYS)
    page = Page(render(bare, images))
    assert sorted(page.headings) == sorted(["Summary", "Provenance", *ALWAYS.values()])


@pytest.mark.parametrize("missing", OPTIONAL)
def test_each_section_goes_with_its_picture(report, twice, missing):
    images = {name: png for name, png in twice[0].items() if name != missing}
    left = Page(render(report, images)).headings
    assert OPTIONAL[missing] not in left
    assert len(left) == 2 + len(images)


def test_reconstructions_are_below_their_originals(report):
    figure = shapes.comparison(report.examples)
    assert [colour(picture) for picture in shown(figure)] == ["blue"] * 2 + ["green"] * 2
    assert [axes.get_title() for axes in figure.axes[:2]] == ["chair", "table"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "IoU 0.970", "IoU 0.880"]
    larger, smaller = ((picture < 255).any(-1).sum() for picture in shown(figure)[:2])
    assert larger > 1.5 * smaller  # one scale for all


def test_grids_are_named(report):
    examples = report.examples
    first = (examples.originals[0], examples.reconstructions[0], examples.refined)
    assert [axes.get_title() for axes in shapes.refinement(*first).axes] == [
        "original, 8 × 8 × 8",
        "decoded, 8 × 8 × 8",
        "decoded finer, 16 × 16 × 16",
    ]


def test_samples_stand_in_a_row_for_each_group(report):
    figure = shapes.gallery(report.samples)
    names = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert names == ["chair, 0.8", "table, 1"]
    first, second, third = ((p < 255).any(-1).sum() for p in shown(figure))
    assert first < third < second  # the radii 0.2 and 0.4, then 0.3
    assert {colour(picture) for picture in shown(figure)} == {"orange"}


def test_at_most_eight_stand_side_by_side():
    many = balls(*np.linspace(0.1, 0.4, 11))
    assert len(shown(shapes.gallery(Samples(["chair"] * 11, many)))) == 8
    assert len(shown(shapes.comparison(Examples(["chair"] * 11, many, many, [1.0] * 11)))) == 16
    near = Neighbours(many, np.repeat(many[:, None], 4, 1), np.ones((11, 4)))
    assert len(shown(shapes.neighbours(near))) == 8 * 4


def test_the_ends_of_a_way_are_told_from_what_is_between(report):
    figure = shapes.interpolation(report.paths)
    assert [colour(p) for p in shown(figure)] == ["green", "orange", "green"] * 2
    assert [axes.get_title() for axes in figure.axes[:3]] == ["one shape", "50%", "the other"]


def test_what_was_known_is_grey_and_the_unknown_scores_are_named():
    figure = shapes.completions([completion(), completion("again")])
    known, fitted, free, mean, original = shown(figure)[:5]
    assert colour(known) == "grey"
    assert (known < 255).any(-1).sum() < 0.9 * (original < 255).any(-1).sum()
    for picture in (fitted, free, original):
        assert colour(picture[:, : picture.shape[1] // 3]) == "grey"
        right = picture[:, picture.shape[1] // 2 :]
        assert colour(right) == colour(picture) != "grey"
    assert colour(mean) == "blue"
    scores = [axes.get_xlabel() for axes in figure.axes[:5]]
    assert scores == ["", "IoU 0.90", "IoU 0.30", "IoU 0.55", ""]


def test_nothing_at_all_can_be_drawn():
    empty = np.zeros((3, 8, 8, 8))
    drawn(shapes.comparison(Examples(["chair"] * 3, empty, empty, [0.0] * 3)))
    drawn(shapes.interpolation(Paths(empty, empty)))


def test_classifiers_of_one_name_are_one_line_in_order_of_size():
    sizes = [
        Classifier("CNN on voxels", 50_000, 0.95, 0.01),
        Classifier("MLP on modulations", 1_000, 0.9, 0.02),
        Classifier("CNN on voxels", 5_000, 0.85, 0.03),
    ]
    figure = charts.classification(sizes)
    drawn(figure)
    (axes,) = figure.axes
    lines = {box.get_label(): box.lines[0].get_xydata() for box in axes.containers}
    np.testing.assert_allclose(lines["CNN on voxels"], [[5_000, 0.85], [50_000, 0.95]])
    np.testing.assert_allclose(lines["MLP on modulations"], [[1_000, 0.9]])
    assert axes.get_xscale() == "log"


def test_quality_and_training_speak_of_shapes_and_iou(report):
    figure = charts.quality(report.quality, "shape")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["train\n2 shapes", "test\n1 shapes"]
    assert figure.axes[0].get_xlabel() == "IoU of a shape"
    assert "0.910" in [text.get_text() for text in figure.axes[0].texts]
    history = report.history.assign(
        loss=report.history["loss"].assign_attrs(long_name="one minus soft IoU")
    )
    loss, held_out, _ = charts.training(history, report.prior_history).axes
    assert loss.get_ylabel() == "one minus soft IoU"
    assert held_out.get_title() == "Base network: held-out IoU"
