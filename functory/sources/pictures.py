"""What every source of images agrees on: a picture, and what is known of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

__all__ = ["Picture"]


@dataclass(frozen=True)
class Picture:
    """One image, read when it is needed."""

    name: str
    """Unique in its data set and independent of where files lie, such as `000001.jpg`."""
    read: Callable[[], NDArray[Any]]
    """Return (y, x, channel) of uint8 or uint16, with one channel (grey) or three (RGB); safe to
    call from threads and from other processes."""
    label: str = ""
    """Its class, where it has one."""
    split: str = ""
    """`train`, `validation` or `test`, where the data set says so."""
    attributes: Mapping[str, bool] = field(default_factory=dict)
    """What else is known of it, such as `Smiling`."""
