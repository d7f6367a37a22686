"""ERA5 from where people have it: files, the Climate Data Store, a Zarr store, or the demo."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import xarray as xr
from pydantic import Field

from functory.sources.climate_files import FilesSource, check_units, open_files
from functory.sources.era5_cds import CdsSource
from functory.sources.era5_demo import DemoSource, generate
from functory.sources.era5_zarr import ZarrSource
from functory.sources.era5_zarr_years import left_out

__all__ = ["Source", "licence_of", "open_raw"]

Source = Annotated[DemoSource | FilesSource | CdsSource | ZarrSource, Field(discriminator="kind")]

COPERNICUS = (
    "Contains modified Copernicus Climate Change Service information; neither the European "
    "Commission nor ECMWF is responsible for any use of it (ERA5, Hersbach et al.)."
)


def licence_of(source: Source) -> str:
    """Return the licence or attribution that everything made from the source carries on."""
    match source:
        case DemoSource():
            return "CC0-1.0 (synthetic data made by Functory's demo generator)"
        case FilesSource():
            return source.attribution or "not stated by the source"
        case CdsSource() | ZarrSource():
            return COPERNICUS


def open_raw(source: Source, paths: Sequence[Path]) -> xr.Dataset:
    """Open the raw fields lazily, as (time, latitude, longitude), and check their units."""
    if isinstance(source, DemoSource):
        return generate(source)
    left = left_out(paths) if isinstance(source, ZarrSource) else {}
    if isinstance(source, CdsSource | ZarrSource):
        source = FilesSource(paths=tuple(map(str, paths)), variables=variables_in(paths[0]))
    raw = open_files(source, paths).assign_attrs(left)
    check_units(raw)
    return raw


def variables_in(path: Path) -> tuple[str, ...]:
    """Return the short names of a downloaded file's variables, which its request did not use."""
    grib = path.suffix == ".grib"
    options = {"engine": "cfgrib", "backend_kwargs": {"indexpath": ""}} if grib else {}
    with xr.open_dataset(path, **options) as dataset:  # type: ignore[arg-type]
        fields = {str(n) for n, v in dataset.data_vars.items() if {"latitude"} <= set(v.dims)}
    return tuple(sorted(fields))
