"""The accessor `functa`: evaluate the functions of a functaset at any coordinates."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from functory.errors import InputError
from functory.models.completion import Completion, complete
from storage.completion import observations_of
from storage.networks import FittedNetwork, Variable, read_network
from storage.priors import read_prior

__all__ = ["FunctaAccessor"]

SIGNALS = 32  # functions, and…
VALUES = 2**22  # … activations of a layer that are held at once when decoding


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
            How many times finer than in training the grid is, for coordinates not given.
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
            If an axis or a variable is not the functions' own.
        """
        dataset = self._dataset if sample is None else self._dataset.isel(sample=sample)
        location, digest = self._location()
        fitted = read_network(location, digest)
        channel, described = _choose(fitted, variable)
        at = _grid(fitted, refine, coordinates)
        axes = list(fitted.coordinates.axes)
        result = xr.apply_ufunc(
            _evaluate,
            dataset["modulation"],
            input_core_dims=[["latent"]],
            output_core_dims=[axes],
            kwargs={"network": (location, digest), "at": at, "channel": channel},
            dask="parallelized",
            output_dtypes=[np.float32],
            dask_gufunc_kwargs={
                "output_sizes": {axis: len(at[axis]) for axis in axes},
                "allow_rechunk": True,
            },
        )
        result = result.assign_coords({axis: at[axis] for axis in axes})
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
            Folder of a version of kind `priors`, trained on this functaset.
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
            If the observations do not have the functions' axes and variables, or none at all.
        """
        location, digest = self._location()
        fitted = read_network(location, digest)
        flow, classes = read_prior(Path(prior))
        signals = observations_of(fitted, observations)
        phi, labels = complete(fitted.network, flow, signals, completion or Completion())
        found = xr.Dataset(
            {"modulation": (("sample", "latent"), phi.numpy())},
            attrs={"network": str(Path(location).absolute()), "network_digest": digest},
        )
        if labels is None:
            return found
        return found.assign_coords(label=("sample", np.array(classes, object)[labels.numpy()]))


_AXIS_ATTRIBUTES = {
    "latitude": {"units": "degrees_north", "standard_name": "latitude"},
    "longitude": {"units": "degrees_east", "standard_name": "longitude"},
}


def _choose(fitted: FittedNetwork, variable: str | None) -> tuple[int, Variable]:
    names = [v.name for v in fitted.variables]
    if variable is None and len(names) > 1:
        raise InputError(f"The functions give several variables: choose one of {names}.")
    if variable is not None and variable not in names:
        raise InputError(f"The functions give no variable '{variable}': choose one of {names}.")
    channel = 0 if variable is None else names.index(variable)
    return channel, fitted.variables[channel]


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
        else _refined(axis, values, refine)
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


def _evaluate(
    modulation: np.ndarray, *, network: tuple[str, str], at: dict[str, np.ndarray], channel: int
) -> np.ndarray:
    """Evaluate (…, latents) modulations, some functions and points at a time."""
    fitted = read_network(*network)
    variable = fitted.variables[channel]
    points = torch.from_numpy(fitted.coordinates.points(at))
    phi = torch.from_numpy(np.array(modulation, dtype=np.float32)).reshape(-1, modulation.shape[-1])
    result = np.empty((len(phi), len(points)), dtype=np.float32)
    step = max(1, VALUES // (fitted.network.config.width * SIGNALS))
    with torch.no_grad():
        for i in range(0, len(phi), SIGNALS):
            for j in range(0, len(points), step):
                values = fitted.network(points[j : j + step], phi[i : i + SIGNALS])
                result[i : i + SIGNALS, j : j + step] = values[..., channel].numpy()
    result = result * np.float32(variable.scale) + np.float32(variable.offset)
    shape = tuple(len(at[axis]) for axis in fitted.coordinates.axes)
    return cast(np.ndarray, result).reshape(*modulation.shape[:-1], *shape)
