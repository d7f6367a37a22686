"""Progress bars with rate and remaining time, on terminals and in logs."""

import sys
from typing import Any

from tqdm import tqdm

__all__ = ["progress"]


def progress(
    total: int, label: str, unit: str, initial: int = 0, disable: bool = False
) -> "tqdm[Any]":
    """Open a bar over `total` units; a log gets a line now and then instead of a moving bar."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        initial=initial,
        desc=label,
        unit=unit,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=True,
        smoothing=0.1,
        disable=disable,
    )
