"""Shards of images from a hub: whole, of one commit, and never outside their folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import COMMIT, TOKEN, Hub, serving
from pydantic import ValidationError

from functory.errors import InputError, SourceUnavailable
from functory.sources.hub import Repository, download
from functory.sources.images_hub import ImagesHub, download_images

REPOSITORY = "someone/faces-256x256"
SHARDS = [f"data/train-0000{i}-of-00003.parquet" for i in range(3)]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    rng = np.random.default_rng(0)
    names = ["extra/of [256].parquet", *SHARDS[::-1], "README.md"]
    with serving(Hub(REPOSITORY, {name: rng.bytes(30_000) for name in names}), monkeypatch) as here:
        yield here


def fetch(folder: Path, **settings: Any) -> list[Path]:
    return list(download_images(ImagesHub(repository=REPOSITORY, **settings), folder))


def assert_refused(
    match: str, folder: Path, kind: type[Exception] = InputError, **settings: Any
) -> None:
    with pytest.raises(kind, match=match) as caught:
        fetch(folder, **settings)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the names and contents of all files below, but those of locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_all_shards_arrive_under_their_names(hub: Hub, tmp_path: Path) -> None:
    paths = fetch(tmp_path)
    names = [*SHARDS, "extra/of [256].parquet"]
    assert paths == [tmp_path / COMMIT / name for name in names]
    assert contents(tmp_path / COMMIT) == {name: hub.files[name] for name in names}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["data/*.parquet"], SHARDS),
        (["data/train-*1-of*", SHARDS[1], SHARDS[0]], SHARDS[:2]),
        (["extra/of [256].parquet"], ["extra/of [256].parquet"]),
        (["*.md"], ["README.md"]),
    ],
)
def test_files_are_chosen_by_name_or_glob(
    hub: Hub, tmp_path: Path, patterns: list[str], expected: list[str]
) -> None:
    fetch(tmp_path, files=patterns)
    assert sorted(contents(tmp_path / COMMIT)) == expected


def test_a_broken_download_continues_where_it_was(hub: Hub, tmp_path: Path) -> None:
    first = next(download_images(ImagesHub(repository=REPOSITORY), tmp_path))
    assert first.name == Path(SHARDS[0]).name
    hub.cut, hub.unavailable = 25_000, 1
    assert_refused("503 for data/train-00001.*try again", tmp_path, SourceUnavailable)
    assert len(contents(tmp_path)) == 2  # a whole file and a part of one
    hub.requests.clear()
    fetch(tmp_path)
    assert hub.downloads == ["bytes=20000-", None, None]
    assert contents(tmp_path / COMMIT) == {n: hub.files[n] for n in hub.files if n != "README.md"}


def test_all_files_are_of_one_commit(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path)
    asked = [path for _, path, _ in hub.requests]
    assert asked[0].endswith("/revision/main")
    assert all(f"/resolve/{COMMIT}/" in path for path in asked[1:])
    hub.requests.clear()
    fetch(tmp_path)
    assert len(hub.requests) == 1  # for the list: the files are kept
    hub.listing["sha"] = "6" * 40
    assert_refused("revision 6666", tmp_path)  # which this hub does not have


@pytest.mark.parametrize(
    "name",
    [
        "../out",
        "data/../../out",
        "/tmp/out",
        "data//out",
        "data\\..\\out",
        ".out",
        "a/.b/c",
        "a\nb",
        "",
        "a/",
    ],
)
def test_names_that_lead_out_of_the_folder(hub: Hub, tmp_path: Path, name: str) -> None:
    before = set(tmp_path.parent.rglob("*"))
    hub.listing["siblings"] = [{"rfilename": name}]
    assert_refused("hidden or would not stay in its folder", tmp_path / "kept", files=["*"])
    assert set(tmp_path.parent.rglob("*")) == before
    repository = Repository(REPOSITORY, "main", "", "`files`")
    with pytest.raises(InputError, match="would not stay in its folder: correct `files`"):
        download(repository, name, tmp_path / "kept")
    assert hub.downloads == []


def test_a_file_where_a_folder_must_be(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"a.parquet": b"1", "a.parquet/b.parquet": b"2"}
    assert_refused("a.parquet/b.parquet cannot be written", tmp_path)


@pytest.mark.parametrize("status", [401, 403])
def test_no_access(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    if status == 401:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    else:
        hub.refusal = (403, {})
    advice = r"HF_TOKEN, or get CelebA-HQ .* source: \{kind: celeba, path: "
    assert_refused(rf"refuses files of someone/faces.* \({status}\): .*{advice}", tmp_path)
    assert contents(tmp_path) == {}


def test_what_does_not_exist(hub: Hub, tmp_path: Path) -> None:
    assert_refused(
        r"is 'test-\*': it has README.md, data/.*; correct `files`", tmp_path, files=["test-*"]
    )
    assert_refused("has no files in revision dev of someone/faces", tmp_path, revision="dev")
    hub.listing["siblings"] = []
    assert_refused("it has none", tmp_path)


@pytest.mark.parametrize(
    ("listing", "match"),
    [
        ({"sha": None}, "names no commit"),
        ({"sha": "../../out"}, "names no commit"),
        ({"siblings": [{}]}, "does not answer as a hub does"),
        ({"siblings": 3}, "does not answer as a hub does"),
    ],
)
def test_answers_that_are_no_hubs(
    hub: Hub, tmp_path: Path, listing: dict[str, Any], match: str
) -> None:
    hub.listing = listing
    assert_refused(match, tmp_path)
    assert contents(tmp_path) == {}


def test_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert_refused("hub 127.0.0.1:9 cannot be reached", tmp_path, SourceUnavailable)


def test_configurations_that_are_none() -> None:
    with pytest.raises(ValidationError, match="repository"):
        ImagesHub.model_validate({"kind": "hub"})
    for wrong in ({"repository": "faces"}, {"files": []}, {"files": [""]}, {"revision": ""}):
        with pytest.raises(ValidationError):
            ImagesHub.model_validate({"repository": REPOSITORY} | wrong)


def test_a_name_that_no_repository_can_have(hub: Hub, tmp_path: Path) -> None:
    source = ImagesHub(repository="a/b..c")
    with pytest.raises(InputError, match=r"can have the name a/b\.\.c: correct `repository`"):
        list(download_images(source, tmp_path))
