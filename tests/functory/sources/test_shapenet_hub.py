import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from shape_folders import CORE, corner, encoded, write_zip

from functory.errors import InputError
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shapenet_hub import (
    ShapeNetHub,
    SourceUnavailable,
    download_class,
    shapenet_licence,
)

TOKEN = "hf_of_the_test"
CHAIR = "03001627"
SOURCE = ShapeNetHub(classes=("chair",))


@dataclass
class Hub:
    """What a hub has, what is wrong with it, and what it was asked."""

    content: bytes
    url: str = ""
    cut: int | None = None  # bytes of its next answer after which it hangs up
    unavailable: int = 0  # requests for content answered with 503, after the cut
    ranges: bool = True  # whether it can send a part of a file
    tag: str | None = None  # stated instead of the SHA-256
    refusal: tuple[int, dict[str, str]] | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # method and range

    @property
    def downloads(self) -> list[str | None]:
        return [part for method, part in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        hub.requests.append((self.command, self.headers["Range"]))
        if hub.refusal is not None:
            self.refuse(*hub.refusal)
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.refuse(401, {"X-Error-Code": "GatedRepo"})
        elif self.path != f"/datasets/ShapeNet/ShapeNetCore/resolve/main/{CHAIR}.zip":
            self.refuse(404, {"X-Error-Code": "EntryNotFound"})
        elif self.command == "GET" and hub.cut is None and hub.unavailable > 0:
            hub.unavailable -= 1
            self.refuse(503, {})
        else:
            self.send(hub)

    def refuse(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, hub: Hub) -> None:
        part = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "") if hub.ranges else None
        start = int(part[1]) if part else 0
        body, size = hub.content[start:], len(hub.content)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        tag = hub.tag or hashlib.sha256(hub.content).hexdigest()
        self.send_header("ETag", '"of-the-pointer"')
        self.send_header("X-Linked-ETag", f'"{tag}"')
        self.send_header("X-Linked-Size", str(size))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            if hub.cut is not None:
                body, hub.cut = body[: hub.cut], None
                self.close_connection = True
            self.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # What waits between two tries of the client's own.
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # What arrives is written in pieces of this size; the client's own are 10 MB.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    noise = np.random.default_rng(0).bytes(300_000)
    path = write_zip(
        tmp_path / "hub.zip",
        {CORE.format(synset=CHAIR, model="a"): encoded(corner()), f"{CHAIR}/a/a.png": noise},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Hub(path.read_bytes(), url=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_ENDPOINT", here.url)
    server.hub = here  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


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
    assert path.read_bytes() == hub.content
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
    assert (folder / partial).read_bytes() == hub.content[:100_000]
    hub.requests.clear()
    path = download_class(SOURCE, CHAIR, folder)
    assert hub.downloads == ["bytes=100000-"]
    assert path.read_bytes() == hub.content
    assert visible(folder) == [path.name]


def test_a_cut_download_is_continued_within_a_call(hub: Hub, folder: Path) -> None:
    hub.cut = 105_000
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.content
    assert hub.downloads == [None, "bytes=100000-"]


def test_a_hub_that_cannot_send_parts(hub: Hub, folder: Path) -> None:
    hub.cut, hub.unavailable, hub.ranges = 105_000, 1, False
    assert_refused("503", folder, SourceUnavailable)
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.content


def test_the_beginning_of_another_version_is_not_continued(hub: Hub, folder: Path) -> None:
    hub.cut, hub.unavailable = 105_000, 1
    assert_refused("503", folder, SourceUnavailable)
    hub.content = hub.content[::-1]
    hub.requests.clear()
    path = download_class(SOURCE, CHAIR, folder)
    assert hub.downloads == [None]
    assert path.read_bytes() == hub.content
    assert visible(folder) == [path.name]


def test_a_wrong_checksum_leaves_nothing(hub: Hub, folder: Path) -> None:
    hub.tag = "0" * 64
    assert_refused("another SHA-256 than the hub states", folder, SourceUnavailable)
    assert visible(folder) == []
    hub.tag = None
    assert download_class(SOURCE, CHAIR, folder).read_bytes() == hub.content


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
