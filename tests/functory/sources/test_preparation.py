"""Preparation: signal sets with checks, splits, normalisation and gaps."""

from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from functory.errors import InputError
from functory.fields.coordinates import Sphere
from functory.signals import signals_of, split_indices
from functory.sources.preparation import Preparation, prepare_fields
from functory.sources.regridding import Subsample
from functory.sources.splits import RandomSizes

SPLIT = RandomSizes(train=14, validation=2, test=4)


def raw(values: np.ndarray | None = None) -> xr.Dataset:
    generator = np.random.default_rng(0)
    if values is None:
        values = 280 + 10 * generator.standard_normal((20, 9, 16))
    return xr.Dataset(
        {
            "t2m": (
                ("time", "latitude", "longitude"),
                da.from_array(values.astype(np.float32), chunks=(3, -1, -1)),
                {"units": "K", "standard_name": "air_temperature"},
            )
        },
        coords={
            "time": pd.date_range("2019-01-01", periods=20, freq="h"),
            "latitude": np.linspace(90, -90, 9),
            "longitude": np.arange(16) * 22.5,
        },
    )


def test_a_signal_set_is_plain_xarray(tmp_path: Path) -> None:
    source = raw()
    signals = prepare_fields(source, Preparation(split=SPLIT), tmp_path / "signals")
    assert signals["t2m"].dims == ("time", "latitude", "longitude")
    assert signals["t2m"].attrs["units"] == "K"
    xr.testing.assert_equal(signals["t2m"].drop_vars("split"), source["t2m"])
    assert [len(split_indices(signals, [s])) for s in ("train", "validation", "test")] == [14, 2, 4]


def test_normalisation_comes_from_the_training_split(tmp_path: Path) -> None:
    signals = prepare_fields(raw(), Preparation(split=SPLIT), tmp_path / "signals")
    train = signals.isel(time=split_indices(signals, ["train"]))
    features = signals_of(train, Sphere()).features
    assert features.min() == pytest.approx(0, abs=1e-6)
    assert features.max() == pytest.approx(1, abs=1e-6)
    everything = Preparation(split=SPLIT, normalise_over="all")
    signals = prepare_fields(raw(), everything, tmp_path / "all")
    features = signals_of(signals, Sphere()).features
    assert features.min() == pytest.approx(0, abs=1e-6)
    assert features.max() == pytest.approx(1, abs=1e-6)


def test_regridding_is_part_of_it(tmp_path: Path) -> None:
    config = Preparation(split=SPLIT, regrid=Subsample(factor=2))
    signals = prepare_fields(raw(), config, tmp_path / "signals")
    assert signals["t2m"].shape == (20, 5, 8)


def test_missing_values_are_refused_with_their_place(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(280, 10, (20, 9, 16))
    values[7, 2, :3] = np.nan
    values[9, 0, 0] = np.inf
    message = r"t2m has 4 missing values in 2 of 20 fields \(first at 2019-01-01T07:00:00, 3 of 144"
    with pytest.raises(InputError, match=message):
        prepare_fields(raw(values), Preparation(split=SPLIT), tmp_path / "signals")


def test_a_mask_keeps_legitimate_gaps(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(280, 10, (20, 9, 16))
    values[:, :, 4:8] = np.nan
    config = Preparation(split=SPLIT, mask="observed")
    signals = signals_of(prepare_fields(raw(values), config, tmp_path / "signals"), Sphere())
    assert signals.observed is not None
    assert signals.observed.mean() == pytest.approx(0.75)
    assert np.isfinite(signals.features.numpy()).all()


def test_an_empty_field_is_refused_even_with_a_mask(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(280, 10, (20, 9, 16))
    values[3] = np.nan
    with pytest.raises(InputError, match=r"no value at all in 1 of 20 fields \(first at 2019-01"):
        prepare_fields(raw(values), Preparation(split=SPLIT, mask="observed"), tmp_path / "signals")


def test_a_constant_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t2m is 280\.0 everywhere"):
        prepare_fields(raw(np.full((20, 9, 16), 280)), Preparation(split=SPLIT), tmp_path / "s")
