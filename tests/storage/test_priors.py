"""Priors as files, and whole functions inferred from parts with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import storage.accessor  # noqa: F401 — registers the accessor
from functory.errors import InputError, StoreError
from functory.fields.fitted_network import FittedNetwork
from functory.models.completion import Completion
from functory.models.flow_prior import FlowConfig, FlowPrior
from storage.completion import observations_of
from storage.priors import FLOW, read_prior, write_prior

QUICK = Completion(noise=0.001, draws=64, steps=20, points=84)


def flow(phi: np.ndarray, classes: int = 0) -> FlowPrior:
    torch.manual_seed(1)
    config = FlowConfig(layers=2, width=8, dropout=0.0)
    known = torch.from_numpy(phi)
    return FlowPrior(known.mean(0), known.std(0), config, classes).eval()


@pytest.fixture
def prior(tmp_path: Path, phi: np.ndarray) -> Path:
    folder = tmp_path / "prior"
    folder.mkdir()
    write_prior(folder, flow(phi))
    return folder


@pytest.mark.parametrize("classes", [(), ("boat", "chair", "lamp")])
def test_a_prior_is_the_same_after_writing(
    tmp_path: Path, phi: np.ndarray, classes: tuple[str, ...]
) -> None:
    written = flow(phi, len(classes))
    write_prior(tmp_path, written, classes)
    state = torch.get_rng_state()
    read, names = read_prior(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert names == classes
    labels = torch.tensor([0, 1, 2, 0, 1]) if classes else None
    values = torch.from_numpy(phi)
    with torch.no_grad():
        assert torch.equal(read.log_prob(values, labels), written.log_prob(values, labels))


def test_where_there_is_no_prior(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no prior at"):
        read_prior(tmp_path)


def test_a_prior_that_does_not_say_what_it_is(tmp_path: Path, phi: np.ndarray) -> None:
    save_file(flow(phi).state_dict(), tmp_path / FLOW)
    with pytest.raises(StoreError, match="older Functory"):
        read_prior(tmp_path)


def test_observations_are_normalised_with_gaps_where_a_variable_is_missing(
    functaset: Path, fitted: FittedNetwork
) -> None:
    opened = xr.open_zarr(functaset, chunks=None)
    both = xr.Dataset({name: opened.functa.decode(variable=name) for name in ("t2m", "sp")})
    part = both.assign(sp=both["sp"].where(both["latitude"] > 0))
    signals = observations_of(fitted, part)
    assert signals.observed is not None
    seen = signals.observed.view(5, 7, 12)
    assert seen[:, :3].all()
    assert not seen[:, 3:].any()
    with torch.no_grad():
        values = fitted.network(signals.points, torch.from_numpy(opened["modulation"].values))
    assert torch.allclose(signals.features, values * signals.observed, atol=1e-5)


def test_a_whole_function_is_found_from_half_of_it(functaset: Path, prior: Path) -> None:
    opened = xr.open_zarr(functaset, chunks=None)
    whole = xr.Dataset({name: opened.functa.decode(variable=name) for name in ("t2m", "sp")})
    half = whole.where(whole["latitude"] > 0)
    found = opened.functa.complete(half, prior, QUICK)
    error = found.functa.decode(variable="t2m") - whole["t2m"]
    assert float(abs(error).max()) < 1.0  # of a range of 100 K
    again = opened.functa.complete(half.isel(latitude=slice(None, None, -1)), prior, QUICK)
    np.testing.assert_allclose(again["modulation"], found["modulation"], atol=1e-3)


def test_the_class_is_found_with_the_function(
    tmp_path: Path, functaset: Path, phi: np.ndarray
) -> None:
    write_prior(tmp_path, flow(phi, 2), ("cold", "warm"))
    opened = xr.open_zarr(functaset, chunks=None)
    whole = xr.Dataset({name: opened.functa.decode(variable=name) for name in ("t2m", "sp")})
    found = opened.functa.complete(whole, tmp_path, QUICK)
    assert set(found["label"].values.tolist()) <= {"cold", "warm"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d[["t2m"]], "no variable 'sp'"),
        (lambda d: d["t2m"], "several variables"),
        (lambda d: d.isel(longitude=0, drop=True), "coordinates along latitude, longitude"),
        (lambda d: d.where(d["sample"] != 1), "Sample 1 of the observations"),
        (lambda d: d.expand_dims(member=2), "at most one of samples"),
    ],
)
def test_observations_that_cannot_be_used(
    functaset: Path, prior: Path, change: object, sentence: str
) -> None:
    opened = xr.open_zarr(functaset, chunks=None)
    whole = xr.Dataset({name: opened.functa.decode(variable=name) for name in ("t2m", "sp")})
    whole = whole.assign_coords(sample=np.arange(5))
    with pytest.raises(InputError, match=sentence):
        opened.functa.complete(change(whole), prior)  # type: ignore[operator]
