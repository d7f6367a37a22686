"""Maps of fields over latitude and longitude."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

__all__ = ["Completions", "comparison", "completions", "gallery", "refinement"]

WIDTH = 9.6  # inches, of a page: text of 10 points is as large as that around the picture
CELSIUS = "plasma"  # dark is cold: perceptually uniform, and clear to the colour-blind
OTHER = "viridis"  # likewise
DIFFERENCE = "RdBu_r"
SEAM = 16.0  # degrees that a grid may leave open and still go round the globe
ZOOM = 5  # the share of a map that is enlarged is one in so many, each way
OUTLIERS = 0.5  # per cent of the values that may lie beyond the ends of a scale of colours


@dataclass(frozen=True, eq=False)
class Completions:
    """Fields of which a part was hidden: (sample, latitude, longitude), all on one grid."""

    observed: xr.DataArray
    """What was seen, with their `time`; missing values where nothing was."""
    with_prior: xr.DataArray
    """Whole fields, inferred with the prior."""
    without_prior: xr.DataArray
    """Whole fields, fitted without it."""
    truth: xr.DataArray
    """The fields before a part of them was hidden."""


def comparison(originals: xr.DataArray, reconstructions: xr.DataArray) -> Figure:
    """Draw up to three fields (sample, latitude, longitude) and what their functions give."""
    originals, reconstructions = (_displayed(f[:3]) for f in (originals, reconstructions))
    residuals = originals.copy(data=reconstructions.values - originals.values)
    scale = _scale(originals, reconstructions)
    reach = float(np.nanpercentile(abs(residuals), 100 - OUTLIERS)) or 1.0
    around_zero = {"cmap": DIFFERENCE, "norm": Normalize(-reach, reach)}
    figure, axes = _panels(len(originals), 3, originals[0])
    for row, original, reconstruction, residual in zip(
        axes, originals, reconstructions, residuals, strict=True
    ):
        fields = _draw(row[0], original, f"Original, {_when(original)}", scale)
        _draw(row[1], reconstruction, "Reconstruction", scale)
        differences = _draw(row[2], residual, f"Difference (RMSE {_rms(residual)})", around_zero)
    _bar(figure, fields, axes[:, :2], _label(originals))
    _bar(figure, differences, axes[:, 2], _label(originals, "reconstruction − original"), aspect=25)
    return figure


def gallery(samples: xr.DataArray) -> Figure:
    """Draw up to eight fields (sample, latitude, longitude) with their sampling temperatures."""
    samples = _displayed(samples[:8])
    columns = len(samples) if len(samples) <= 3 else (len(samples) + 1) // 2
    figure, axes = _panels(-(-len(samples) // columns), columns, samples[0])
    scale = _scale(samples)
    for panel, sample in zip(axes.flat, samples, strict=False):
        title = f"sampling temperature {float(sample['temperature']):g}"
        fields = _draw(panel, sample, title, scale)
    for panel in axes.flat[len(samples) :]:
        panel.set_visible(False)
    _bar(figure, fields, axes, _label(samples))
    return figure


def completions(found: Completions) -> Figure:
    """Draw up to three fields as they were seen, completed with and without the prior, and whole.

    Titles have the RMSE of the hidden part.
    """
    parts = (found.observed, found.with_prior, found.without_prior, found.truth)
    observed, *completed, truth = (_displayed(part[:3]) for part in parts)
    figure, axes = _panels(len(truth), 4, truth[0])
    scale = _scale(truth)  # of a fit that went astray, all colours would be taken by its errors
    for i, row in enumerate(axes):
        hidden = observed[i].isnull() & truth[i].notnull()
        _draw(row[0], observed[i], f"Observed, {_when(observed[i])}", scale)
        for panel, name, fields in zip(row[1:3], ("With", "Without"), completed, strict=True):
            error = truth[i].copy(data=fields[i].values - truth[i].values).where(hidden)
            _draw(panel, fields[i], f"{name} the prior: {_rms(error)}", scale)
            border = {"levels": [0.5], "colors": "black", "linewidths": 1}
            panel.contour(truth["longitude"], truth["latitude"], hidden.astype(float), **border)
        whole = _draw(row[3], truth[i], "Truth", scale)
    _bar(figure, whole, axes, _label(truth))
    return figure


def refinement(coarse: xr.DataArray, refined: xr.DataArray) -> Figure:
    """Draw a field and its function on a finer grid, whole and where the field varies most."""
    coarse, refined = _displayed(coarse), _displayed(refined)
    whole, detail = (_ends(coarse["latitude"]), _ends(coarse["longitude"])), _liveliest(coarse)
    figure, axes = _panels(2, 2, coarse, alike=False)
    for row, (latitudes, longitudes) in zip(axes, (whole, detail), strict=True):
        region = {"latitude": slice(*latitudes), "longitude": slice(*longitudes)}
        scale = _scale(coarse.sel(region), refined.sel(region))
        for panel, field, name in zip(row, (coarse, refined), ("Original", "Decoded"), strict=True):
            fields = _draw(panel, field, f"{name}, {_spacing(field)}", scale)
            _frame(panel, latitudes, longitudes)
        _bar(figure, fields, row, _units(coarse), location="right", aspect=20)
    (south, north), (west, east) = detail
    for panel in axes[0]:
        panel.add_patch(Rectangle((west, south), east - west, north - south, fill=False))
    return figure


def _displayed(field: xr.DataArray) -> xr.DataArray:
    """Return a field in °C rather than K, northwards and eastwards."""
    field = field.transpose(..., "latitude", "longitude")
    if field.attrs.get("units") in ("K", "kelvin"):
        field = (field - 273.15).assign_attrs(field.attrs, units="°C")
    longitude = np.unwrap(field["longitude"].values.astype(float), period=360)
    if np.ptp(longitude) >= 360 - SEAM:
        longitude = (longitude + 180) % 360 - 180
    return field.assign_coords(longitude=longitude).sortby(["latitude", "longitude"])


def _units(field: xr.DataArray) -> str:
    units = str(field.attrs.get("units", ""))
    return "" if units == "1" else units


def _rms(errors: xr.DataArray) -> str:
    return f"{np.sqrt(np.nanmean(errors.values**2)):.2g} {_units(errors)}".strip()


def _label(field: xr.DataArray, name: str = "") -> str:
    name = name or str(field.attrs.get("long_name", field.name))
    return f"{name} ({_units(field)})" if _units(field) else name


def _when(field: xr.DataArray) -> str:
    """Return the time of a field, to the minute, whichever calendar it has."""
    return str(field["time"].values)[:16].replace("T", " ")


def _spacing(field: xr.DataArray) -> str:
    steps = (np.median(np.diff(field[axis])) for axis in ("latitude", "longitude"))
    return " × ".join(f"{step:.3g}°" for step in steps)


def _scale(*fields: xr.DataArray) -> dict[str, Any]:
    """Return colours that serve several fields alike."""
    colours = CELSIUS if _units(fields[0]) == "°C" else OTHER
    ends = (OUTLIERS / 2, 100 - OUTLIERS / 2)
    low, high = np.transpose([np.nanpercentile(field, ends) for field in fields])
    return {"cmap": colours, "norm": Normalize(low.min(), high.max())}


def _panels(
    rows: int, columns: int, field: xr.DataArray, alike: bool = True
) -> tuple[Figure, np.ndarray]:
    """Make a figure for maps like that of a field.

    Maps that are alike share ticks and the bar below them; others have a bar beside each row.
    """
    latitude, longitude = field["latitude"].values, field["longitude"].values
    slimness = np.ptp(latitude) * _aspect(latitude) / np.ptp(longitude)
    height = min((WIDTH - (1.0 if alike else 1.5)) / columns * slimness, 3.5)
    size = (WIDTH, rows * (height + 0.35) + (0.9 if alike else 0.5))
    figure = Figure(size, layout="compressed")
    share: dict[str, Any] = {"sharex": alike, "sharey": alike or "row"}
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def _draw(axes: Axes, field: xr.DataArray, title: str, scale: dict[str, Any]) -> ScalarMappable:
    """Draw one field; where it has no values the ground is hatched."""
    x, y = (_edges(field[axis].values) for axis in ("longitude", "latitude"))
    cells = axes.pcolorfast(x, y, np.ma.masked_invalid(field.values), **scale)
    axes.patch.set(facecolor="white", edgecolor="0.7", hatch="////", linewidth=0)
    axes.set_title(title, fontsize=10)
    _frame(axes, (max(y[0], -90), min(y[-1], 90)), (x[0], x[-1]))
    axes.xaxis.set_major_formatter(lambda x, _: _degrees((x + 180) % 360 - 180, "W", "E"))
    axes.yaxis.set_major_formatter(lambda y, _: _degrees(y, "S", "N"))
    axes.tick_params(labelsize=8)
    return cells


def _frame(axes: Axes, latitudes: tuple[float, float], longitudes: tuple[float, float]) -> None:
    """Show a region, with degrees of latitude and longitude in proportion."""
    axes.set(ylim=latitudes, xlim=longitudes, aspect=_aspect(np.array(latitudes)))
    for axis, (low, high) in ((axes.yaxis, latitudes), (axes.xaxis, longitudes)):
        steps = [1, 1.5, 3, 6, 9, 10] if high - low > 50 else [1, 2, 5, 10]
        axis.set_major_locator(MaxNLocator(5, steps=steps))


def _bar(
    figure: Figure, cells: ScalarMappable, axes: np.ndarray, label: str, **options: Any
) -> None:
    below: dict[str, Any] = {"location": "bottom", "shrink": 0.7, "pad": 0.03, "aspect": 50}
    figure.colorbar(cells, ax=axes, label=label, extend="both", **(below | options))


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the borders of cells about the points of an axis, half-way between neighbours."""
    ends = 2 * centres[[0, -1]] - centres[[1, -2]]
    around = np.concatenate([ends[:1], centres, ends[1:]])
    return (around[1:] + around[:-1]) / 2


def _aspect(latitude: np.ndarray) -> float:
    """Return how long a degree of latitude is to one of longitude, mid-way (at most 5)."""
    middle = np.radians((latitude.min() + latitude.max()) / 2)
    return float(1 / max(np.cos(middle), 0.2))


def _degrees(value: float, below: str, above: str) -> str:
    value = round(value, 6)
    side = "" if value in (0, -180) else below if value < 0 else above
    return f"{abs(value):g}°{side}"


def _liveliest(field: xr.DataArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the latitudes and longitudes that bound the block of a map that varies most."""
    size = {axis: max(2, field.sizes[axis] // ZOOM) for axis in ("latitude", "longitude")}
    blocks = field.coarsen(size, boundary="trim").std().fillna(0)
    best = (blocks * np.cos(np.radians(blocks["latitude"]))).argmax(list(size))
    first = {axis: int(best[axis]) * size[axis] for axis in size}
    block = field.isel({axis: slice(first[axis], first[axis] + size[axis]) for axis in size})
    return _ends(block["latitude"]), _ends(block["longitude"])


def _ends(axis: xr.DataArray) -> tuple[float, float]:
    return float(axis.min()), float(axis.max())
