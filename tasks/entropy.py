"""Entropy: quantised modulations, what they cost in bits and what they cost in quality."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
import xarray as xr
from pydantic import Field, PositiveInt
from safetensors.torch import save_file
from torch import Tensor

from functory.coding.factorised import FactorisedModel
from functory.coding.flow_entropy import flow_bits, train_entropy_flow
from functory.coding.quantisation import Quantisation, UniformQuantiser
from functory.configuration import Config
from functory.fields.fitted_network import FittedNetwork
from functory.models.flow_prior import FlowTraining
from functory.quality import psnr
from functory.signals import Signals, sample_dimension, signals_of, some, split_indices
from functory.sources.signal_sets import open_signals
from storage.networks import read_network
from storage.references import Reference
from tasks.null import null_model
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


@dataclass(frozen=True)
class Representation:
    """Numbers that stand for signals: those that train, those that are coded, and some to decode.

    `error` gives the mean squared error of each of the last ones for its (rounded) numbers.
    """

    training: np.ndarray
    testing: np.ndarray
    shown: np.ndarray
    error: Callable[[np.ndarray], Tensor]


@stage("entropy-models", version=2)
def entropy(work: Work, config: EntropyModels, functaset: Reference, signals: Reference) -> Outcome:
    """Quantise, count symbols, code them for real, and train a flow on dequantised values."""
    dataset = xr.open_zarr(work.path(functaset))
    fitted = read_network(str(work.path(functaset) / "network"))
    raw = open_signals(work.path(signals))
    chosen = some(split_indices(raw, ["test"]), config.signals)
    shown = signals_of(raw.isel({sample_dimension(raw): chosen}), fitted.coordinates)
    functions = _functions(dataset, fitted, chosen, shown)
    null = _components(raw, fitted, dataset.sizes["latent"], shown)
    rates = xr.concat(
        [_rates(config, functions), _rates(config, null)],
        xr.Variable("representation", np.array(["functions", "principal components"], object)),
    )
    quantiser = UniformQuantiser.fit(functions.training, Quantisation(bits=config.flow_bits))
    train, held_out, tested = (
        quantiser.quantise(modulations(dataset, split))
        for split in ("train", held_out_split(dataset), "test")
    )
    flow, _ = train_entropy_flow(train, held_out, quantiser, config.flow, work.checkpoint)
    rates.attrs = {
        "points": len(shown.points),
        "flow_bit_width": config.flow_bits,
        "flow_bits": float(flow_bits(flow.cpu(), tested, quantiser).mean()),
        "psnr_unquantised": psnr(functions.error(functions.shown)),
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
    operating = rates.sel(quantiser="per latent", bits=config.flow_bits)
    return Outcome(work.licence(functaset), _summary(operating, rates.attrs, fitted, dataset))


def _functions(
    dataset: xr.Dataset, fitted: FittedNetwork, chosen: np.ndarray, shown: Signals
) -> Representation:
    """Return the modulations of a functaset, decoded by its network."""

    @torch.no_grad()
    def error(phi: np.ndarray) -> Tensor:
        parts = []
        for i in range(0, len(shown), 16):
            part, latents = shown.take(slice(i, i + 16)), torch.from_numpy(phi[i : i + 16])
            parts.append(part.squared_error(fitted.network(part.points, latents)))
        return torch.cat(parts)

    training, testing = modulations(dataset, "train"), modulations(dataset, "test")
    return Representation(training, testing, dataset["modulation"].values[chosen], error)


def _components(
    raw: xr.Dataset, fitted: FittedNetwork, latents: int, shown: Signals
) -> Representation:
    """Return the coefficients of as many principal components."""
    components = null_model(raw, fitted.coordinates, latents)

    def coefficients(split: str) -> np.ndarray:
        part = raw.isel({sample_dimension(raw): split_indices(raw, [split])})
        return components.encode(signals_of(part, fitted.coordinates)).numpy()

    def error(rounded: np.ndarray) -> Tensor:
        decoded = components.decode(torch.from_numpy(rounded))
        return shown.squared_error(decoded.view(shown.features.shape))

    shown_coefficients = components.encode(shown).numpy()
    return Representation(coefficients("train"), coefficients("test"), shown_coefficients, error)


def _rates(config: EntropyModels, of: Representation) -> xr.Dataset:
    """Measure PSNR and bits per field of every quantiser and bit width, on test signals."""
    widths = sorted({*config.bits, config.flow_bits})
    shape = (len(QUANTISERS), len(widths))
    found = {name: np.empty(shape) for name in ("psnr", "factorised_bits", "coded_bits")}
    for i, per_latent in enumerate(QUANTISERS.values()):
        for j, bits in enumerate(widths):
            quantisation = Quantisation(bits=bits, per_dimension=per_latent)
            quantiser = UniformQuantiser.fit(of.training, quantisation)
            known = quantiser.quantise(of.training)
            model = FactorisedModel.fit(known, quantiser.levels, per_latent)
            symbols = quantiser.quantise(of.testing)
            words = model.encode(symbols)
            if not np.array_equal(model.decode(words, len(symbols)), symbols):
                raise AssertionError("the entropy coder did not return what it was given")
            rounded = quantiser.dequantise(quantiser.quantise(of.shown))
            found["psnr"][i, j] = psnr(of.error(rounded))
            found["factorised_bits"][i, j] = model.bits(symbols).mean()
            found["coded_bits"][i, j] = 32 * len(words) / len(symbols)
    units = {"psnr": "dB", "factorised_bits": "bit", "coded_bits": "bit"}
    texts = {
        "psnr": "PSNR of test signals decoded from quantised numbers",
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


def _summary(
    operating: xr.Dataset, attributes: dict[str, Any], fitted: FittedNetwork, dataset: xr.Dataset
) -> dict[str, Any]:
    """Return rates at the operating point, and what the network's weights add to them."""
    values = attributes["points"] * len(fitted.variables)
    samples, latents = dataset["modulation"].shape
    functions, null = (operating.sel(representation=r) for r in operating["representation"])
    coded = float(functions["coded_bits"])
    weights = 32 * sum(p.numel() for p in fitted.network.parameters())
    return {
        "bits_per_latent": int(functions["bits"]),
        "psnr": float(functions["psnr"]),
        "psnr_unquantised": attributes["psnr_unquantised"],
        "coded_bits_per_field": coded,
        "principal_components": {
            "psnr": float(null["psnr"]),
            "coded_bits_per_field": float(null["coded_bits"]),
        },
        "coded_bits_per_point": coded / attributes["points"],
        "flow_bits_per_field": attributes["flow_bits"],
        "flow_bits_per_latent": attributes["flow_bits"] / latents,
        "factorised_bits_per_latent": float(functions["factorised_bits"]) / latents,
        "compression_ratio": 32 * values / coded,
        "compression_ratio_with_network": 32 * values * samples / (coded * samples + weights),
    }
