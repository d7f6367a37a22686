"""The report of images: each section where its data are, one closed page, the same bytes."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from functory.reporting.charts import Classifier
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
from functory.reporting.images_page import (
    ImageReport,
    Likeness,
    SplitQuality,
    pictures,
    render,
)

NOTICE = "Drawings of faces by a generator, not photographs."
ALWAYS = {
    "reconstructions": "Images and their reconstructions",
    "quality": "Quality in each split",
    "training": "Training",
}
OPTIONAL = {
    "forms": "One vector, or one for each patch",
    "samples": "New images",
    "neighbours": "Not memorised?",
    "paths": "What is between two images",
    "refined": "Between the pixels",
    "completions": "Half an image is enough?",
    "attributes": "Finding attributes",
    "classifiers": "Classifying functions",
    "perturbation": "What the units of the network do",
}
WITHIN = {"samples-2", "denoising"}  # pictures in the sections of others
LIKENESS = "How like the data are they?"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(size=shape).astype(np.float32)


def history(**variables) -> xr.Dataset:
    return xr.Dataset({name: ("evaluation", values) for name, values in variables.items()})


@pytest.fixture(scope="module")
def report() -> ImageReport:
    a, b, c, d = noise(4, 2, 8, 8, 3)
    seen = np.arange(64).reshape(8, 8) < 32
    return ImageReport(
        title="celeba/<demo>",
        notice=NOTICE,
        licence="Made by <nobody>; see https://example.org/licence",
        table=[("test PSNR", "25.61 dB")],
        examples=Examples(a, b, [21.0, 22.0], [0.8, 0.9]),
        history=history(step=[0, 50], loss=[0.1, 0.01], psnr=[10.0, 20.0]),
        prior_history=history(step=[0, 500], log2_likelihood=[-2.2, -1.7]),
        quality=xr.Dataset(
            {"psnr": ("sample", [25.0, 26.0, 24.0]), "split": ("sample", ["train"] * 2 + ["test"])}
        ),
        provenance=[("fit", "functasets/demo@v1", '{"steps": 3}')],
        diffusion_history=history(step=[0, 9], loss=[1.0, 0.4], held_out_loss=[1.1, 0.5]),
        splits=[
            SplitQuality("train", 27_000, 26.512, 0.8712),
            SplitQuality("test", 3_000, 25, 0.8),
        ],
        forms=Forms((96, 64), a, b, c, [(30.0, 25.0), (31.0, 26.0)]),
        samples=[Samples("Flow <prior>", c), Samples("Diffusion", d)],
        likeness=[
            Likeness("training images", 3_000, 0.71, 0.7, 0.8249, 3.2),
            Likeness("Diffusion", 1_000, 0.63, 0.441, 123.4),
        ],
        neighbours=Neighbours("Diffusion", c, d[:, None], np.ones((2, 1))),
        paths=Paths(noise(3, 8, 8, 1), noise(3, 8, 8, 1)),
        refinements=[Refinement(a[0], noise(16, 16, 3))],
        completions=[Completion("upper half", seen, a[0], b[0], c[0], (20.0, 11.0))],
        attributes=[Attribute("smile", 0.9, 0.01, 0.6)],
        classifiers=[Classifier("MLP on modulations", 1000, 0.9, 0.01)],
        perturbation=Perturbation(
            0.01, np.array([0, 1]), np.array([0.1, 0.01]), a, np.arange(2), noise(2, 2, 8, 8, 3)
        ),
    )


@pytest.fixture(scope="module")
def bare(report) -> ImageReport:
    """Return a report with nothing that can be left out, but for the perturbations."""
    absent = {"splits", "likeness", "refinements", "diffusion_history", *OPTIONAL}
    return replace(report, **dict.fromkeys(absent - {"refined", "perturbation"}))


@pytest.fixture(scope="module")
def drawn(report, bare) -> list[dict[str, bytes]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(pictures, [report, bare]))


class Page(HTMLParser):
    """What a page refers to, its headings, the cells of its tables and what it says."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data
        if self.tags and data.strip() and self.tags[-1][0] in {"h2", "td"}:
            (self.headings if self.tags[-1][0] == "h2" else self.cells).append(data)
            self.tags.append(("", {}))


def test_what_is_the_same_gives_the_same_bytes_in_any_thread(drawn):
    assert set(drawn[1]) == {*ALWAYS, "perturbation"}
    assert drawn[1].items() <= drawn[0].items()


def test_pictures_are_as_wide_as_the_page_and_headed_by_the_notice(drawn):
    assert set(drawn[0]) == ALWAYS.keys() | OPTIONAL.keys() | WITHIN
    for png in drawn[0].values():
        image = Image.open(io.BytesIO(png))
        assert image.width == 1536
        assert set(image.info) == {"dpi"}
        top = np.asarray(image.convert("RGB"))[:40]
        assert (top == (0x8A, 0x3A, 0x0C)).all(axis=-1).sum() > 100


def test_the_page_has_every_section_and_refers_to_nothing(report, drawn):
    html = render(report, drawn[0])
    page = Page(html)
    sections = {*ALWAYS.values(), *OPTIONAL.values(), LIKENESS}
    assert sorted(page.headings) == sorted(["Summary", "Provenance", *sections])
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not {"href", "srcset", "poster"} & set(attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        if tag == "img":
            assert NOTICE in (attributes["alt"] or "")
    assert sum(tag == "img" for tag, _ in page.tags) == len(drawn[0])
    assert "url(" not in html
    assert "http" not in html.replace("https://example.org/licence", "")
    for said in (NOTICE, report.licence, report.title, "25.61 dB", "functasets/demo@v1"):
        assert said in page.text
    assert "Flow <prior>" in page.text
    assert "<demo>" not in html
    assert "<prior>" not in html


def test_numbers_are_rounded_to_what_can_be_read(report, drawn):
    cells = Page(render(report, drawn[0])).cells
    assert cells[:6] == ["27,000", "26.51", "0.871", "3,000", "25.00", "0.800"]
    assert cells[6:11] == ["3,000", "0.710", "0.700", "0.825", "3.20"]
    assert cells[11:] == ["1,000", "0.630", "0.441", "123", "–"]


def test_distances_are_not_named_after_the_network_of_others(report, drawn):
    text = Page(render(report, drawn[0])).text
    assert "features of a network trained on the training split" in " ".join(text.split())
    assert "FID" not in text
    assert "Inception" not in text


def test_what_a_run_does_not_have_is_left_out(bare, drawn):
    html = render(replace(bare, notice=""), drawn[1])
    page = Page(html)
    sections = [*ALWAYS.values(), OPTIONAL["perturbation"]]
    assert sorted(page.headings) == sorted(["Summary", "Provenance", *sections])
    assert not page.cells
    assert NOTICE not in html


@pytest.mark.parametrize("missing", OPTIONAL)
def test_each_section_goes_with_its_picture(report, drawn, missing):
    images = {name: png for name, png in drawn[0].items() if name != missing}
    left = Page(render(report, images)).headings
    assert OPTIONAL[missing] not in left
    assert len(left) == 2 + len(ALWAYS) + len(OPTIONAL)  # the summary and two more, less one


def test_the_way_through_the_flow_is_told_of_only_where_it_is_drawn(report, drawn):
    one = replace(report, paths=replace(report.paths, latent=None))
    both, alone = (" ".join(Page(render(r, drawn[0])).text.split()) for r in (report, one))
    assert "between their modulations, and below that straight in the base space" in both
    assert "between their modulations." in alone
