from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from functory.errors import InputError
from functory.formats import read, write


def image(value: float = 0.5, side: int = 4) -> xr.Dataset:
    values = np.full((1, side, side, 3), value, np.float32)
    return xr.Dataset({"image": (("sample", "y", "x", "channel"), values)})


def refused(match: str) -> pytest.RaisesExc:
    return pytest.raises(InputError, match=match)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.gz", "a.png.bak"])
def test_unknown_suffixes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    for work in (lambda path: read(path), lambda path: write(image(), path)):
        with refused(rf"{name} is of no format .*: choose one of \.nc, \.nc4, \.zarr, .*\.png"):
            work(tmp_path / name)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with refused(r"a\.png does not exist"):
        read(tmp_path / "a.png")
    with refused(r"folder/a\.png cannot be written, as there is no folder .*folder: make it"):
        write(image(), tmp_path / "folder" / "a.png")
    (tmp_path / "b.wav").mkdir()
    with refused(r"b\.wav is a folder"):
        read(tmp_path / "b.wav")
    with refused(r"b\.wav is a folder"):
        write(image(), tmp_path / "b.wav")


@pytest.mark.parametrize("suffix", [".grib", ".grb2", ".ogg"])
def test_formats_that_are_only_read(tmp_path: Path, suffix: str) -> None:
    with refused(r"only read: choose one of \.nc") as caught:
        write(image(), tmp_path / f"a{suffix}")
    assert suffix not in str(caught.value).split("choose one of")[1].split(", ")


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    write(image(), tmp_path / "A.PNG")
    assert (tmp_path / "A.PNG").read_bytes()[1:4] == b"PNG"
    assert read(tmp_path / "A.PNG")["image"].shape == (1, 4, 4, 3)


def test_a_file_replaces_another(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write(image(0.0), path)
    write(image(1.0), path)
    assert (read(path)["image"] == 1).all()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.png", "a.nc", "a.zarr"])
def test_what_fails_leaves_everything_as_it_was(tmp_path: Path, name: str) -> None:
    def compute(block_info: dict) -> np.ndarray:
        if block_info[None]["array-location"][1][0] > 0:
            raise InputError("chunk 1 is damaged")
        return np.zeros((1, 2, 4, 3), np.float32)

    if not name.endswith(".zarr"):
        write(image(), tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    lazy = da.map_blocks(
        compute,
        chunks=((1,), (2, 2), (4,), (3,)),
        dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32),
    )
    damaged = xr.Dataset({"image": (("sample", "y", "x", "channel"), lazy)})
    with refused("^chunk 1 is damaged$"):
        write(damaged, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_signals_of_another_kind(tmp_path: Path) -> None:
    with refused(r"a\.wav can hold the variable 'audio' alone, but these signals are image"):
        write(image(), tmp_path / "a.wav")
    with refused(r"a\.png can hold one signal, but there are 2: select one"):
        write(xr.concat([image(), image()], "sample"), tmp_path / "a.png")
    with refused(r"a\.png holds image\(y, x, channel\), but here it has the dimensions"):
        write(image().isel(channel=0), tmp_path / "a.png")
    with refused("would hold no value"):
        write(image().isel(y=slice(0)), tmp_path / "a.png")
    write(image().isel(sample=0), tmp_path / "a.png")  # one without a dimension for it
    with refused("has only the variable 'image'"):
        read(tmp_path / "a.png", ["t2m"])
    assert list(read(tmp_path / "a.png", ["image"])) == ["image"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_values_that_no_whole_number_stands_for(tmp_path: Path, value: float, name: str) -> None:
    with refused("not finite cannot be written as whole numbers"):
        write(image(value), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_attributes_that_make_no_sense(tmp_path: Path) -> None:
    voxels = xr.Dataset(
        {"occupancy": (("sample", "z", "y", "x"), np.ones((1, 2, 2, 2)))}, attrs={"dtype": "object"}
    )
    with refused(r"a\.npy cannot be written: "):
        write(voxels, tmp_path / "a.npy")
    assert not list(tmp_path.iterdir())
