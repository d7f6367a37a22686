"""Batches to train on: every sample once an epoch, in an order that only the seed decides."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import storage.accessor  # noqa: F401 — registers the accessor
from functory.errors import InputError

SAMPLES, LATENTS, CHUNK = 103, 6, 10
KINDS = np.array(["dog", "ant", "cat"], dtype=object)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a functaset whose modulations say which sample they are of."""
    modulation = np.arange(SAMPLES * LATENTS, dtype=np.float32).reshape(SAMPLES, LATENTS)
    at = np.arange(SAMPLES)
    dataset = xr.Dataset(
        {"modulation": (("sample", "latent"), modulation), "psnr": ("sample", at / 2)},
        {
            "kind": ("sample", KINDS[at % 3]),
            "digit": ("sample", at.astype(np.uint8)),
            "time": ("sample", at.astype("datetime64[h]").astype("datetime64[ns]")),
        },
    )
    folder = tmp_path_factory.mktemp("functasets") / "numbered"
    encoding = {"modulation": {"chunks": (CHUNK, LATENTS)}}
    dataset.to_zarr(folder, zarr_format=3, consolidated=False, encoding=encoding)
    return folder


@pytest.fixture(params=["held in memory", "read in chunks", "dask"])
def ready(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> xr.Dataset:
    """Open the functaset in each of the ways in which it is read."""
    if request.param != "held in memory":
        monkeypatch.setattr("storage.torch_data.HELD", 0)
        monkeypatch.setattr("storage.torch_data.POOL", 3 * CHUNK * LATENTS * 4)
    chunks = {} if request.param == "dask" else None
    return xr.open_zarr(folder, chunks=chunks, consolidated=False)


def samples(batches: list[torch.Tensor]) -> list[int]:
    """Return which samples batches have, having checked that these are whole."""
    rows = torch.cat(batches)
    assert rows.dtype == torch.float32
    assert torch.equal(rows, rows[:, :1] + torch.arange(LATENTS))
    return [int(first) // LATENTS for first in rows[:, 0]]


def test_an_epoch_has_every_sample_once(ready: xr.Dataset) -> None:
    loader = ready.functa.to_torch(16)
    assert isinstance(loader, torch.utils.data.DataLoader)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [16] * 6 + [7]
    assert len(loader) == len(batches)
    order = samples(batches)
    assert sorted(order) == list(range(SAMPLES))
    assert order != sorted(order)


def test_epochs_differ_and_equal_seeds_agree(ready: xr.Dataset) -> None:
    def epochs(seed: int) -> list[list[int]]:
        loader = ready.functa.to_torch(16, seed=seed)
        return [samples(list(loader)) for _ in range(3)]

    first = epochs(0)
    assert first[0] != first[1] != first[2] != first[0]
    assert epochs(0) == first
    assert epochs(1)[0] != first[0]


def test_without_shuffling_the_order_is_that_of_the_dataset(ready: xr.Dataset) -> None:
    loader = ready.functa.to_torch(16, shuffle=False)
    for _ in range(2):
        assert samples(list(loader)) == list(range(SAMPLES))


@pytest.mark.parametrize(("batch", "expected"), [(1, 103), (16, 6), (103, 1), (104, 0)])
def test_the_last_batch_can_be_left_out(ready: xr.Dataset, batch: int, expected: int) -> None:
    loader = ready.functa.to_torch(batch, drop_last=True)
    batches = list(loader)
    assert [len(part) for part in batches] == [batch] * expected
    assert len(loader) == expected


@pytest.mark.parametrize("shuffle", [True, False])
def test_labels_go_with_their_samples(ready: xr.Dataset, shuffle: bool) -> None:
    for label, dtype in (("kind", torch.int64), ("digit", torch.int64), ("psnr", torch.float32)):
        pairs = list(ready.functa.to_torch(16, shuffle=shuffle, label=label))
        of = torch.tensor(samples([rows for rows, _ in pairs]))
        labels = torch.cat([labels for _, labels in pairs])
        assert labels.dtype == dtype
        if label == "kind":
            assert [sorted(KINDS)[i] for i in labels] == list(KINDS[of % 3])
        else:
            assert torch.equal(labels, (of if label == "digit" else of / 2).to(dtype))


def test_selections_load(ready: xr.Dataset) -> None:
    cats = ready.isel(sample=np.flatnonzero(ready["kind"].values == "cat"))
    assert sorted(samples(list(cats.functa.to_torch(16)))) == list(range(2, SAMPLES, 3))
    some = ready.isel(sample=slice(5, 58))
    assert samples(list(some.functa.to_torch(16, shuffle=False))) == list(range(5, 58))


def test_batches_are_the_callers_own(ready: xr.Dataset) -> None:
    loader = ready.functa.to_torch(16, shuffle=False)
    expected = [batch.clone() for batch in loader]
    for batch in loader:
        batch.zero_()
    assert torch.equal(torch.cat(list(loader)), torch.cat(expected))


def test_no_random_state_of_others_is_touched(ready: xr.Dataset) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(ready.functa.to_torch(16))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("ready", ["read in chunks", "dask"], indirect=True)
def test_chunks_are_shuffled_together(ready: xr.Dataset) -> None:
    order = samples(list(ready.functa.to_torch(CHUNK)))
    pools = [{s // CHUNK for s in order[i : i + 3 * CHUNK]} for i in range(0, 60, 3 * CHUNK)]
    assert all(len(pool) <= 4 for pool in pools)  # three, and perhaps the short one at the end
    assert any(max(pool) - min(pool) >= len(pool) for pool in pools)  # not neighbours
    steps = np.diff(np.array(order[: 3 * CHUNK]) // CHUNK)
    assert np.count_nonzero(steps) > CHUNK  # samples of different chunks alternate


def test_functions_in_patches_keep_their_dimensions() -> None:
    modulation = np.random.default_rng(0).normal(size=(7, 2, 3, 4))
    dataset = xr.Dataset({"modulation": (("sample", "row", "column", "latent"), modulation)})
    (batch,) = dataset.functa.to_torch(shuffle=False)
    assert torch.equal(batch, torch.from_numpy(modulation.astype(np.float32)))
    with pytest.raises(InputError, match="single sample"):
        dataset.isel(sample=0).functa.to_torch()


def test_errors_say_what_to_do(ready: xr.Dataset) -> None:
    with pytest.raises(InputError, match=r"no label 'colour': choose one of .*kind"):
        ready.functa.to_torch(label="colour")
    with pytest.raises(InputError, match="no label 'modulation'"):
        ready.functa.to_torch(label="modulation")
    with pytest.raises(InputError, match="'time' is of datetime64"):
        ready.functa.to_torch(label="time")
    with pytest.raises(InputError, match="batch of 0"):
        ready.functa.to_torch(0)
    with pytest.raises(InputError, match="no samples"):
        ready.isel(sample=[]).functa.to_torch()
    with pytest.raises(InputError, match="single sample"):
        ready.isel(sample=0).functa.to_torch()
    with pytest.raises(InputError, match="no 'modulation'"):
        ready.drop_vars("modulation").functa.to_torch()
