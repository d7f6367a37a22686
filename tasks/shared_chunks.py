"""Arrays that share what has not changed of them with an earlier version: a month costs a month."""

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import zarr

from functory.sources.preparation import FLAT
from storage.files import link_tree
from storage.references import Record

__all__ = ["changed_chunks", "chunk_along_samples", "share_chunks"]


def share_chunks(
    earlier: Path, record: Record, folder: Path, name: str, length: int, anew: Collection[int]
) -> zarr.Array:
    """Give a group an array of an earlier version, as long as wanted, and return it for writing.

    Parameters
    ----------
    earlier, record
        The folder and the record of the earlier version.
    length
        Samples of the array, at least as many as it had.
    anew
        Chunks along the first axis that are not shared, because they will be written.
    """
    (folder / name).mkdir()
    shutil.copyfile(earlier / name / "zarr.json", folder / name / "zarr.json")
    kept = {file: place for file, place in _places(record, name).items() if place not in anew}
    link_tree(earlier, folder, {file: record.files[file] for file in kept})
    array = zarr.open_array(folder / name, mode="r+")
    array.resize((length, *array.shape[1:]))
    return array


def changed_chunks(earlier: Record, now: Record, names: Iterable[str]) -> list[int]:
    """Return which chunks along the first axis of some arrays are new or have other contents."""
    return sorted(
        {
            place
            for name in names
            for file, place in _places(now, name).items()
            if file not in earlier.files or earlier.files[file].sha256 != now.files[file].sha256
        }
    )


def chunk_along_samples(folder: Path, name: str, samples: int) -> None:
    """Lay the chunks of an array of a group anew, each of so many samples, side by side."""
    group = zarr.open_group(folder, mode="r+")
    array = group[name]
    assert isinstance(array, zarr.Array)
    values, metadata = array[:], array.metadata
    assert isinstance(values, np.ndarray)
    del group[name]
    group.create_array(
        name,
        data=values,
        chunks=(samples, *values.shape[1:]),
        compressors=array.compressors or None,
        fill_value=array.fill_value,
        attributes=metadata.attributes,
        dimension_names=metadata.dimension_names,
        chunk_key_encoding=FLAT,
    )


def _places(record: Record, name: str) -> dict[str, int]:
    """Return the chunk files of an array, with their places along its first axis."""
    prefix = f"{name}/c."
    return {
        file: int(file.removeprefix(prefix).split(".")[0])
        for file in record.files
        if file.startswith(prefix)
    }
