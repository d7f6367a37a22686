import os
import pickle
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from image_samples import encoded, noise, values_or_sentence, write, write_zip

from functory.errors import InputError
from functory.sources import image_zips
from functory.sources.image_files import ImageFiles, find_image_files, list_pictures
from functory.sources.pictures import Picture


def pictures(*paths: Path | str, **options: object) -> dict[str, Picture]:
    source = ImageFiles.model_validate({"paths": [str(path) for path in paths], **options})
    return {picture.name: picture for picture in list_pictures(source, find_image_files(source))}


def assert_refused(match: str, *paths: Path | str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pictures(*paths)
    assert "\n" not in str(caught.value)


def image(seed: int) -> np.ndarray:
    return noise(4, 5, 3, seed=seed)


def classes(folder: Path) -> Path:
    for seed, name in enumerate(("cat/10.png", "cat/9.png", "dog/1.png")):
        write(folder / name, encoded(image(seed)))
    return folder


# Folders


def test_a_folder(tmp_path: Path) -> None:
    found = pictures(classes(tmp_path))
    assert list(found) == ["cat/9.png", "cat/10.png", "dog/1.png"]
    for seed, name in enumerate(("cat/10.png", "cat/9.png", "dog/1.png")):
        assert (found[name].label, found[name].split, dict(found[name].attributes)) == ("", "", {})
        np.testing.assert_array_equal(found[name].read(), image(seed))


def test_classes_from_folders(tmp_path: Path) -> None:
    found = pictures(classes(tmp_path / "animals"), classes_from_folders=True)
    assert [picture.label for picture in found.values()] == ["cat", "cat", "dog"]
    (only,) = pictures(tmp_path / "animals" / "dog", classes_from_folders=True).values()
    assert (only.name, only.label) == ("1.png", "dog")


def test_names_do_not_tell_where_files_lie(tmp_path: Path) -> None:
    classes(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "three")
    assert list(pictures(tmp_path / "one")) == list(pictures(tmp_path / "two" / "three"))


def test_no_image_is_decoded_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg", b"not an image")
    (picture,) = pictures(tmp_path).values()
    with pytest.raises(InputError, match=rf"^{path} is damaged, or no image"):
        picture.read()


def test_two_images_of_one_name(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "1.png", encoded(image(0)))
    second = write(tmp_path / "b" / "1.png", encoded(image(1)))
    match = f"^two images have the name '1.png', one in {first} and one in {second}: "
    assert_refused(match, tmp_path / "a", tmp_path / "b")


def test_reading_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    write_zip(classes(tmp_path) / "more.zip", {"1.png": encoded(image(3))})
    for picture in pictures(tmp_path).values():
        read = pickle.loads(pickle.dumps(picture.read))
        np.testing.assert_array_equal(read(), picture.read())


# Zips


def zipped(path: Path, count: int = 3) -> Path:
    members = {f"{'odd' if i % 2 else 'even'}/{i}.png": encoded(image(i)) for i in range(count)}
    others = {
        "even/": b"",
        "even/notes.txt": b"",
        "even/.hidden.png": b"",
        ".trash/1.png": b"",
        "__MACOSX/even/._0.png": b"",
    }
    return write_zip(path, members | others)


def test_a_zip_is_as_its_folder(tmp_path: Path) -> None:
    path = zipped(tmp_path / "numbers.zip")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked" / "numbers")
    shutil.copy(path, (tmp_path / "packed").mkdir() or tmp_path / "packed")
    shutil.rmtree(tmp_path / "unpacked" / "numbers" / "__MACOSX")
    for name in ("", "numbers"):
        inside = tmp_path / "unpacked" / name
        packed = tmp_path / "packed" / (f"{name}.zip" if name else "")
        ours, theirs = (pictures(each, classes_from_folders=True) for each in (packed, inside))
        assert list(ours) == list(theirs)
        for picture in ours.values():
            assert picture.label == theirs[picture.name].label
            np.testing.assert_array_equal(picture.read(), theirs[picture.name].read())


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "numbers.zip")
    for picture in pictures(path).values():
        picture.read()
    assert list(tmp_path.iterdir()) == [path]


def test_a_class_from_the_name_of_a_zip(tmp_path: Path) -> None:
    write_zip(tmp_path / "cat.zip", {"1.png": encoded(image(0))})
    for path, name in ((tmp_path, "cat/1.png"), (tmp_path / "cat.zip", "1.png")):
        (picture,) = pictures(path, classes_from_folders=True).values()
        assert (picture.name, picture.label) == (name, "cat")


@pytest.mark.parametrize(
    "member",
    ["../1.png", "a/../../1.png", "/1.png", "..", "C:/1.png", "a\\..\\1.png", "\\\\host\\1.png"],
)
def test_members_that_lead_out_of_a_zip(tmp_path: Path, member: str) -> None:
    path = write_zip(tmp_path / "a.zip", {"good.png": encoded(image(0)), member: b""})
    with pytest.raises(InputError) as caught:
        pictures(path)
    assert str(caught.value).startswith(f"{path} has a member {member!r}, outside of its folder")


def test_names_with_dots_do_not_lead_out(tmp_path: Path) -> None:
    names = ["a..png", "..a/1.png", "a.../1.png", "a/..b.png"]
    write_zip(tmp_path / "a.zip", dict.fromkeys(names, encoded(image(0))))
    assert list(pictures(tmp_path / "a.zip")) == ["a.../1.png", "a..png"]


def test_a_member_is_measured_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "a.zip", {"1.png": bytes(2000)})
    (picture,) = pictures(path).values()
    monkeypatch.setattr(image_zips, "LARGEST_MEMBER", 1999)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match=rf"^1\.png in {path} has more than 1,999 bytes"):
        picture.read()


def test_a_zip_without_images(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"notes.txt": b""})
    assert_refused(f"^{path} has no image, that is, none of .png", path)


def test_damaged_zips(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip")
    content = path.read_bytes()
    for end in range(0, len(content), 7):
        path.write_bytes(content[:end])
        os.utime(path, ns=(end, end))
        assert_refused(f"^{path} cannot be read as zip: ", path)


def test_damaged_members(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip")
    found = pictures(path)
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    content = bytearray(path.read_bytes())
    for place in range(start, start + 120):
        changed = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        path.write_bytes(changed)
        os.utime(path, ns=(place, place))
        outcome = values_or_sentence(found["even/0.png"].read)
        if isinstance(outcome, str):
            assert str(path) in outcome
        else:
            np.testing.assert_array_equal(outcome, image(0))


def test_a_damaged_image_in_a_zip_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b/1.png": encoded(image(0))[:-30]})
    with pytest.raises(InputError, match=rf"^b/1\.png in {path} "):
        pictures(path)["b/1.png"].read()


def test_threads_read_one_zip(tmp_path: Path) -> None:
    found = list(pictures(zipped(tmp_path / "a.zip")).values()) * 20
    with ThreadPoolExecutor(8) as threads:
        values = list(threads.map(lambda picture: picture.read(), found))
    for picture, each in zip(found, values, strict=True):
        np.testing.assert_array_equal(each, image(int(Path(picture.name).stem)))


def test_a_zip_that_changes_is_opened_anew(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip")
    picture = pictures(path)["even/0.png"]
    picture.read()
    write_zip(path, {"even/0.png": encoded(image(9))})
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(picture.read(), image(9))
    write_zip(path, {"other.png": encoded(image(9))})
    os.utime(path, ns=(2, 2))
    with pytest.raises(InputError, match=rf"^{path} cannot be read as zip: .*even/0\.png"):
        picture.read()


# Real files


def test_kodak(data: Path) -> None:
    found = pictures(data / "images" / "kodak")
    assert list(found) == [f"kodim{i:02}.png" for i in range(1, 25)]
    assert found["kodim01.png"].read().shape == (512, 768, 3)
