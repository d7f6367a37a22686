"""The null model of every functaset: as many principal components of the same training signals."""

import torch
import xarray as xr

from functory.fields.coordinates import Coordinates, Patches, Patchwork
from functory.metalearning.outer import HELD_VALUES
from functory.models.principal_components import PrincipalComponents
from functory.quality import best_thresholds, occupancy_statistics, psnr
from functory.signals import (
    Signals,
    sample_dimension,
    signal_variables,
    signals_of,
    some,
    split_indices,
)

__all__ = ["held", "null_model", "null_quality"]


def null_model(dataset: xr.Dataset, coordinates: Coordinates, latents: int) -> PrincipalComponents:
    """Find the principal components of a signal set's training split.

    Where functions are spatial, they are those of its patches, as many for each.
    """
    return PrincipalComponents.fit(held(dataset, coordinates, "train"), latents)


def null_quality(dataset: xr.Dataset, coordinates: Coordinates, latents: int) -> dict[str, float]:
    """Return what as many principal components reach on the test split.

    Occupancies are rounded where it is best on the training split, for each measure.
    """
    if isinstance(coordinates, Patchwork):  # with components, nothing is gained by overlaps
        apart = Patches(size=coordinates.patches.size)
        coordinates = coordinates.model_copy(update={"patches": apart})
    null, test = null_model(dataset, coordinates, latents), held(dataset, coordinates, "test")
    found = {"psnr": psnr(null.squared_error(test))}
    if dataset.attrs["modality"] != "shape":
        return found
    training = held(dataset, coordinates, "train")
    at = best_thresholds(training, _decoded(null, training))
    decoded = _decoded(null, test)
    for name, threshold in at.items():
        found[name] = float(occupancy_statistics(test, decoded, threshold)[name].mean())
    return found


def _decoded(null: PrincipalComponents, signals: Signals) -> torch.Tensor:
    return null.decode(null.encode(signals)).view(signals.features.shape)


def held(dataset: xr.Dataset, coordinates: Coordinates, split: str) -> Signals:
    """Read the signals of a split, or as many of them as may be held at once."""
    sample = sample_dimension(dataset)
    chosen = split_indices(dataset, [split])
    values = sum(dataset[name].size for name in signal_variables(dataset))
    most = max(1, HELD_VALUES * dataset.sizes[sample] // values)
    return signals_of(dataset.isel({sample: some(chosen, most)}), coordinates)
