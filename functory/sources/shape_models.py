"""What every source of 3D shapes agrees on: a model, its axes, and the classes of ShapeNet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from functory.errors import InputError

__all__ = [
    "SYNSETS",
    "Y_UP",
    "Z_UP",
    "Axes",
    "Axis",
    "ShapeModel",
    "class_name",
    "synset_id",
    "to_zyx",
]

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]


def _require_axes(value: Any) -> Any:
    named = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    if not named or sorted(name.removeprefix("-") for name in value) != ["x", "y", "z"]:
        raise ValueError(
            "axes are x, y and z, each once, in the order in which the file has them, with a minus "
            f"where an axis is reversed, as in ['x', 'z', '-y'], but not {value!r}"
        )
    return value


Axes = Annotated[tuple[Axis, Axis, Axis], BeforeValidator(_require_axes)]
"""Names of an array's three axes in a space whose z points up; with a minus, the axis runs down."""

Y_UP: tuple[Axis, Axis, Axis] = ("-x", "z", "y")
"""The axes of a file whose own y points up and whose front faces -z, as everything of ShapeNet:
turned, not mirrored, so that the front faces -y."""
Z_UP: tuple[Axis, Axis, Axis] = ("x", "y", "z")
"""The axes of a file whose own z points up."""

SYNSETS = {
    "02691156": "airplane",
    "02747177": "trash bin",
    "02773838": "bag",
    "02801938": "basket",
    "02808440": "bathtub",
    "02818832": "bed",
    "02828884": "bench",
    "02843684": "birdhouse",
    "02871439": "bookshelf",
    "02876657": "bottle",
    "02880940": "bowl",
    "02924116": "bus",
    "02933112": "cabinet",
    "02942699": "camera",
    "02946921": "can",
    "02954340": "cap",
    "02958343": "car",
    "02992529": "cellphone",
    "03001627": "chair",
    "03046257": "clock",
    "03085013": "keyboard",
    "03207941": "dishwasher",
    "03211117": "display",
    "03261776": "earphone",
    "03325088": "faucet",
    "03337140": "file cabinet",
    "03467517": "guitar",
    "03513137": "helmet",
    "03593526": "jar",
    "03624134": "knife",
    "03636649": "lamp",
    "03642806": "laptop",
    "03691459": "loudspeaker",
    "03710193": "mailbox",
    "03759954": "microphone",
    "03761084": "microwave",
    "03790512": "motorbike",
    "03797390": "mug",
    "03928116": "piano",
    "03938244": "pillow",
    "03948459": "pistol",
    "03991062": "flowerpot",
    "04004475": "printer",
    "04074963": "remote control",
    "04090263": "rifle",
    "04099429": "rocket",
    "04225987": "skateboard",
    "04256520": "sofa",
    "04330267": "stove",
    "04379243": "table",
    "04401088": "telephone",
    "04460130": "tower",
    "04468005": "train",
    "04530566": "watercraft",
    "04554684": "washer",
}
"""Classes of ShapeNetCore.v2: WordNet 3.0 synset ids and their plain names."""


@dataclass(frozen=True)
class ShapeModel:
    """One 3D shape, read when it is needed."""

    label: str
    """Its class in plain words, such as `chair`."""
    name: str
    """Unique in its data set and independent of where files lie, such as `chair/17`."""
    read: Callable[[], NDArray[np.bool_]]
    """Return the occupancy (z, y, x), z up, cubic or not; safe to call from threads."""


def class_name(name: str) -> str:
    """Return the plain name of a synset of ShapeNet; any other name stays as it is."""
    return SYNSETS.get(name, name)


def synset_id(name: str) -> str:
    """Return the id of a class of ShapeNetCore that is given by its id or its plain name."""
    for synset, plain in SYNSETS.items():
        if name in (synset, plain):
            return synset
    listed = ", ".join(f"{plain} ({synset})" for synset, plain in SYNSETS.items())
    raise InputError(f"ShapeNetCore has no class {name!r}, choose of: {listed}")


def to_zyx(array: NDArray[Any], axes: Sequence[Axis]) -> NDArray[Any]:
    """Return a copy of an array, whose axes have the given names, in the order (z, y, x)."""
    turned = array[tuple(slice(None, None, -1 if a[0] == "-" else None) for a in axes)]
    names = [axis.removeprefix("-") for axis in axes]
    return turned.transpose([names.index(name) for name in "zyx"]).copy()
