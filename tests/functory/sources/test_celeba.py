from pathlib import Path

import numpy as np
import pytest
from image_samples import encoded, noise, write, write_zip

from functory.errors import InputError
from functory.sources.celeba import CelebA, find_celeba_files, list_celeba
from functory.sources.pictures import Picture

NAMES = [f"{number:06}.jpg" for number in range(1, 5)]
ATTRIBUTES = """4
Bald Smiling Young 
000001.jpg -1  1 -1
000002.jpg  1 -1 -1
000003.jpg  1  1  1
000004.jpg -1 -1  1
"""
PARTITIONS = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000004.jpg 0\n"
CSV = (
    "image_id,Bald,Smiling,Young\n000001.jpg,-1,1,-1\n000002.jpg,1,-1,-1\n"
    "000003.jpg,1,1,1\n000004.jpg,-1,-1,1\n"
)


def pictures(path: Path) -> list[Picture]:
    source = CelebA(path=str(path))
    return list_celeba(source, find_celeba_files(source))


def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pictures(path)
    assert "\n" not in str(caught.value)


def images(suffix: str = ".jpg") -> dict[str, bytes]:
    return {
        name.replace(".jpg", suffix): encoded(noise(4, 4, 3, seed=seed), "PNG")
        for seed, name in enumerate(NAMES)
    }


def celeba(
    folder: Path,
    attributes: str = ATTRIBUTES,
    partitions: str = PARTITIONS,
    suffix: str = ".jpg",
    at: str = "img_align_celeba",
) -> Path:
    for name, content in images(suffix).items():
        write(folder / at / name, content)
    write(folder / "list_attr_celeba.txt", attributes.encode())
    write(folder / "list_eval_partition.txt", partitions.encode())
    return folder


def assert_is_celeba(found: list[Picture], suffix: str = ".jpg") -> None:
    assert [picture.name for picture in found] == list(images(suffix))
    assert [picture.split for picture in found] == ["train", "validation", "test", "train"]
    assert [dict(picture.attributes) for picture in found] == [
        {"Bald": False, "Smiling": True, "Young": False},
        {"Bald": True, "Smiling": False, "Young": False},
        {"Bald": True, "Smiling": True, "Young": True},
        {"Bald": False, "Smiling": False, "Young": True},
    ]
    for seed, picture in enumerate(found):
        np.testing.assert_array_equal(picture.read(), noise(4, 4, 3, seed=seed))


def test_aligned_celeba(tmp_path: Path) -> None:
    assert_is_celeba(pictures(celeba(tmp_path)))


def test_images_that_are_png(tmp_path: Path) -> None:
    assert_is_celeba(pictures(celeba(tmp_path, suffix=".png")), ".png")


def test_images_beside_the_lists(tmp_path: Path) -> None:
    assert_is_celeba(pictures(celeba(tmp_path, at=".")))


def test_a_folder_within_the_folder(tmp_path: Path) -> None:
    assert_is_celeba(pictures(celeba(tmp_path, at="img_align_celeba/img_align_celeba")))


def test_images_in_a_zip(tmp_path: Path) -> None:
    members = {f"img_align_celeba/{name}": content for name, content in images().items()}
    write_zip(celeba(tmp_path, at="else where") / "img_align_celeba.zip", members)
    assert_is_celeba(pictures(tmp_path))
    assert_is_celeba(pictures(tmp_path / "img_align_celeba.zip"))


def test_the_folders_of_the_download(tmp_path: Path) -> None:
    write_zip(tmp_path / "Img" / "img_align_celeba.zip", images())
    write(tmp_path / "Anno" / "list_attr_celeba.txt", ATTRIBUTES.encode())
    write(tmp_path / "Eval" / "list_eval_partition.txt", PARTITIONS.encode())
    assert_is_celeba(pictures(tmp_path))


def test_lists_as_csv(tmp_path: Path) -> None:
    for name in ("attr_celeba", "eval_partition"):
        (celeba(tmp_path) / f"list_{name}.txt").unlink()
    write(tmp_path / "list_attr_celeba.csv", CSV.encode())
    partitions = "image_id,partition\n" + PARTITIONS.replace(" ", ",")
    write(tmp_path / "list_eval_partition.csv", partitions.encode())
    assert_is_celeba(pictures(tmp_path))


def test_celeba_hq_alone(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        write(tmp_path / f"{number}.png", encoded(noise(4, 4, 3)))
    found = pictures(tmp_path)
    assert [picture.name for picture in found] == ["9.png", "10.png", "100.png"]
    assert {(picture.split, len(picture.attributes)) for picture in found} == {("", 0)}


def test_celeba_hq_with_masks(tmp_path: Path) -> None:
    for number in (0, 1):
        write(tmp_path / "CelebA-HQ-img" / f"{number}.jpg", encoded(noise(4, 4, 3)))
        write(tmp_path / "CelebAMask-HQ-mask-anno" / "0" / f"0000{number}_hair.png", b"")
    rows = "2\nSmiling \n0.jpg  -1\n1.jpg  1\n"
    write(tmp_path / "CelebAMask-HQ-attribute-anno.txt", rows.encode())
    found = {picture.name: dict(picture.attributes) for picture in pictures(tmp_path)}
    assert found == {"0.jpg": {"Smiling": False}, "1.jpg": {"Smiling": True}}


def test_the_lists_are_among_the_files(tmp_path: Path) -> None:
    found = find_celeba_files(CelebA(path=str(celeba(tmp_path))))
    assert [path.name for path in found[:2]] == ["list_attr_celeba.txt", "list_eval_partition.txt"]
    assert [path.name for path in found[2:]] == NAMES


# Lists that do not match


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("000003.jpg", "000007.jpg", r"line 5: there is no image '000007\.jpg'"),
        ("000003.jpg", "000002.jpg", r"line 5: the image '000002\.jpg' has a row already"),
        ("000004.jpg -1 -1  1\n", "", "no row for 1 of the 4 images, the first .* '000004'"),
        ("000003.jpg  1  1  1", "000003.jpg  1  1", "line 5: 3 values of 1 or -1 are expected"),
        ("000003.jpg  1  1  1", "000003.jpg  1  1  1  1", "line 5: 3 values"),
        ("000003.jpg  1  1  1", "000003.jpg  1  0  1", "line 5: 3 values"),
        ("000003.jpg  1  1  1", "000003.jpg  1  yes  1", "line 5: 3 values"),
        ("000003.jpg  1  1  1", "\n\n000003.jpg", "line 7: 3 values"),
        ("4\n", "", "line 1: the number of images is expected"),
        ("Young", "Bald", "does not start with the names of attributes, each once"),
        ("Bald Smiling Young", "000001.jpg", "line 3: 1 values"),
        (ATTRIBUTES, "", "line 1: the number of images is expected"),
        (ATTRIBUTES, "4\n", "does not start with the names"),
    ],
)
def test_attributes_that_do_not_match(tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in ATTRIBUTES
    celeba(tmp_path, ATTRIBUTES.replace(old, new))
    assert_refused(tmp_path, rf"^{tmp_path}/list_attr_celeba\.txt.*{match}")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("000003.jpg", "000007.jpg", r"line 3: there is no image '000007\.jpg'"),
        ("000003.jpg", "000002.jpg", r"line 3: the image '000002\.jpg' has a row already"),
        ("000003.jpg 2\n", "", "no row for 1 of the 4 images, the first .* '000003'"),
        ("000003.jpg 2", "000003.jpg 3", "line 3: one value is expected, of 0, 1 or 2"),
        ("000003.jpg 2", "000003.jpg", "line 3: one value"),
        ("000003.jpg 2", "000003.jpg 2 2", "line 3: one value"),
        (PARTITIONS, "", "no row for 4 of the 4 images"),
    ],
)
def test_partitions_that_do_not_match(tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in PARTITIONS
    celeba(tmp_path, partitions=PARTITIONS.replace(old, new))
    assert_refused(tmp_path, rf"^{tmp_path}/list_eval_partition\.txt.*{match}")


def test_lists_cut_anywhere(tmp_path: Path) -> None:
    celeba(tmp_path)
    for name, content in (("attr_celeba", ATTRIBUTES), ("eval_partition", PARTITIONS)):
        path = tmp_path / f"list_{name}.txt"
        for end in range(len(content.rstrip())):
            path.write_text(content[:end])
            assert_refused(tmp_path, f"^{path}")
        path.write_text(content)


def test_lists_of_other_bytes(tmp_path: Path) -> None:
    path = celeba(tmp_path) / "list_attr_celeba.txt"
    path.write_bytes(b"4\n\xff\xfe")
    assert_refused(tmp_path, rf"^{path} cannot be read as text")


def test_two_images_of_one_name(tmp_path: Path) -> None:
    write(celeba(tmp_path) / "img_align_celeba" / "000002.png", encoded(noise(4, 4, 3)))
    assert_refused(tmp_path, "^two images have the name '000002', one is '000002")


@pytest.mark.parametrize("name", [".", "absent", "a.zip"])
def test_no_images(tmp_path: Path, name: str) -> None:
    write(tmp_path / "list_attr_celeba.txt", ATTRIBUTES.encode())
    assert_refused(tmp_path / name, "^no images found")
