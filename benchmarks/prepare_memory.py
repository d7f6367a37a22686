"""Peak memory of preparing 721 x 1440 fields, by number of fields and regridding method."""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import TypeAdapter

from functory.sources.climate_files import FilesSource, find_files, open_files
from functory.sources.regridding import Regridding, regrid

PER_FILE = 25
METHODS = (
    {"method": "subsample", "factor": 16},
    {"method": "conservative", "latitude": 46, "longitude": 90},
    {"method": "linear", "latitude": 46, "longitude": 90},
)


def write_files(folder: Path, fields: int) -> None:
    """Write made-up 2 m temperatures, hourly, packed as ERA5's are and smooth enough to shrink."""
    latitude, longitude = np.linspace(90, -90, 721), np.arange(1440) / 4
    place = 300 - 60 * np.sin(np.radians(latitude[:, None])) ** 2 + np.zeros(1440)
    for first in range(0, fields, PER_FILE):
        hours = np.arange(first, min(first + PER_FILE, fields))
        values = (place + (hours % 24)[:, None, None] / 4).astype(np.float32)
        dataset = xr.Dataset(
            {"t2m": (("time", "latitude", "longitude"), values, {"units": "K"})},
            {
                "time": pd.Timestamp("2000-01-01") + pd.to_timedelta(hours, unit="h"),
                "latitude": latitude,
                "longitude": longitude,
            },
        )
        packed = {
            "dtype": "int16",
            "scale_factor": 0.005,
            "add_offset": 280.0,
            "_FillValue": -32768,
        }
        chunks = {"zlib": True, "complevel": 1, "chunksizes": (1, 721, 1440)}
        dataset.to_netcdf(folder / f"{first:06d}.nc", encoding={"t2m": packed | chunks})


def measure(folder: Path, method: dict[str, object]) -> dict[str, float]:
    """Prepare the files of a folder in this process; return seconds and peak memory in MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    source = FilesSource(paths=(f"{folder}/*.nc",))
    dataset = regrid(
        open_files(source, find_files(source)), TypeAdapter(Regridding).validate_python(method)
    )
    with tempfile.TemporaryDirectory() as target:
        # Zarr asks for equal chunks; those of the files end with each file.
        dataset.chunk(time=PER_FILE).to_zarr(target, consolidated=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": time.perf_counter() - started,
        "imports": before / 1024,
        "peak": peak / 1024,
    }


def run(*arguments: object) -> str:
    """Run this file in a process of its own: the peak of a process never falls, and is handed on.

    A child starts with its parent's peak, so the parent must do nothing itself.
    """
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", type=int, nargs="+", default=[100, 400])
    parser.add_argument("--write", nargs=2, metavar=("FOLDER", "FIELDS"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_files(Path(arguments.write[0]), int(arguments.write[1]))
        return
    if arguments.measure:
        folder, method = arguments.measure
        print(json.dumps(measure(Path(folder), json.loads(method))))
        return
    print(f"{'fields':>7} {'method':<13} {'raw MiB':>8} {'imports':>8} {'peak MiB':>9} {'s':>6}")
    for fields in arguments.fields:
        with tempfile.TemporaryDirectory() as folder:
            run("--write", folder, fields)
            for method in METHODS:
                found = json.loads(run("--measure", folder, json.dumps(method)).splitlines()[-1])
                raw = fields * 721 * 1440 * 4 / 2**20
                print(
                    f"{fields:>7} {method['method']:<13} {raw:>8.0f} {found['imports']:>8.0f} "
                    f"{found['peak']:>9.0f} {found['seconds']:>6.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
