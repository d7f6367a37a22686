"""The null model of every functaset: as many principal components of the same training signals."""

import xarray as xr

from functory.fields.coordinates import Coordinates
from functory.models.principal_components import PrincipalComponents
from functory.signals import sample_dimension, signals_of, split_indices

__all__ = ["null_model"]


def null_model(dataset: xr.Dataset, coordinates: Coordinates, latents: int) -> PrincipalComponents:
    """Find the principal components of a signal set's training split."""
    training = dataset.isel({sample_dimension(dataset): split_indices(dataset, ["train"])})
    return PrincipalComponents.fit(signals_of(training, coordinates), latents)
