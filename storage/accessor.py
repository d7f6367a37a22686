"""The accessor `functa`: evaluate the functions of a functaset at any coordinates."""

import os
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from functory.errors import InputError
from functory.fields.fitted_network import FittedNetwork, Variable
from functory.models.completion import Completion, complete
from functory.signals import CHANNEL
from storage.completion import observations_of
from storage.locations import is_url, version_folder
from storage.networks import read_network
from storage.priors import read_prior
from storage.torch_data import BatchLoader, ModulationBatches

__all__ = ["FunctaAccessor"]


@xr.register_dataset_accessor("functa")
class FunctaAccessor:
    """Functions in a Dataset with `modulation(…, latent)` and a network in its attributes.

    The attribute `network` is the path of a network group, relative to where the Dataset was opened
    or absolute, and `network_digest` says which network it must be. Selections of a functaset,
    samples of a prior and dequantised modulations all have them.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    @property
    def network(self) -> FittedNetwork:
        """The base network with its coordinates, grid and variables."""
        return read_network(*self._location())

    def _location(self) -> tuple[str, str]:
        attributes = self._dataset.attrs
        if "network" not in attributes or "network_digest" not in attributes:
            raise InputError(
                "The Dataset has no attributes 'network' and 'network_digest': they name the base "
                "network of its modulations; copy them from the functaset."
            )
        location = Path(attributes["network"])
        source = self._dataset.encoding.get("source")
        if not location.is_absolute() and source is None:
            raise InputError(
                f"The network '{location}' is relative, but it is not known where the Dataset was "
                "opened: open it with engine='functaset', or set the attribute to a full path."
            )
        return str(location if source is None else Path(source) / location), attributes[
            "network_digest"
        ]

    def decode(
        self,
        sample: Any = None,
        *,
        variable: str | None = None,
        refine: int = 1,
        **coordinates: ArrayLike,
    ) -> xr.DataArray:
        """Evaluate functions at any coordinates, in the data's own units.

        Parameters
        ----------
        sample
            Positions of samples, as for `isel`; all where not given.
        variable
            Which variable, for functions that give several.
        refine
            How many times finer than in training the grid is, for coordinates not given: with
            further points between those of the training, or pixels cut into smaller ones.
        coordinates
            Values along the functions' axes, such as `latitude` and `longitude` in degrees; the
            grid of the training where not given. A single number drops its axis.

        Returns
        -------
        xr.DataArray
            The sample's dimensions, then the axes; lazy where the modulations are (`ds.chunk()`).

        Raises
        ------
        InputError
            If an axis or a variable is not the functions' own, or the modulations are parts of
            those of a function.
        """
        dataset = self._dataset if sample is None else self._dataset.isel(sample=sample)
        location, digest = self._location()
        fitted = read_network(location, digest)
        _check_whole(fitted, dataset["modulation"])
        described = _choose(fitted, variable)
        at = _grid(fitted, refine, coordinates)
        axes = list(fitted.coordinates.axes)
        sizes = {axis: len(at[axis]) for axis in axes}
        if described.channels:
            sizes[CHANNEL] = len(described.channels)
        result = xr.apply_ufunc(
            _evaluate,
            dataset["modulation"],
            input_core_dims=[list(fitted.latent_dimensions)],
            output_core_dims=[list(sizes)],
            kwargs={"network": (location, digest), "at": at, "variable": described.name},
            dask="parallelized",
            output_dtypes=[np.float32],
            dask_gufunc_kwargs={"output_sizes": sizes, "allow_rechunk": True},
        )
        result = result.assign_coords({axis: at[axis] for axis in axes})
        if described.channels:
            result = result.assign_coords({CHANNEL: np.array(described.channels, object)})
        for axis in axes:
            result[axis].attrs.update(_AXIS_ATTRIBUTES.get(axis, {}))
        result = result.rename(described.name).drop_attrs(deep=False)
        result = result.assign_attrs(described.attributes)
        return result.isel({axis: 0 for axis in axes if np.ndim(coordinates.get(axis, [0])) == 0})

    def complete(
        self,
        observations: xr.DataArray | xr.Dataset,
        prior: str | os.PathLike[str],
        completion: Completion | None = None,
    ) -> xr.Dataset:
        """Infer whole functions from partial observations: MAP, equation 5.2 of the thesis.

        Parameters
        ----------
        observations
            Fields in the data's own units, over the functions' axes and at most one dimension of
            samples; NaN where nothing is observed. Their grid may be any.
        prior
            Path or URL of a version of kind `priors`, trained on this functaset.
        completion
            How much observations count, and how modulations are sought; its defaults if None.

        Returns
        -------
        xr.Dataset
            `modulation(sample, latent)`, with this accessor: `.functa.decode()` gives the whole
            fields. Under a class-conditional prior also `label`, the most probable class.

        Raises
        ------
        InputError
            If the observations do not have the functions' axes and variables, or none at all, or
            the functions are spatial.
        """
        location, digest = self._location()
        fitted = read_network(location, digest)
        flow, classes = read_prior(version_folder(prior)[0] if is_url(prior) else Path(prior))
        signals = observations_of(fitted, observations)
        phi, labels = complete(fitted.network, flow, signals, completion or Completion())
        found = xr.Dataset(
            {"modulation": (("sample", "latent"), phi.numpy())},
            attrs={"network": str(Path(location).absolute()), "network_digest": digest},
        )
        if labels is None:
            return found
        return found.assign_coords(label=("sample", np.array(classes, object)[labels.numpy()]))

    def to_torch(
        self,
        batch: int = 256,
        *,
        shuffle: bool = True,
        seed: int = 0,
        label: str | None = None,
        drop_last: bool = False,
    ) -> BatchLoader:
        """Return a torch DataLoader of ready-made float32 tensors (batch, latents), to train on.

        Functions in patches give (batch, rows, columns, latents). Up to 1 GB is held in memory and
        shuffled as a whole; of more, whole chunks are read in random order and shuffled some
        together. Equal seeds give equal orders, and each epoch has its own.

        Parameters
        ----------
        batch
            Samples of a batch.
        shuffle
            Whether in random order, from `seed`.
        label
            A coordinate along the samples: batches become pairs (modulations, labels). Strings
            become integers, the positions of their classes among those of this Dataset, sorted.
        drop_last
            Whether to leave out the last batch where it is smaller.

        Raises
        ------
        InputError
            If there are no samples, or no such label.
        """
        batches = ModulationBatches(
            self._dataset, batch, shuffle=shuffle, seed=seed, label=label, drop_last=drop_last
        )
        return BatchLoader(batches)


_AXIS_ATTRIBUTES = {
    "latitude": {"units": "degrees_north", "standard_name": "latitude"},
    "longitude": {"units": "degrees_east", "standard_name": "longitude"},
}


def _choose(fitted: FittedNetwork, variable: str | None) -> Variable:
    names = [v.name for v in fitted.variables]
    if variable is None and len(names) > 1:
        raise InputError(f"The functions give several variables: choose one of {names}.")
    if variable is not None and variable not in names:
        raise InputError(f"The functions give no variable '{variable}': choose one of {names}.")
    return fitted.variables[0 if variable is None else names.index(variable)]


def _check_whole(fitted: FittedNetwork, modulation: xr.DataArray) -> None:
    """Refuse modulations of which some were selected away."""
    needed = dict(zip(fitted.latent_dimensions, fitted.latent_shape, strict=True))
    if any(modulation.sizes.get(name) != size for name, size in needed.items()):
        found, whole = (
            ", ".join(f"{name} {size}" for name, size in sizes.items())
            for sizes in (modulation.sizes, needed)
        )
        raise InputError(
            f"The modulations have the dimensions {found}, but a function of theirs needs {whole}: "
            "select along the samples only."
        )


def _grid(fitted: FittedNetwork, refine: int, given: dict[str, ArrayLike]) -> dict[str, np.ndarray]:
    unknown = sorted(set(given) - set(fitted.grid))
    if unknown:
        raise InputError(
            f"The functions have no coordinate {', '.join(unknown)}: theirs are "
            f"{', '.join(fitted.grid)}."
        )
    return {
        axis: np.atleast_1d(np.asarray(given[axis], dtype=np.float64))
        if axis in given
        else (_pixels if fitted.modality == "image" else partial(_refined, axis))(values, refine)
        for axis, values in fitted.grid.items()
    }


def _refined(axis: str, values: np.ndarray, times: int) -> np.ndarray:
    """Put times - 1 further values between each two of a grid, keeping those that there are."""
    step = values[-1] - values[-2]
    closes = axis == "longitude" and np.isclose(abs(values[-1] - values[0] + step), 360)
    if closes:  # the gap between the last longitude and the first is one like the others
        values = np.append(values, values[-1] + step)
    positions = np.arange(times * (len(values) - 1) + 1) / times
    refined = np.interp(positions, np.arange(len(values)), values)
    return refined[:-1] if closes else refined


def _pixels(values: np.ndarray, times: int) -> np.ndarray:
    """Return the centres of pixels that are so many times smaller."""
    step = values[1] - values[0]
    parts = (np.arange(times) + 0.5) / times - 0.5
    return np.asarray((values[:, None] + step * parts).ravel())


def _evaluate(
    modulation: np.ndarray, *, network: tuple[str, str], at: dict[str, np.ndarray], variable: str
) -> np.ndarray:
    """Evaluate modulations, (…, cells, latents), on a grid."""
    fitted = read_network(*network)
    described = _choose(fitted, variable)
    one = fitted.latent_shape
    phi = torch.from_numpy(np.array(modulation, dtype=np.float32)).reshape(-1, *one)
    with torch.no_grad():
        values = fitted.decode(phi, at)[..., fitted.outputs_of(described)].numpy()
    result = values * np.float32(described.scale) + np.float32(described.offset)
    sizes = [len(at[axis]) for axis in fitted.coordinates.axes]
    sizes += [len(described.channels)] if described.channels else []
    return cast(np.ndarray, result).reshape(*modulation.shape[: -len(one)], *sizes)
