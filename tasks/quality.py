"""How good the fits of a functaset are, sample by sample and in all, for each modality."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr

from functory.fields.coordinates import Patchwork, area_weights
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.metalearning.fitting import Measure
from functory.quality import error_statistics, image_statistics, occupancy_statistics, psnr
from functory.signals import signals_of, split_indices

__all__ = ["describe_quality", "measure_for", "measure_patchwork", "summarise_quality"]

Described = dict[str, Any]


def measure_for(fitted: FittedNetwork, device: torch.device) -> Measure:
    """Return what is measured of fits: errors, or the accuracy and overlap of shapes.

    Of patches, errors; `measure_patchwork` is about what they make together.
    """
    if fitted.modality == "shape":
        return partial(occupancy_statistics, surface=fitted.surface)
    if isinstance(fitted.coordinates, Patchwork):
        return error_statistics
    if fitted.modality == "image":
        y, x = (len(fitted.grid[axis]) for axis in fitted.coordinates.axes)
        return partial(image_statistics, shape=(y, x))
    return partial(error_statistics, weights=torch.from_numpy(area_weights(fitted.grid)).to(device))


def measure_patchwork(
    fitted: FittedNetwork, dataset: xr.Dataset, modulations: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Measure spatial functions as a whole, with their patches blended."""
    whole = fitted.of_wholes()
    signals = signals_of(dataset, whole.coordinates).to(modulations.device)
    with torch.no_grad():
        decoded = fitted.decode(modulations)
    return measure_for(whole, modulations.device)(signals, decoded)


def describe_quality(
    fits: Mapping[str, np.ndarray], modality: str, variables: tuple[Variable, ...]
) -> Described:
    """Return the variables that say how good each sample is, in the data's own units."""
    with np.errstate(divide="ignore"):
        psnr_of_each = (-10 * np.log10(fits["mse"])).astype(np.float32)
    attributes = {"units": "dB", "long_name": "peak signal-to-noise ratio, range of one"}
    described = {"psnr": ("sample", psnr_of_each, attributes)}
    if modality == "shape":
        return described | {
            name: ("sample", fits[name].astype(np.float32), {"units": "1", "long_name": text})
            for name, text in (
                ("accuracy", "share of voxels that are right after rounding"),
                ("iou", "intersection over union after rounding"),
            )
        }
    if modality == "image":
        ssim = {"units": "1", "long_name": "structural similarity index measure"}
        return described | {"ssim": ("sample", fits["ssim"].astype(np.float32), ssim)}
    return described | _errors(fits, variables)


def _errors(fits: Mapping[str, np.ndarray], variables: tuple[Variable, ...]) -> Described:
    scale = np.array([v.scale for v in variables])
    units = ", ".join(dict.fromkeys(v.attributes.get("units", "1") for v in variables))
    own = {
        "rmse": (np.sqrt(fits["squared"]) * scale, "root mean square error"),
        "bias": (fits["bias"] * scale, "mean of decoded minus original"),
        "maximum_error": (fits["largest"] * scale, "largest absolute error"),
        "rmse_weighted": (
            np.sqrt(fits["squared_weighted"]) * scale,
            "root mean square error, weighted by cos latitude",
        ),
        "bias_weighted": (
            fits["bias_weighted"] * scale,
            "mean of decoded minus original, weighted by cos latitude",
        ),
    }
    return {"variable": np.array([v.name for v in variables], dtype=object)} | {
        name: (
            ("sample", "variable"),
            values.astype(np.float32),
            {"units": units, "long_name": text},
        )
        for name, (values, text) in own.items()
    }


def summarise_quality(
    dataset: xr.Dataset, fits: Mapping[str, np.ndarray], quality: Described
) -> dict[str, Any]:
    """Return sizes and the quality of every split: PSNR of the mean squared error."""
    splits = [str(s) for s in np.unique(dataset["split"].values)]
    chosen = {split: split_indices(dataset, [split]) for split in splits}
    test = chosen["test"]
    summary: dict[str, Any] = {
        "signals": len(fits["modulation"]),
        "latents": math.prod(fits["modulation"].shape[1:]),
        "psnr": {split: psnr(fits["mse"][i]) for split, i in chosen.items()},
    }
    means = {"accuracy", "iou", "ssim"} & set(quality)
    if means:
        return summary | {
            name: {split: float(fits[name][i].mean()) for split, i in chosen.items()}
            for name in sorted(means)
        }

    def rms(name: str) -> float:
        return float(np.sqrt(np.square(quality[name][1][test]).mean()))

    return summary | {
        "units": quality["rmse"][2]["units"],
        "test": {
            "rmse": rms("rmse"),
            "rmse_weighted": rms("rmse_weighted"),
            "bias": float(quality["bias"][1][test].mean()),
            "bias_weighted": float(quality["bias_weighted"][1][test].mean()),
            "maximum_error": float(quality["maximum_error"][1][test].max()),
        },
    }
