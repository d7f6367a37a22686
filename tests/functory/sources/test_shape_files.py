import os
import pickle
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from shape_folders import (
    BOX,
    BOX_FACES,
    CORE,
    R2N2,
    corner,
    encoded,
    write,
    write_array,
    write_obj,
    write_zip,
)

from functory.errors import InputError
from functory.sources import shape_files
from functory.sources.shape_files import ShapeFiles, find_shape_files, list_models
from functory.sources.shape_models import SYNSETS, Y_UP, ShapeModel, synset_id, to_zyx

CHAIR, AIRPLANE = "03001627", "02691156"
AXES = st.permutations("xyz").flatmap(
    lambda names: st.tuples(*[st.sampled_from([name, f"-{name}"]) for name in names])
)


def source(*paths: Path | str, **options: object) -> ShapeFiles:
    return ShapeFiles.model_validate({"paths": [str(path) for path in paths], **options})


def models(*paths: Path | str, **options: object) -> dict[str, ShapeModel]:
    asked = source(*paths, **options)
    return {model.name: model for model in list_models(asked, find_shape_files(asked))}


def assert_refused(match: str, *paths: Path | str, **options: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        models(*paths, **options)
    assert "\n" not in str(caught.value)


def core(folder: Path, synset: str = CHAIR, model: str = "1a2b", content: bytes = b"") -> Path:
    path = folder / CORE.format(synset=synset, model=model)
    return write(path, content or encoded(corner()))


# Axes


def test_the_classes_of_shapenet() -> None:
    assert len(SYNSETS) == len(set(SYNSETS.values())) == 55
    assert all(len(synset) == 8 and synset.isdigit() for synset in SYNSETS)
    assert synset_id("chair") == synset_id(CHAIR) == CHAIR
    with pytest.raises(InputError, match=r"no class 'chairs', choose of: airplane \(02691156\), "):
        synset_id("chairs")


@given(AXES)
def test_axes_go_where_their_names_say(axes: tuple[str, str, str]) -> None:
    # A voxel of each array is the value z y x of its place in space.
    size = {"x": 2, "y": 3, "z": 4}
    array = np.zeros([size[axis[-1]] for axis in axes], int)
    for index in np.ndindex(*array.shape):
        place = {
            axis[-1]: size[axis[-1]] - 1 - at if axis[0] == "-" else at
            for axis, at in zip(axes, index, strict=True)
        }
        array[index] = 100 * place["z"] + 10 * place["y"] + place["x"]
    z, y, x = np.indices((4, 3, 2))
    np.testing.assert_array_equal(to_zyx(array, axes), 100 * z + 10 * y + x)


@pytest.mark.parametrize("axes", [["x", "y"], ["x", "y", "y"], ["x", "y", "up"], "xyz", [1, 2, 3]])
def test_axes_that_are_none(axes: object) -> None:
    with pytest.raises(ValidationError, match="axes are x, y and z, each once") as caught:
        source("a", axes=axes)
    assert caught.value.error_count() == 1


# Layouts


def test_shapenet_core(tmp_path: Path) -> None:
    path = core(tmp_path)
    write(path.with_name("model_normalized.surface.binvox"), b"not read")
    write(path.with_name("model_normalized.mtl"), b"not read")
    write_obj(path.with_name("model_normalized.obj"), BOX, BOX_FACES)
    write(path.parents[1] / "screenshots" / "a.png", b"not read")
    core(tmp_path, AIRPLANE, "ff")
    found = models(tmp_path)
    assert {name: model.label for name, model in found.items()} == {
        f"{CHAIR}/1a2b": "chair",
        f"{AIRPLANE}/ff": "airplane",
    }


def test_y_is_up_in_binvox_files(tmp_path: Path) -> None:
    core(tmp_path, content=encoded(corner((4, 5, 6), (1, 2, 0))))
    read = models(tmp_path)[f"{CHAIR}/1a2b"].read
    # The file's y is up, and its front faces -z: turned about, to face -y with z up.
    assert read().shape == (5, 6, 4)
    assert np.argwhere(read()).tolist() == [[2, 0, 2]]
    own = models(tmp_path, axes=["x", "y", "z"])[f"{CHAIR}/1a2b"].read
    assert np.argwhere(own()).tolist() == [[0, 2, 1]]


def test_shapes_are_turned_and_not_mirrored() -> None:
    """Three steps along the file's axes are a right-handed turn as before."""
    steps = np.eye(3, dtype=int)
    corners = []
    for step in steps:
        array = np.zeros((3, 3, 3), bool)
        array[tuple(1 + step)] = True
        z, y, x = np.argwhere(to_zyx(array, Y_UP))[0] - 1
        corners.append((x, y, z))
    assert round(np.linalg.det(corners)) == 1


def test_r2n2(tmp_path: Path) -> None:
    write(tmp_path / R2N2.format(synset=CHAIR, model="9f"), encoded(corner()))
    (model,) = models(tmp_path).values()
    assert (model.label, model.name) == ("chair", f"{CHAIR}/9f")
    assert model.read().sum() == 1


def test_folders_named_by_class(tmp_path: Path) -> None:
    for name in ("chair/a", "chair/b", "my lamp/a", "12345678/a"):
        write(tmp_path / f"{name}.binvox", encoded(corner()))
    found = models(tmp_path)
    assert list(found) == ["12345678/a", "chair/a", "chair/b", "my lamp/a"]
    assert [model.label for model in found.values()] == ["12345678", "chair", "chair", "my lamp"]


def test_names_do_not_tell_where_files_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "three")
    assert list(models(tmp_path / "one")) == list(models(tmp_path / "two"))
    monkeypatch.chdir(tmp_path / "one" / CHAIR / "1a2b" / "models")
    assert list(models("*.binvox")) == [f"{CHAIR}/1a2b"]


def test_globs_files_and_folders_together(tmp_path: Path) -> None:
    first, second = core(tmp_path, model="a"), core(tmp_path, model="b")
    asked = source(first, tmp_path / "*" / "b", f"{tmp_path}/**/*.binvox")
    assert find_shape_files(asked) == [first, second]


def test_models_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    core(tmp_path)
    write_array(tmp_path / "lamp.npy", np.ones((1, 2, 2, 2)))
    for model in models(tmp_path).values():
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.read(), model.read())


# Zips


def zipped(folder: Path, count: int = 3) -> Path:
    members = {
        CORE.format(synset=CHAIR, model=i): encoded(corner(at=(i, 0, 0))) for i in range(count)
    }
    surface = {name.replace("solid", "surface"): b"not read" for name in members}
    others = {
        f"{CHAIR}/0/models/model_normalized.obj": b"",
        f"../{CORE.format(synset=CHAIR, model='outside')}": b"",
        CORE.format(synset=CHAIR, model=".."): b"",
        f"__MACOSX/{CHAIR}/0/models/._model_normalized.solid.binvox": b"",
    }
    return write_zip(folder / f"{CHAIR}.zip", members | surface | others)


def test_zips_are_read_in_place(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    found = models(tmp_path)
    assert list(found) == [f"{CHAIR}/{i}" for i in range(3)]
    for index, model in enumerate(found.values()):
        assert model.label == "chair"
        assert np.argwhere(model.read()).tolist() == [[0, 0, 3 - index]]
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_within_a_folder_of_its_own(tmp_path: Path) -> None:
    member = f"ShapeNetCore.v2/{CORE.format(synset=CHAIR, model='a')}"
    write_zip(tmp_path / "all.zip", {member: encoded(corner())})
    assert list(models(tmp_path)) == [f"{CHAIR}/a"]


def test_threads_read_one_zip(tmp_path: Path) -> None:
    zipped(tmp_path, 4)
    found = list(models(tmp_path).values()) * 20
    with ThreadPoolExecutor(8) as threads:
        shapes = list(threads.map(lambda model: model.read(), found))
    for model, voxels in zip(found, shapes, strict=True):
        assert np.argwhere(voxels).tolist() == [[0, 0, 3 - int(model.name[-1])]]


def test_a_zip_that_changes_is_opened_anew(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    (first, *_) = models(tmp_path).values()
    first.read()
    member = CORE.format(synset=CHAIR, model=0)
    write_zip(path, {member: encoded(corner(at=(3, 4, 5)))})
    os.utime(path, ns=(1, 1))
    assert np.argwhere(first.read()).tolist() == [[4, 5, 0]]


def test_a_member_that_goes_away(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    (first, *_) = models(tmp_path).values()
    write_zip(path, {CORE.format(synset=CHAIR, model="other"): encoded(corner())})
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=rf"^{path} cannot be read as zip: .*There is no item"):
        first.read()


def test_damaged_zips(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    content = path.read_bytes()
    (model, *_) = models(tmp_path).values()
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset + 30 + len(archive.infolist()[0].filename)
    path.write_bytes(content[: start + 8] + b"\xff\xff\xff\xff" + content[start + 12 :])
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=rf"{path}") as caught:
        model.read()
    assert "\n" not in str(caught.value)
    path.write_bytes(content[:-30])
    assert_refused(r"03001627\.zip cannot be read as zip: ", path)
    write_zip(path, {"readme.txt": b""})
    assert_refused("is no zip of ShapeNetCore", path)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    member = CORE.format(synset=CHAIR, model="a")
    path = write_zip(tmp_path / "a.zip", {member: encoded(corner())[:-1]})
    (model,) = models(path).values()
    with pytest.raises(InputError, match=rf"^{member} in {path} is truncated"):
        model.read()


# Arrays


@pytest.mark.parametrize("suffix", ["npy", "npy.gz"])
@pytest.mark.parametrize("dtype", ["float64", "bool", "uint8", ">f4"])
@pytest.mark.parametrize("channel", [(), (1,)])
def test_arrays(tmp_path: Path, suffix: str, dtype: str, channel: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).random((3, 4, 4, 4)) < 0.5
    write_array(tmp_path / f"lamp.{suffix}", rows.astype(dtype).reshape(3, *channel, 4, 4, 4))
    found = models(tmp_path)
    assert list(found) == ["lamp/0", "lamp/1", "lamp/2"]
    for row, model in zip(rows, found.values(), strict=True):
        assert model.label == "lamp"
        assert model.read().dtype == bool
        np.testing.assert_array_equal(model.read(), row.transpose(2, 1, 0))


def test_what_is_read_from_an_array_is_the_readers_own(tmp_path: Path) -> None:
    write_array(tmp_path / "lamp.npy", np.zeros((1, 2, 2, 2)))
    (model,) = models(tmp_path, axes=["z", "y", "x"]).values()
    model.read()[:] = True
    assert not model.read().any()


@pytest.mark.parametrize(
    "shape", [(2, 4, 4), (2, 2, 4, 4, 4), (2, 4, 4, 5), (2, 0, 0, 0), (0, 4, 4, 4), ()]
)
def test_arrays_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_array(tmp_path / "lamp.npy.gz", np.zeros(shape))
    assert_refused(r"lamp\.npy\.gz has an array \(", tmp_path)


@pytest.mark.parametrize("value", [0.5, 2, -1, np.nan])
def test_values_other_than_0_and_1(tmp_path: Path, value: float) -> None:
    rows = np.zeros((3, 4, 4, 4))
    rows[1, 2, 3, 0] = value
    write_array(tmp_path / "lamp.npy", rows)
    with pytest.raises(InputError, match=r"lamp\.npy has values other than 0 and 1 in row 1"):
        models(tmp_path)["lamp/0"].read()


@pytest.mark.parametrize(
    "rows",
    [np.zeros((1, 2, 2, 2), complex), np.full((1, 2, 2, 2), None), np.zeros((1, 2, 2, 2), str)],
)
def test_arrays_of_no_numbers(tmp_path: Path, rows: np.ndarray) -> None:
    write_array(tmp_path / "lamp.npy", rows)
    assert_refused("is not of numbers in C order", tmp_path)


def test_an_array_in_the_order_of_fortran(tmp_path: Path) -> None:
    write_array(tmp_path / "lamp.npy", np.asfortranarray(np.zeros((2, 4, 4, 4))))
    assert_refused("is not of numbers in C order", tmp_path)


@pytest.mark.parametrize("suffix", ["npy", "npy.gz"])
def test_an_array_cut_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_array(tmp_path / f"lamp.{suffix}", np.zeros((2, 4, 4, 4), "uint8"))
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        os.utime(path, ns=(end, end))
        with pytest.raises(InputError, match=rf"^{path} ") as caught:
            models(path)["lamp/0"].read()
        assert "\n" not in str(caught.value)


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    content = write_array(tmp_path / "lamp.npy", np.zeros((2, 4, 4, 4))).read_bytes()
    (tmp_path / "lamp.npy").write_bytes(content.replace(b"(2, 4, 4, 4)", b"(9999999, 4, 4, 4)"))
    assert_refused("lamp.npy", tmp_path)


def test_an_array_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    write_array(tmp_path / "lamp.npy.gz", np.ones((20, 4, 4, 4)))
    found = models(tmp_path)
    real = shape_files._opened
    monkeypatch.setattr(shape_files, "_opened", lambda path: opened.append(path) or real(path))
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(lambda model: model.read().all(), found.values()))
    assert len(opened) == 1


# Meshes


def test_meshes(tmp_path: Path) -> None:
    write_obj(tmp_path / "slab" / "a.obj", BOX * [1, 4, 2], BOX_FACES)
    (model,) = models(tmp_path, mesh_size=16).values()
    assert (model.label, model.name) == ("slab", "slab/a")
    voxels = model.read()
    assert voxels.shape == (16, 16, 16)
    extents = [voxels.any(axis=other).sum() for other in ((1, 2), (0, 2), (0, 1))]
    assert extents[0] > extents[1] > extents[2]


def test_a_mesh_of_shapenet_without_voxels(tmp_path: Path) -> None:
    path = core(tmp_path, model="both")
    write_obj(path.with_name("model_normalized.obj"), BOX, BOX_FACES)
    alone = tmp_path / CHAIR / "alone" / "models" / "model_normalized.obj"
    write_obj(alone, BOX, BOX_FACES)
    found = models(tmp_path, mesh_size=8)
    assert [(name, model.read().shape) for name, model in found.items()] == [
        (f"{CHAIR}/alone", (8, 8, 8)),
        (f"{CHAIR}/both", (5, 6, 4)),
    ]


# What is asked for


@pytest.mark.parametrize("asked", ["chair", CHAIR])
def test_classes(tmp_path: Path, asked: str) -> None:
    path = core(tmp_path)
    core(tmp_path, AIRPLANE)
    write_array(tmp_path / "lamp.npy", np.ones((1, 2, 2, 2)))
    other = write_zip(
        tmp_path / "more.zip",
        {CORE.format(synset=synset, model="z"): encoded(corner()) for synset in (CHAIR, AIRPLANE)},
    )
    assert find_shape_files(source(tmp_path, classes=[asked])) == [path, other]
    assert list(models(tmp_path, classes=[asked])) == [f"{CHAIR}/1a2b", f"{CHAIR}/z"]


@pytest.mark.parametrize("asked", ["sofa", "04256520", "99999999", "nothing"])
def test_classes_that_are_not_there(tmp_path: Path, asked: str) -> None:
    core(tmp_path)
    core(tmp_path, AIRPLANE)
    match = f"no shape is of the class {asked!r}: there are airplane, chair$"
    assert_refused(match, tmp_path, classes=["chair", asked])


@pytest.mark.parametrize("name", ["absent", "*.binvox", "empty", "notes.txt"])
def test_nothing_matches(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "notes.txt", b"")
    write(tmp_path / "empty" / ".hidden.binvox", b"")
    assert_refused(
        "no shapes found: nothing that '.*' names in .* is one of .binvox", tmp_path / name
    )


def test_two_shapes_of_one_name(tmp_path: Path) -> None:
    first = core(tmp_path / "a")
    second = core(tmp_path / "b")
    match = f"two shapes have the name '{CHAIR}/1a2b', one in {first} and one in {second}"
    assert_refused(match, tmp_path)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = core(tmp_path)
    (model,) = models(tmp_path).values()
    path.unlink()
    with pytest.raises(InputError, match=rf"{path} cannot be read as binvox: .*No such file"):
        model.read()


# Real files


@pytest.mark.parametrize(("name", "count"), [("chair", 890), ("monitor", 466)])
def test_modelnet(data: Path, name: str, count: int) -> None:
    found = list(models(data / "shapes" / f"{name}.npy.gz").values())
    assert [model.name for model in found] == [f"{name}/{row}" for row in range(count)]
    filled = np.array([model.read().sum() for model in found])
    assert np.flatnonzero(filled == 0).tolist() == [0]
    assert {model.read().shape for model in found} == {(32, 32, 32)}


def test_chairs_stand_on_their_legs(data: Path) -> None:
    shapes = [model.read() for model in models(data / "shapes" / "chair.npy.gz").values()]
    mean = np.mean(shapes, axis=0)
    legs, seat, back = (mean[heights].mean() for heights in np.array_split(np.arange(32), 3))
    # The seat is the fullest layer, and what is above it is a wall and not four legs: thin in y.
    assert seat > max(legs, back)
    assert np.argmax(mean.mean(axis=(1, 2))) in range(12, 20)
    above, below = mean[20:].mean(axis=(0, 2)), mean[:10].mean(axis=(0, 2))
    assert above.max() / above.mean() > 2 * below.max() / below.mean()


def test_real_meshes(data: Path) -> None:
    found = models(data / "shapes" / "meshes", mesh_size=16)
    assert len(found) == 10
    assert all(0 < model.read().mean() < 0.9 for model in found.values())
