"""Entropy: quantised modulations, what they cost in bits and what they cost in quality."""

from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field, PositiveInt
from safetensors.torch import save_file

from functory.coding.factorised import FactorisedModel
from functory.coding.flow_entropy import flow_bits, train_entropy_flow
from functory.coding.quantisation import Quantisation, UniformQuantiser
from functory.configuration import Config
from functory.models.flow_prior import FlowTraining
from functory.quality import psnr
from functory.signals import Signals, signals_of, split_indices
from storage.networks import FittedNetwork, read_network
from storage.references import Reference
from tasks.prior import held_out_split, modulations
from tasks.stage import Outcome, Work, stage

__all__ = ["EntropyModels", "entropy"]

QUANTISERS = {"per data set": False, "per latent": True}


class EntropyModels(Config):
    """Which bit widths are measured, and the entropy models."""

    bits: tuple[Annotated[int, Field(ge=1, le=16)], ...] = (3, 4, 5, 6, 7, 8)
    """Bit widths that are measured with both quantisers."""
    flow_bits: Annotated[int, Field(ge=1, le=16)] = 5
    """Bit width, per latent, whose symbols the flow models; the summary speaks of this one."""
    flow: FlowTraining = FlowTraining()
    """The flow on dequantised values."""
    signals: PositiveInt = 256
    """Test signals that are decoded to measure quality."""


@stage("entropy-models", version=1)
def entropy(work: Work, config: EntropyModels, functaset: Reference, signals: Reference) -> Outcome:
    """Quantise, count symbols, code them for real, and train a flow on dequantised values."""
    dataset = xr.open_zarr(work.path(functaset))
    fitted = read_network(str(work.path(functaset) / "network"))
    test, phi = _decodable(work, signals, fitted, dataset, config.signals)
    rates = _rates(config, dataset, fitted, test, phi)
    quantiser = UniformQuantiser.fit(
        modulations(dataset, "train"), Quantisation(bits=config.flow_bits)
    )
    train, held_out, tested = (
        quantiser.quantise(modulations(dataset, split))
        for split in ("train", held_out_split(dataset), "test")
    )
    flow, _ = train_entropy_flow(train, held_out, quantiser, config.flow, work.checkpoint)
    points = len(test.points)
    rates.attrs = {
        "points": points,
        "flow_bit_width": config.flow_bits,
        "flow_bits": float(flow_bits(flow.cpu(), tested, quantiser).mean()),
        "psnr_unquantised": _decoded_psnr(fitted, test, phi),
    }
    rates.to_zarr(work.result, zarr_format=3, consolidated=False, mode="w-")
    tables = FactorisedModel.fit(train, quantiser.levels)
    model = {
        "low": torch.from_numpy(quantiser.low.copy()),
        "high": torch.from_numpy(quantiser.high.copy()),
        "frequencies": torch.from_numpy(tables.frequencies.copy()),
    }
    save_file(model, work.result / "factorised.safetensors")
    save_file(flow.state_dict(), work.result / "flow.safetensors")
    chosen = rates.sel(quantiser="per latent", bits=config.flow_bits)
    return Outcome(work.licence(functaset), _summary(chosen, rates.attrs, fitted, dataset))


def _rates(
    config: EntropyModels,
    dataset: xr.Dataset,
    fitted: FittedNetwork,
    test: Signals,
    phi: np.ndarray,
) -> xr.Dataset:
    """Measure PSNR and bits per field of every quantiser and bit width, on test signals."""
    widths = sorted({*config.bits, config.flow_bits})
    training, testing = modulations(dataset, "train"), modulations(dataset, "test")
    shape = (len(QUANTISERS), len(widths))
    found = {name: np.empty(shape) for name in ("psnr", "factorised_bits", "coded_bits")}
    for i, per_latent in enumerate(QUANTISERS.values()):
        for j, bits in enumerate(widths):
            quantisation = Quantisation(bits=bits, per_dimension=per_latent)
            quantiser = UniformQuantiser.fit(training, quantisation)
            model = FactorisedModel.fit(quantiser.quantise(training), quantiser.levels, per_latent)
            symbols = quantiser.quantise(testing)
            words = model.encode(symbols)
            if not np.array_equal(model.decode(words, len(symbols)), symbols):
                raise AssertionError("the entropy coder did not return what it was given")
            decoded = quantiser.dequantise(quantiser.quantise(phi))
            found["psnr"][i, j] = _decoded_psnr(fitted, test, decoded)
            found["factorised_bits"][i, j] = model.bits(symbols).mean()
            found["coded_bits"][i, j] = 32 * len(words) / len(symbols)
    units = {"psnr": "dB", "factorised_bits": "bit", "coded_bits": "bit"}
    texts = {
        "psnr": "PSNR of test signals decoded from quantised modulations",
        "factorised_bits": "cross-entropy of the factorised model per field",
        "coded_bits": "length of the test set's coded stream per field",
    }
    return xr.Dataset(
        {
            name: (("quantiser", "bits"), values, {"units": units[name], "long_name": texts[name]})
            for name, values in found.items()
        },
        coords={"quantiser": np.array(list(QUANTISERS), dtype=object), "bits": widths},
    )


def _decodable(
    work: Work, signals: Reference, fitted: FittedNetwork, functaset: xr.Dataset, most: int
) -> tuple[Signals, np.ndarray]:
    """Return some test signals, spread over the split, and their modulations."""
    dataset = xr.open_zarr(work.path(signals))
    chosen = split_indices(dataset, ["test"])
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, most).astype(int))]
    sample = dataset.attrs["sample_dimension"]
    test = signals_of(dataset.isel({sample: chosen}), fitted.coordinates)
    return test, functaset["modulation"].values[chosen]


def _decoded_psnr(fitted: FittedNetwork, test: Signals, phi: np.ndarray) -> float:
    errors = []
    with torch.no_grad():
        for i in range(0, len(test), 16):
            part = test.take(slice(i, i + 16))
            errors.append(
                part.squared_error(fitted.network(part.points, torch.from_numpy(phi[i : i + 16])))
            )
    return psnr(torch.cat(errors))


def _summary(
    chosen: xr.Dataset, attributes: dict[str, Any], fitted: FittedNetwork, dataset: xr.Dataset
) -> dict[str, Any]:
    """Return rates at the operating point, and what the network's weights add to them."""
    values = attributes["points"] * len(fitted.variables)
    samples, latents = dataset["modulation"].shape
    coded = float(chosen["coded_bits"])
    weights = 32 * sum(p.numel() for p in fitted.network.parameters())
    return {
        "bits_per_latent": int(chosen["bits"]),
        "psnr": float(chosen["psnr"]),
        "psnr_unquantised": attributes["psnr_unquantised"],
        "coded_bits_per_field": coded,
        "coded_bits_per_point": coded / attributes["points"],
        "flow_bits_per_field": attributes["flow_bits"],
        "flow_bits_per_latent": attributes["flow_bits"] / latents,
        "factorised_bits_per_latent": float(chosen["factorised_bits"]) / latents,
        "compression_ratio": 32 * values / coded,
        "compression_ratio_with_network": 32 * values * samples / (coded * samples + weights),
    }
