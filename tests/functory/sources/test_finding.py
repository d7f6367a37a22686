from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functory.errors import InputError
from functory.sources.finding import find_files, name_files, natural_order


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return paths


def test_natural_order() -> None:
    names = [
        "a",
        "a1",
        "a2.png",
        "a010.png",
        "a10.png",
        "a10b2",
        "a10b11",
        "b",
        "b/1",
        f"b/{'9' * 5000}",
    ]
    assert sorted(reversed(names), key=natural_order) == names


@given(st.lists(st.text("a01²/"), unique=True), st.randoms())
def test_the_order_does_not_depend_on_the_order_found(names: list[str], random: object) -> None:
    once = sorted(names, key=natural_order)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert sorted(names, key=natural_order) == once


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbers_are_in_their_order(first: int, second: int) -> None:
    names = [f"image {number}.png" for number in sorted((first, second))]
    assert sorted(names[::-1], key=natural_order) == names


def test_files_folders_and_globs(tmp_path: Path) -> None:
    wanted = touch(tmp_path, "1.PNG", "a/2.png", "a/10.png", "b/c/1.png")
    touch(tmp_path, "a/.hidden.png", ".git/1.png", "__MACOSX/1.png", "a/notes.txt", "a/png")
    assert find_files([str(tmp_path)], (".png",), "images") == wanted
    several = [str(wanted[3]), f"{tmp_path}/*", f"{tmp_path}/**/*.png"]
    assert find_files(several, (".png",), "images") == wanted


def test_a_longer_suffix_is_left_out(tmp_path: Path) -> None:
    (wanted, _) = touch(tmp_path, "a.solid.png", "a.Surface.PNG")
    assert find_files([str(tmp_path)], (".png",), "images", without=(".surface.png",)) == [wanted]
    with pytest.raises(InputError, match="no images found"):
        find_files([f"{tmp_path}/*ace*"], (".png",), "images", without=(".surface.png",))


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = touch(tmp_path, "a/1.png", "b[1].png")
    monkeypatch.chdir(tmp_path)
    assert find_files(["a", "b[1].png"], (".png",), "images") == paths
    assert name_files(["a", "b[1].png"], paths) == ["1.png", "b[1].png"]


@pytest.mark.parametrize("name", ["absent", "*.jpg", "notes.txt", "empty"])
def test_nothing_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a.png", "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^no images found: nothing that '.*' names in .* is one"):
        find_files([str(tmp_path), str(tmp_path / name)], (".png",), "images")


def test_names_are_the_part_below_the_folder_that_is_named(tmp_path: Path) -> None:
    paths = touch(tmp_path, "x/cat/1.png", "x/dog/1.png")
    for pattern, names in {
        "x": ["cat/1.png", "dog/1.png"],
        ".": ["x/cat/1.png", "x/dog/1.png"],
        "x/*/*.png": ["cat/1.png", "dog/1.png"],
        "x/*": ["cat/1.png", "dog/1.png"],
        "x/dog": ["1.png", "1.png"],
    }.items():
        assert name_files([str(tmp_path / pattern)], paths) == names
