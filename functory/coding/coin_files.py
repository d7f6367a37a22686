"""Images as COIN files: the weights of a network for each, which needs nothing else to decode."""

from collections.abc import Mapping
from typing import BinaryIO

import dask.array as da
import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from pydantic import ValidationError

from functory.coding.coin import Architecture, decode, decode_weights
from functory.coding.coin_fitting import CoinConfig, fit_coin, image_coordinates
from functory.coding.container import Reader, Writer
from functory.coding.description import coordinates, describe, restore
from functory.coding.header import Header, Identity
from functory.errors import InputError
from functory.fields.grids import places

__all__ = ["coin_grid", "decode_coin", "encode_coin"]

DIMS = ("sample", "y", "x", "channel")


def encode_coin(dataset: xr.Dataset, file: BinaryIO, config: CoinConfig) -> list[float]:
    """Fit a network to every image of `image(sample, y, x, channel)`; return the PSNR of each.

    Raises
    ------
    InputError
        If there are no images.
    """
    if "image" not in dataset or dataset["image"].dims != DIMS:
        raise InputError("COIN codes images; choose a codec of `functory codecs` for other data.")
    images = dataset["image"]
    architecture = Architecture(
        layers=config.layers, width=config.width, outputs=images.sizes["channel"]
    )
    description, arrays, _ = describe(dataset, ["image"])
    header = Header(
        identity=Identity(codec="coin"),
        chunks=len(images),
        settings={"architecture": architecture.model_dump(mode="json")},
        dataset=description,
    )
    reached = []
    with Writer(file, header, arrays) as writer:
        for image in images:
            found = fit_coin(torch.from_numpy(image.values.astype(np.float32)), config)
            writer.write(found.coded)
            reached.append(found.psnr)
    return reached


def coin_grid(reader: Reader) -> dict[str, NDArray[np.float64]]:
    """Return the coordinates of a COIN file along the axes of its images."""
    header = reader.header
    known = coordinates(header.dataset, reader.arrays)
    if "image" not in header.dataset.variables or not {"y", "x"} <= known.keys():
        raise InputError("the coded file holds no image: it is damaged.")
    return {axis: np.asarray(known[axis].values, dtype=np.float64) for axis in ("y", "x")}


def decode_coin(
    reader: Reader,
    at: Mapping[str, NDArray[np.float64]] | None = None,
    samples: slice = slice(None),
) -> xr.Dataset:
    """Decode the images of a COIN file, on their own pixels or `at` other places of y and x.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    header, grid = reader.header, coin_grid(reader)
    architecture = _architecture(header)
    variable = header.dataset.variables["image"]
    shape = header.dataset.shape(variable)
    if variable.dims != DIMS or (header.chunks, architecture.outputs) != (shape[0], shape[3]):
        raise InputError("the coded file has no network for each of its images: it is damaged.")
    pixels, target = image_coordinates(*shape[1:3]), grid | dict(at or {})
    where = {axis: places(grid[axis], target[axis]) for axis in grid}
    with torch.no_grad():
        found = [
            decode(decode_weights(coded, architecture), pixels, where).numpy()
            for _, coded in reader.chunks(range(shape[0])[samples])
        ]
    empty = {"image": da.empty(shape, np.float32)}
    form = restore(header.dataset, reader.arrays, empty).isel(sample=samples)
    image = xr.Variable(DIMS, np.stack(found), form["image"].attrs, form["image"].encoding)
    axes = {axis: (axis, target[axis], form[axis].attrs) for axis in grid}
    return form.drop_vars(["image", *grid]).assign_coords(axes).assign(image=image)


def _architecture(header: Header) -> Architecture:
    try:
        return Architecture.model_validate(header.settings.get("architecture"))
    except ValidationError:
        raise InputError("the coded file does not say its network: it is damaged.") from None
