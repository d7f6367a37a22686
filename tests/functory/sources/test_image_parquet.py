import json
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_samples import encoded, noise, values_or_sentence, write

from functory.errors import InputError
from functory.sources import image_parquet
from functory.sources.image_parquet import ParquetImages, find_shards, list_shards
from functory.sources.pictures import Picture

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pictures(*paths: Path, **options: object) -> list[Picture]:
    source = ParquetImages.model_validate({"paths": [str(path) for path in paths], **options})
    return list_shards(source, find_shards(source))


def assert_refused(match: str, *paths: Path, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        pictures(*paths, **options)
    assert "\n" not in str(caught.value)


def image(seed: int) -> np.ndarray:
    return noise(4, 5, 3, seed=seed)


def cells(rows: Sequence[int]) -> list[dict[str, Any]]:
    return [{"bytes": encoded(image(row)), "path": f"{row}.png"} for row in rows]


def shard(
    path: Path,
    columns: dict[str, Any] | None = None,
    features: dict[str, Any] | None = None,
    rows: Sequence[int] = range(5),
    group: int = 2,
) -> Path:
    """Write a shard of images in row groups, as data hubs do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pa.array(cells(rows), STRUCT), **(columns or {})})
    if features is not None:
        noted = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": noted})
    pq.write_table(table, path, row_group_size=group)
    return path


def test_a_shard(tmp_path: Path) -> None:
    found = pictures(shard(tmp_path / "faces.parquet"))
    assert [picture.name for picture in found] == [f"faces/{row}" for row in range(5)]
    for row, picture in enumerate(found):
        assert (picture.label, picture.split, dict(picture.attributes)) == ("", "", {})
        np.testing.assert_array_equal(picture.read(), image(row))


def test_shards_of_splits(tmp_path: Path) -> None:
    for name in ("train-00010-of-00011", "train-00002-of-00011", "test-00000-of-00001"):
        shard(tmp_path / "data" / f"{name}.parquet", rows=range(1))
    shard(tmp_path / "validation" / "0000.parquet", rows=range(1))
    shard(tmp_path / "trains.parquet", rows=range(1))
    assert [(picture.name, picture.split) for picture in pictures(tmp_path)] == [
        ("data/test-00000-of-00001/0", "test"),
        ("data/train-00002-of-00011/0", "train"),
        ("data/train-00010-of-00011/0", "train"),
        ("trains/0", ""),
        ("validation/0000/0", "validation"),
    ]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_columns_of_bytes(tmp_path: Path, kind: pa.DataType) -> None:
    content = pa.array([cell["bytes"] for cell in cells(range(3))], kind)
    pq.write_table(pa.table({"id": [1, 2, 3], "jpg": content}), tmp_path / "a.parquet")
    for row, picture in enumerate(pictures(tmp_path)):
        np.testing.assert_array_equal(picture.read(), image(row))


def test_reading_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    picture = pictures(shard(tmp_path / "a.parquet"))[3]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(picture.read))(), image(3))


# Columns


def test_classes_that_the_file_names(tmp_path: Path) -> None:
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": ["cat", "dog"]},
        "list": [{"_type": "Value"}],
    }
    shard(tmp_path / "a.parquet", {"label": [0, 1, 1, None, -1]}, features)
    assert [picture.label for picture in pictures(tmp_path)] == ["cat", "dog", "dog", "", ""]


def test_classes_of_no_name(tmp_path: Path) -> None:
    features = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    path = shard(tmp_path / "a.parquet", {"label": [0, 1, 1, 2, 0]}, features)
    assert_refused(f"^row 3 of {path} has the class 2, but 2 classes have names", path)


@pytest.mark.parametrize(
    ("values", "labels"),
    [([3, 1, 4, 1, 5], [*"31415"]), (["x", "y", None, "", "x"], ["x", "y", "", "", "x"])],
)
def test_classes_in_a_column_that_is_named(
    tmp_path: Path, values: list[Any], labels: list[str]
) -> None:
    shard(tmp_path / "a.parquet", {"kind": values})
    assert [picture.label for picture in pictures(tmp_path, label_column="kind")] == labels
    assert {picture.label for picture in pictures(tmp_path)} == {""}


@pytest.mark.parametrize("name", ["absent", "image"])
def test_no_such_column_of_classes(tmp_path: Path, name: str) -> None:
    path = shard(tmp_path / "a.parquet", {"kind": [*"abcde"]})
    assert_refused(
        f"^{path} has no column '{name}' of classes: its columns are image, kind",
        path,
        label_column=name,
    )


def test_true_and_false_are_attributes(tmp_path: Path) -> None:
    columns = {"Young": [True, False, None, True, True], "Bald": [False] * 5, "id": range(5)}
    found = pictures(shard(tmp_path / "a.parquet", columns))
    assert [dict(picture.attributes) for picture in found[:3]] == [
        {"Young": True, "Bald": False},
        {"Young": False, "Bald": False},
        {"Bald": False},
    ]
    labelled = pictures(tmp_path, label_column="Young")
    assert [picture.label for picture in labelled] == ["True", "False", "", "True", "True"]
    assert dict(labelled[0].attributes) == {"Bald": False}


def test_several_columns_of_images(tmp_path: Path) -> None:
    masks = pa.array(cells(range(5, 10)), STRUCT)
    path = shard(tmp_path / "a.parquet", {"mask": masks, "hash": [b""] * 5})
    assert_refused(f"^{path} has several .*: set image_column to one of image, mask$", path)
    np.testing.assert_array_equal(pictures(path, image_column="mask")[0].read(), image(5))
    shard(path, {"mask": masks}, {"mask": {"_type": "Image"}})
    np.testing.assert_array_equal(pictures(path)[0].read(), image(5))


@pytest.mark.parametrize("name", ["absent", "id", None])
def test_no_such_column_of_images(tmp_path: Path, name: str | None) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": [1]}), path)
    asked = f" '{name}'" if name else ""
    assert_refused(
        f"^{path} has no column{asked} of encoded images: its columns are id",
        path,
        image_column=name,
    )


@pytest.mark.parametrize("noted", [b"{", b"[]", b'{"info": null}', b'{"info": {"features": []}}'])
def test_notes_that_are_none(tmp_path: Path, noted: bytes) -> None:
    table = pa.table({"image": pa.array(cells(range(2)), STRUCT)})
    pq.write_table(table.replace_schema_metadata({"huggingface": noted}), tmp_path / "a.parquet")
    assert len(pictures(tmp_path)) == 2


# Memory


def test_threads_load_a_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pictures(shard(tmp_path / "a.parquet", rows=range(16), group=4))
    real, read = pq.ParquetFile.read_row_group, []
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda self, group, **options: read.append(group) or real(self, group, **options),
    )
    with ThreadPoolExecutor(4) as threads:
        for group in range(4):
            values = list(threads.map(lambda picture: picture.read(), found[group * 4 :][:4]))
            np.testing.assert_array_equal(values, [image(group * 4 + i) for i in range(4)])
    assert read == [0, 1, 2, 3]


def test_row_groups_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_parquet, "LARGEST_GROUP", 100)
    path = shard(tmp_path / "a.parquet")
    (first, *_) = pictures(path)
    sentence = values_or_sentence(first.read)
    assert f"{path} has " in str(sentence)
    assert "bytes of images in row group 0, more than 100: write it anew" in str(sentence)


# Damaged files


def test_a_shard_cut_anywhere(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet")
    content = path.read_bytes()
    for end in range(0, len(content), 31):
        path.write_bytes(content[:end])
        assert_refused(f"^{path} cannot be read as Parquet: ", path)


def test_a_shard_with_other_bytes(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet", {"label": [*"abcde"]})
    content = path.read_bytes()
    for place in range(4, len(content) - 8, 37):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        os.utime(path, ns=(place, place))
        try:
            found = pictures(path, label_column="label")
        except InputError:
            continue
        outcomes = [values_or_sentence(picture.read) for picture in found]
        assert all(str(path) in each for each in outcomes if isinstance(each, str))


def test_rows_without_an_image(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "a.png"}, None, {"bytes": b"damaged", "path": None}]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array(rows, STRUCT)}), path)
    sentences = [str(values_or_sentence(picture.read)) for picture in pictures(path)]
    assert sentences[0].startswith(f"row 0 of {path} has no image in column 'image'")
    assert sentences[1].startswith(f"row 1 of {path} has no image in column 'image'")
    assert sentences[2].startswith(f"row 2 of {path} is damaged, or no image")


def test_a_shard_that_changes(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.parquet")
    last = pictures(path)[3]
    last.read()
    for rows in (range(3), range(1)):
        shard(path, rows=rows)
        os.utime(path, ns=(len(rows), len(rows)))
        assert f"{path} " in str(values_or_sentence(last.read))


def test_two_shards_of_one_name(tmp_path: Path) -> None:
    first, second = shard(tmp_path / "a" / "1.parquet"), shard(tmp_path / "b" / "1.parquet")
    match = f"^two files have the name '1.parquet', {first} and {second}: "
    assert_refused(match, tmp_path / "a", tmp_path / "b")


def test_no_shards(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", b"")
    assert_refused("^no Parquet files found: nothing that", tmp_path)
