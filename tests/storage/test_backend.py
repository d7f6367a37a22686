"""The xarray engine: newest and named versions, by path alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from provenance import PROVENANCE

from functory.errors import InputError, StoreError
from storage.versions import Store


@pytest.fixture
def store(functaset: Path, tmp_path: Path) -> Path:
    """Publish two versions of a functaset."""
    home = Store(tmp_path / "store")
    for title in ("first", "second"):
        folder = tmp_path / title
        shutil.copytree(functaset, folder)
        metadata = folder / "zarr.json"
        metadata.write_text(metadata.read_text().replace('"title": "test"', f'"title": "{title}"'))
        home.publish("functasets", "numbers", folder, PROVENANCE)
    return home.root / "functasets" / "numbers"


def test_the_newest_and_named_versions(store: Path) -> None:
    assert xr.open_dataset(store, engine="functaset").attrs["title"] == "second"
    for version in ("v1", 1):
        opened = xr.open_dataset(store, engine="functaset", version=version)
        assert opened.attrs["title"] == "first"
    assert xr.open_dataset(store / "v2", engine="functaset").attrs["title"] == "second"


def test_the_engine_is_guessed(store: Path) -> None:
    assert xr.open_dataset(store).attrs["title"] == "second"


def test_what_the_engine_opens_decodes(store: Path) -> None:
    ds = xr.open_dataset(store, engine="functaset")
    decoded = ds[["modulation"]].functa.decode(variable="t2m")
    assert decoded.shape == (5, 7, 12)
    lazy = xr.open_dataset(store, engine="functaset", chunks={"sample": 2})
    np.testing.assert_allclose(lazy.functa.decode(variable="t2m"), decoded)


def test_plain_xarray_opens_a_version(store: Path) -> None:
    ds = xr.open_zarr(store / "v1")
    assert ds["modulation"].dtype == np.float32
    assert ds["modulation"].dims == ("sample", "latent")
    assert set(ds.attrs) >= {"modality", "functory_schema", "network", "network_digest"}


def test_versions_that_are_not_there(store: Path) -> None:
    with pytest.raises(InputError, match="has no functasets/numbers@v3"):
        xr.open_dataset(store, engine="functaset", version="v3")
    with pytest.raises(InputError, match="give its parent"):
        xr.open_dataset(store / "v1", engine="functaset", version="v1")


def test_a_functaset_of_a_newer_schema_is_refused(store: Path) -> None:
    metadata = store / "v2" / "zarr.json"
    text = metadata.read_text().replace('"functory_schema": 1', '"functory_schema": 9')
    metadata.unlink()
    metadata.write_text(text)
    with pytest.raises(StoreError, match=r"schema 9.*upgrade Functory"):
        xr.open_dataset(store, engine="functaset")
