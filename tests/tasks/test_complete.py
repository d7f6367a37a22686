"""Completions: what they say of the hidden part, and masks that do not suit the signals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pipeline import TINY
from pydantic import TypeAdapter

from functory.errors import InputError
from functory.metalearning.fitting import Fitting
from functory.sources.masks import Mask, observed
from storage.accessor import FunctaAccessor
from storage.references import Reference
from storage.versions import Store
from tasks.complete import METHODS, Completing, complete_signals
from tasks.fit import fit_all

INPUTS = {"signals": "prepare", "network": "metalearn", "functaset": "fit_all", "prior": "prior"}


@pytest.fixture
def done(
    climate_run: tuple[Store, dict[str, Reference]], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Reference]:
    store, references = climate_run
    monkeypatch.setenv("FUNCTORY_STORE", str(store.root))
    return references


def folder(reference: Reference) -> Path:
    return Store.default().path(reference)


def complete(done: dict[str, Reference], *masks: dict[str, Any]) -> Reference:
    config = Completing(**(TINY["completion"] | {"masks": masks}))
    return complete_signals.plain("tiny", config, **{k: done[v] for k, v in INPUTS.items()})


def test_the_error_is_that_of_the_decoded_fields_where_they_were_hidden(
    done: dict[str, Reference],
) -> None:
    completed = xr.open_zarr(folder(done["complete_signals"]), chunks=None)
    signals = xr.open_zarr(folder(done["prepare"]), chunks=None)
    assert completed["method"].values.tolist() == [m for m in METHODS for _ in range(2)]
    truth = signals["t2m"].isel(time=completed["of"].values)
    assert (truth["split"] == "test").all()
    decoded = FunctaAccessor(completed).decode()
    mask = TypeAdapter(Mask).validate_python(TINY["completion"]["masks"][0])
    hidden = ~observed(mask, truth).values
    errors = (decoded.values - truth.values) ** 2
    rmse = np.sqrt((errors * hidden).sum((1, 2)) / hidden.sum((1, 2)))
    np.testing.assert_allclose(completed["unseen"], rmse, rtol=1e-4)


def test_without_the_prior_signals_are_fitted_in_the_steps_of_the_functaset(
    done: dict[str, Reference],
) -> None:
    more = fit_all.plain(
        "more", Fitting(steps=4), signals=done["prepare"], network=done["metalearn"]
    )
    nearly_all = {"kind": "random", "share": 0.99}
    completed = xr.open_zarr(folder(complete(done | {"fit_all": more}, nearly_all)), chunks=None)
    alone = completed.isel(sample=completed["method"] == METHODS[1])

    def distance(functaset: Reference) -> float:
        whole = xr.open_zarr(folder(functaset), chunks=None).isel(sample=alone["of"].values)
        return float(abs(alone["modulation"].values - whole["modulation"].values).max())

    assert distance(more) < distance(done["fit_all"]) / 5


@pytest.mark.parametrize(
    ("mask", "messages"),
    [
        ({"kind": "half", "half": "left"}, ["masks[1]", "'half'", "latitude", "'region'"]),
        ({"kind": "scan"}, ["masks[1]", "'scan'", "'region'"]),
        (
            {"kind": "region", "name": "a gap", "latitude": [1, 2], "longitude": [1, 2]},
            ["all but a gap", "hides no value"],
        ),
    ],
)
def test_masks_that_do_not_suit_are_refused(
    done: dict[str, Reference], mask: dict[str, Any], messages: list[str]
) -> None:
    (suits,) = TINY["completion"]["masks"]
    with pytest.raises(InputError) as refused:
        complete(done, suits, mask)
    sentence = str(refused.value)
    assert "\n" not in sentence
    for message in messages:
        assert message in sentence
