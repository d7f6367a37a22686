"""Pictures of coded signals: test signals beside what is decoded, for every kind of data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from functory.reporting import maps
from functory.reporting.charts import BLUE, GREEN, ORANGE, WIDTH, plain
from functory.reporting.images import AMPLIFIED
from functory.reporting.sheets import Panel, sheet
from functory.reporting.surfaces import draw, surface

__all__ = ["Coded", "draw_coded"]

MOST = 3  # qualities that are drawn: more would be too small
SMALL, LARGE = 256, 400  # pixels of the page that an image may take, small or large itself
WINDOW = 512  # samples of sound in one spectrum
ACROSS = 400  # pixels, about, of one drawn sound
REACH, SHADE = 80, 4  # dB below the loudest that a spectrogram shows, and from shade to shade


@dataclass(frozen=True, eq=False)
class Coded:
    """A few test signals, and what is decoded of them at each quality."""

    modality: str
    """Climate, image, audio, volume or shape."""
    originals: xr.DataArray
    """(sample, axes…) or, of images, (sample, y, x, channel), in the data's own units."""
    decoded: xr.DataArray
    """The same at each quality, (quality, sample, …)."""
    bits: np.ndarray
    """What each takes, (quality, sample)."""
    offset: float = 0.0
    """The value that counts as 0, or black."""
    scale: float = 1.0
    """How far above it is the value that counts as 1, or white."""

    @property
    def psnr(self) -> np.ndarray:
        """How good each is where the data have values, in dB, (quality, sample)."""
        inner = tuple(range(2, self.decoded.ndim))
        errors = (self.decoded.values - self.originals.values) / self.scale
        with np.errstate(divide="ignore"):
            return -10 * np.log10(np.nanmean(errors.astype(np.float64) ** 2, axis=inner))


def draw_coded(coded: Coded) -> list[Figure]:
    """Draw test signals beside what is decoded of them, in one figure or one for each signal."""
    chosen = np.unique(np.linspace(0, len(coded.decoded) - 1, MOST).astype(int))
    if coded.modality == "climate":
        return [_maps(coded, sample, chosen) for sample in range(len(coded.originals))]
    return [_sounds(coded, chosen) if coded.modality == "audio" else _images(coded, chosen)]


def _maps(coded: Coded, sample: int, chosen: np.ndarray) -> Figure:
    """Draw one field, in a row for each quality: original, decoded, and difference."""
    original = coded.originals[[sample] * len(chosen)]
    figure = maps.comparison(original, coded.decoded[chosen, sample])
    for row, quality in enumerate(chosen):
        title = f"Quality {quality + 1}: {_size(coded.bits[quality, sample])}"
        figure.axes[3 * row + 1].set_title(title, fontsize=10)
    return figure


def _images(coded: Coded, chosen: np.ndarray) -> Figure:
    """Draw images, slices of volumes with their errors, or surfaces of shapes."""
    originals, decoded = (
        np.asarray((signals.values - coded.offset) / coded.scale, dtype=np.float32)
        for signals in (coded.originals, coded.decoded[chosen])
    )
    view = VIEWS[coded.modality]
    errors = abs(np.clip(decoded, 0, 1) - np.clip(originals, 0, 1))
    times = max(a for a in AMPLIFIED if a == 1 or a * np.quantile(errors, 0.99) <= 1)
    rows, names = [], []
    for sample, original in enumerate(originals):
        first = view(original)
        captions = [_caption(coded, quality, sample) for quality in chosen]
        shown = [Panel(view(d), c) for d, c in zip(decoded[:, sample], captions, strict=True)]
        rows.append([Panel(first), *shown])
        names.append("")
        if coded.modality != "shape":
            brightness = [times * view(error).mean(-1) for error in errors[:, sample]]
            wrong = [Panel(colormaps["magma"](values)[..., :3]) for values in brightness]
            rows.append([Panel(np.ones_like(first)), *wrong])
            names.append(f"error, {times}×" if times > 1 else "error")
    titles = ["original", *(f"quality {quality + 1}" for quality in chosen)]
    return sheet(rows, names, titles, widest=SMALL if first.shape[1] <= SMALL else LARGE)


def _sounds(coded: Coded, chosen: np.ndarray) -> Figure:
    """Draw sounds, two rows for each: pressures with their errors, and spectrograms."""
    count = len(coded.originals)
    figure = Figure((WIDTH, 2.7 * count + 0.5), layout="constrained")
    grid = figure.subplots(2 * count, 1 + len(chosen), squeeze=False, sharex=True, sharey="row")
    seconds = coded.originals[coded.originals.dims[-1]].values
    for sample in range(count):
        sounds = [coded.originals[sample].values, *coded.decoded[chosen, sample].values]
        waves, spectra = grid[2 * sample : 2 * sample + 2]
        _waves(waves, seconds, sounds)
        _spectrograms(spectra, seconds, sounds)
        waves[0].set_title("Original", fontsize=9)
        for axes, quality in zip(waves[1:], chosen, strict=True):
            caption = _caption(coded, quality, sample)
            axes.set_title(f"Quality {quality + 1}: {caption}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    return figure


def _waves(row: Sequence[Axes], seconds: np.ndarray, sounds: Sequence[np.ndarray]) -> None:
    """Draw between which pressures each sound is at a time, and its error; the smaller on top."""
    for column, (axes, sound) in enumerate(zip(row, sounds, strict=True)):
        plain(axes)
        layers = [(sound, GREEN), (sound - sounds[0], ORANGE)] if column else [(sound, BLUE)]
        for values, colour in sorted(layers, key=lambda layer: -layer[0].std()):
            axes.fill_between(*_extent(seconds, values), color=colour, linewidth=0.3)
    row[0].set_ylabel("pressure")


def _extent(seconds: np.ndarray, sound: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times, and the least and the greatest value from each to the next."""
    starts = np.unique(np.linspace(0, len(sound) - 1, ACROSS).astype(int))
    low, high = (extreme.reduceat(sound, starts) for extreme in (np.minimum, np.maximum))
    return seconds[starts], low, high


def _spectrograms(row: Sequence[Axes], seconds: np.ndarray, sounds: Sequence[np.ndarray]) -> None:
    """Draw how loud each pitch is, all against the loudest of the original."""
    from scipy.signal import spectrogram  # slow to import

    rate = 1 / float(np.median(np.diff(seconds)))
    window = min(WINDOW, len(seconds))
    loudest = None
    for axes, sound in zip(row, sounds, strict=True):
        pitches, times, power = spectrogram(sound, rate, nperseg=window)
        levels = 10 * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
        levels = SHADE * np.rint(levels / SHADE)  # for a smaller picture
        loudest = float(levels.max()) if loudest is None else loudest
        ends = (*(seconds[0] + times[[0, -1]]), 0, pitches[-1] / 1000)
        ground: dict[str, Any] = {
            "origin": "lower",
            "aspect": "auto",
            "cmap": "magma",
            "interpolation": "nearest",
        }
        axes.imshow(levels, extent=ends, vmin=loudest - REACH, vmax=loudest, **ground)
    row[0].set_ylabel("kHz")


def _caption(coded: Coded, quality: int, sample: int) -> str:
    return f"{_size(coded.bits[quality, sample])}, {coded.psnr[quality, sample]:.1f} dB"


def _size(bits: float) -> str:
    return f"{bits / 8:,.{1 if bits < 800 else 0}f} bytes"


def _slice(volume: np.ndarray) -> np.ndarray:
    """Return the middle slice of a volume (z, y, x) from above, its front to the top."""
    return volume[len(volume) // 2, ::-1, :, None]


def _surface(field: np.ndarray) -> np.ndarray:
    """Return a picture of the shape of a field (z, y, x)."""
    return draw(surface(field), BLUE) / 255


VIEWS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "image": np.asarray,
    "volume": _slice,
    "shape": _surface,
}
