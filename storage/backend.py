"""Functasets as xarray opens them: `xr.open_dataset(path_or_url, engine="functaset")`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from functory.errors import StoreError
from storage.locations import is_url, version_folder

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

        folder, location = version_folder(filename_or_obj, version)
        dataset = xr.open_dataset(folder, engine="zarr", drop_variables=drop_variables)
        schema = dataset.attrs.get("functory_schema")
        if schema != SCHEMA:
            raise StoreError(
                f"{location} is a functaset of schema {schema}, but this Functory reads schema "
                f"{SCHEMA}: upgrade Functory."
            )
        dataset.attrs["network"] = str(folder / dataset.attrs["network"])
        return dataset

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether a path is a functaset's folder in a store."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        if is_url(filename_or_obj):  # another engine, which is asked first, claims all of them
            return False
        path = Path(filename_or_obj)
        return path.parent.name == "functasets" and (path / "records").is_dir()
