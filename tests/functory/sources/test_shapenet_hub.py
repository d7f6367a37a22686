import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, Hub, serving
from pydantic import ValidationError
from shape_folders import CORE, corner, encoded, write_zip

from functory.errors import InputError, SourceUnavailable
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shapenet_hub import (
    ShapeNetHub,
    download_class,
    shapenet_licence,
)

CHAIR = "03001627"
ZIP = f"{CHAIR}.zip"
SOURCE = ShapeNetHub(classes=("chair",))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    noise = np.random.default_rng(0).bytes(300_000)
    path = write_zip(
        tmp_path / "hub.zip",
        {CORE.format(synset=CHAIR, model="a"): encoded(corner()), f"{CHAIR}/a/a.png": noise},
    )
    here = Hub("ShapeNet/ShapeNetCore", {ZIP: path.read_bytes()})
    with serving(here, monkeypatch):
        yield here


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def assert_refused(match: str, folder: Path, kind: type[Exception] = InputError) -> None:
    with pytest.raises(kind, match=match) as caught:
        download_class(SOURCE, CHAIR, folder)
    message = str(caught.value)
    assert "\n" not in message
    assert TOKEN not in message
    assert not (folder / f"{CHAIR}.zip").exists()


def test_a_fresh_download_can_be_read(hub: Hub, folder: Path) -> None:
    path = download_class(SOURCE, CHAIR, folder)
    assert path == folder / f"{CHAIR}.zip"
    assert path.read_bytes() == hub.files[ZIP]
    assert visible(folder) == [path.name]
    source = ShapeFiles(paths=(str(path),))
    (model,) = list_models(source, find_shape_files(source))
    assert (model.label, model.read().sum()) == ("chair", 1)


def test_a_kept_file_needs_no_hub(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = download_class(SOURCE, CHAIR, folder)
    hub.requests.clear()
    monkeypatch.delenv("HF_TOKEN")
    assert download_class(SOURCE, CHAIR, folder) == path
    assert not hub.requests


def test_a_cut_download_is_continued_by_the_next_call(hub: Hub, folder: Path) -> None:
    hub.cut, hub.unavailable = 105_000, 1
    assert_refused("answered 503 for 03001627.zip: try again later", folder, SourceUnavailable)
    (partial,) = visible(folder)
    assert (folder / partial).read_bytes() == hub.files[ZIP][:100_000]
    hub.requests.clear()
    path = download_class(SOURCE, CHAIR, folder)
    assert hub.downloads == ["bytes=100000-"]
    assert path.read_bytes() == hub.files[ZIP]
    assert visible(folder) == [path.name]


def test_a_cut_download_is_continued_within_a_call(hub: Hub, folder: Path) -> None:
    hub.cut = 105_000
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.files[ZIP]
    assert hub.downloads == [None, "bytes=100000-"]


def test_a_hub_that_cannot_send_parts(hub: Hub, folder: Path) -> None:
    hub.cut, hub.unavailable, hub.ranges = 105_000, 1, False
    assert_refused("503", folder, SourceUnavailable)
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.files[ZIP]


def test_the_beginning_of_another_version_is_not_continued(hub: Hub, folder: Path) -> None:
    hub.cut, hub.unavailable = 105_000, 1
    assert_refused("503", folder, SourceUnavailable)
    hub.files[ZIP] = hub.files[ZIP][::-1]
    hub.requests.clear()
    path = download_class(SOURCE, CHAIR, folder)
    assert hub.downloads == [None]
    assert path.read_bytes() == hub.files[ZIP]
    assert visible(folder) == [path.name]


def test_a_wrong_checksum_leaves_nothing(hub: Hub, folder: Path) -> None:
    hub.tag = "0" * 64
    assert_refused("another SHA-256 than the hub states", folder, SourceUnavailable)
    assert visible(folder) == []
    hub.tag = None
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.files[ZIP]


def test_a_hub_without_checksums(hub: Hub, folder: Path) -> None:
    hub.tag = "0123456789"
    assert_refused("states no SHA-256", folder)
    assert hub.downloads == []


def test_no_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert_refused(r"\(401\): .*HF_TOKEN, or put .* source: \{kind: files, paths: ", folder)
    assert hub.downloads == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", [{}, {"X-Error-Code": "GatedRepo"}])
def test_a_refused_token(hub: Hub, folder: Path, status: int, code: dict[str, str]) -> None:
    hub.refusal = (status, code)
    assert_refused(rf"\({status}\): get an account at huggingface\.co, accept the terms", folder)


@pytest.mark.parametrize("code", ["EntryNotFound", "RepoNotFound", "RevisionNotFound"])
def test_what_does_not_exist(hub: Hub, folder: Path, code: str) -> None:
    hub.refusal = (404, {"X-Error-Code": code})
    assert_refused("has no 03001627.zip in revision main of ShapeNet/ShapeNetCore", folder)


def test_a_hub_that_is_overloaded(hub: Hub, folder: Path) -> None:
    hub.refusal = (500, {})
    assert_refused("answered 500", folder, SourceUnavailable)


def test_no_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert_refused("hub 127.0.0.1:9 cannot be reached", folder, SourceUnavailable)


def test_a_folder_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert_refused("cannot be written to .*: make room", tmp_path / "file" / "folder")


def test_classes_become_synsets() -> None:
    asked = ShapeNetHub(classes=("chair", "02691156", CHAIR))
    assert asked.classes == (CHAIR, "02691156")
    for wrong in (("chairs",), ()):
        with pytest.raises(ValidationError):
            ShapeNetHub(classes=wrong)


@pytest.mark.parametrize("repository", ["ShapeNetCore", "a/b/c", "../a b"])
def test_repositories_that_are_none(repository: str) -> None:
    with pytest.raises(ValidationError, match="repository"):
        ShapeNetHub(classes=("chair",), repository=repository)


def test_the_licence_names_terms_and_work() -> None:
    assert re.search("non-commercial research and education.*Chang et al.*2015", shapenet_licence())
