"""Functasets as xarray opens them: `xr.open_dataset(path, engine="functaset")`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from functory.errors import InputError, StoreError
from storage.uses import hold
from storage.versions import Store

__all__ = ["FunctasetBackend"]


class FunctasetBackend(BackendEntrypoint):
    """Open the newest or a named version of a functaset; registers the `functa` accessor."""

    description = "Open functasets of a Functory store"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "version")

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        version: str | int | None = None,
    ) -> xr.Dataset:
        """Open a functaset lazily; `version` is "v3" or 3, and the newest where not given."""
        import storage.accessor  # noqa: F401 — here, so that xarray can look for engines without torch
        from storage.functaset import SCHEMA

        folder = _version_folder(Path(filename_or_obj), version)
        dataset = xr.open_dataset(folder, engine="zarr", drop_variables=drop_variables)
        schema = dataset.attrs.get("functory_schema")
        if schema != SCHEMA:
            raise StoreError(
                f"{folder} is a functaset of schema {schema}, but this Functory reads schema "
                f"{SCHEMA}: upgrade Functory."
            )
        dataset.attrs["network"] = str(folder / dataset.attrs["network"])
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether a path is a functaset's folder in a store."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        path = Path(filename_or_obj)
        return path.parent.name == "functasets" and (path / "records").is_dir()


def _version_folder(path: Path, version: str | int | None) -> Path:
    path = path.absolute()
    if (path / "zarr.json").exists():
        if version is not None:
            raise InputError(f"{path} is a version itself: give its parent, or no version.")
        return path
    store, kind, name = Store(path.parent.parent), path.parent.name, path.name
    wanted = "" if version is None else f"@v{str(version).removeprefix('v')}"
    (record,) = store.find(f"{kind}/{name}{wanted}")
    hold(store.root, str(record.reference))  # it is read as long as the Dataset lives
    return store.path(record.reference)
