"""The accessor: functions evaluated anywhere, on anything that has modulations and a network."""

import shutil
from pathlib import Path

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import storage.accessor  # noqa: F401 — registers the accessor
from functory.coding.quantisation import Quantisation, UniformQuantiser
from functory.errors import InputError, StoreError
from functory.fields.fitted_network import FittedNetwork
from storage.networks import write_network


def expected(fitted: FittedNetwork, phi: np.ndarray, **at: np.ndarray) -> np.ndarray:
    points = torch.from_numpy(fitted.coordinates.points({**fitted.grid, **at}))
    values = fitted.network(points, torch.from_numpy(phi))[..., 0].numpy() * 100 + 200
    return values.reshape(len(phi), *(len(at.get(k, v)) for k, v in fitted.grid.items()))


def opened(folder: Path) -> xr.Dataset:
    return xr.open_zarr(folder, chunks=None)


def test_decoding_the_training_grid(
    functaset: Path, fitted: FittedNetwork, phi: np.ndarray
) -> None:
    decoded = opened(functaset).functa.decode(variable="t2m")
    assert decoded.dims == ("sample", "latitude", "longitude")
    assert decoded.name == "t2m"
    assert decoded.attrs["units"] == "K"
    assert list(decoded["split"].values) == ["train"] * 3 + ["test"] * 2
    np.testing.assert_allclose(decoded, expected(fitted, phi), rtol=1e-5)


def test_any_coordinates_and_resolution(
    functaset: Path, fitted: FittedNetwork, phi: np.ndarray
) -> None:
    ds = opened(functaset)
    latitude, longitude = np.array([51.75, -33.9]), np.array([-1.26, 18.4, 358.74])
    decoded = ds.functa.decode(variable="t2m", latitude=latitude, longitude=longitude)
    reference = expected(fitted, phi, latitude=latitude, longitude=longitude)
    np.testing.assert_allclose(decoded, reference, rtol=1e-5)
    np.testing.assert_allclose(decoded[..., 0], decoded[..., 2], rtol=1e-5)  # -1.26 is 358.74
    point = ds.functa.decode(0, variable="t2m", latitude=51.75, longitude=-1.26)
    assert point.shape == ()
    assert float(point) == pytest.approx(float(decoded[0, 0, 0]))


def test_refined_grids_keep_the_points_of_the_grid(functaset: Path) -> None:
    ds = opened(functaset)
    coarse = ds.functa.decode([0, 1], variable="t2m")
    fine = ds.functa.decode([0, 1], variable="t2m", refine=4)
    assert fine.shape == (2, 4 * 6 + 1, 4 * 12)  # longitudes go all the way round
    assert float(fine["longitude"][-1]) == 360 - 30 / 4
    np.testing.assert_allclose(fine[:, ::4, ::4], coarse, rtol=1e-5)


def test_selections_decode(functaset: Path) -> None:
    ds = opened(functaset)
    whole = ds.functa.decode(variable="t2m")
    test = ds.isel(sample=np.flatnonzero(ds["split"].values == "test"))
    np.testing.assert_allclose(test.functa.decode(variable="t2m"), whole[3:], rtol=1e-5)
    np.testing.assert_allclose(
        ds[["modulation"]].isel(sample=2).functa.decode(variable="t2m"), whole[2], rtol=1e-5
    )


def test_decoding_is_lazy_where_asked(functaset: Path) -> None:
    ds = opened(functaset)
    lazy = ds.chunk(sample=2).functa.decode(variable="t2m")
    assert dask.is_dask_collection(lazy)
    assert lazy.chunks is not None
    assert lazy.chunks[0] == (2, 2, 1)
    np.testing.assert_allclose(
        lazy.compute(scheduler="processes", num_workers=1), ds.functa.decode(variable="t2m")
    )


def test_modulations_of_other_origin_decode(functaset: Path, phi: np.ndarray) -> None:
    ds = opened(functaset)
    quantiser = UniformQuantiser.fit(phi, Quantisation(bits=12))
    coarse = xr.Dataset(
        {"modulation": (("draw", "latent"), quantiser.dequantise(quantiser.quantise(phi)))},
        attrs={**ds.attrs, "network": str(functaset / "network")},
    )
    decoded = coarse.functa.decode(variable="sp")
    assert decoded.dims == ("draw", "latitude", "longitude")
    np.testing.assert_allclose(decoded, ds.functa.decode(variable="sp"), rtol=1e-2)


def test_errors_say_what_to_do(functaset: Path) -> None:
    ds = opened(functaset)
    with pytest.raises(InputError, match=r"choose one of \['t2m', 'sp'\]"):
        ds.functa.decode()
    with pytest.raises(InputError, match="no variable 'tp'"):
        ds.functa.decode(variable="tp")
    with pytest.raises(InputError, match="no coordinate x: theirs are latitude, longitude"):
        ds.functa.decode(variable="t2m", x=1)
    with pytest.raises(InputError, match="no attributes 'network'"):
        ds.drop_attrs().functa.decode(variable="t2m")
    homeless = xr.Dataset({"modulation": ds["modulation"].variable}, attrs=ds.attrs)
    with pytest.raises(InputError, match="open it with engine='functaset'"):
        homeless.functa.decode(variable="t2m")
    with pytest.raises(StoreError, match="There is no network at"):
        ds.assign_attrs(network="/nowhere").functa.decode(variable="t2m")
    with pytest.raises(StoreError, match="not the one that these modulations were fitted on"):
        ds.assign_attrs(network_digest="0").functa.decode(variable="t2m")


def test_a_network_of_a_newer_schema_is_refused(
    functaset: Path, fitted: FittedNetwork, tmp_path: Path
) -> None:
    write_network(tmp_path / "newer", fitted)
    metadata = tmp_path / "newer" / "zarr.json"
    text = metadata.read_text().replace('"functory_schema": 1', '"functory_schema": 2')
    metadata.write_text(text)
    newer = opened(functaset).assign_attrs(network=str(tmp_path / "newer"))
    with pytest.raises(StoreError, match=r"schema 2.*upgrade Functory"):
        newer.functa.decode(variable="t2m")


def test_damaged_weights_are_refused(
    functaset: Path, fitted: FittedNetwork, tmp_path: Path
) -> None:
    write_network(tmp_path / "damaged", fitted)
    shutil.rmtree(tmp_path / "damaged/weights/last.weight/c")  # missing chunks read as zeros
    damaged = opened(functaset).assign_attrs(network=str(tmp_path / "damaged"))
    with pytest.raises(StoreError, match="are damaged"):
        damaged.functa.decode(variable="t2m")
