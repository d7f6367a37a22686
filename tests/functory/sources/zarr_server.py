"""Small records of ERA5 in the layouts of the public stores, on the loopback interface."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

LATITUDE = np.linspace(78.75, -78.75, 8)
LONGITUDE = np.arange(16) * 22.5
ROOM = pd.date_range("2021-01-15", "2021-04-14T23:00", freq="h")  # of which Feb and Mar are there


def truth(times: pd.DatetimeIndex) -> np.ndarray:
    """Return fields with a warm equator, a day that follows the sun, a spring and weather."""
    hour = times.hour.values[:, None, None]
    day = times.dayofyear.values[:, None, None]
    weather = np.random.default_rng(0).normal(0, 1, (len(ROOM), 8, 16))
    sun = 5 * np.cos(2 * np.pi * (hour / 24 + LONGITUDE / 360 - 0.6))
    fields = 290 - 0.3 * np.abs(LATITUDE)[:, None] + sun + 0.05 * day
    return (fields + weather[ROOM.get_indexer(times)]).astype(np.float32)


def write_arco(folder: Path, **options: Any) -> None:
    """Write hourly fields with a chunk a day, and room in time before and after the record."""
    fields = truth(ROOM)
    fields[~((ROOM >= "2021-02-01") & (ROOM < "2021-04-01"))] = np.nan
    dims = ("time", "latitude", "longitude")
    attributes = {"units": "K", "short_name": "t2m", "long_name": "2 metre temperature"}
    temperature = xr.Variable(
        ("time", "level", *dims[1:]), np.zeros((len(ROOM), 1, 8, 16), np.float32)
    )
    xr.Dataset(
        {"2m_temperature": (dims, fields, attributes), "temperature": temperature},
        {"time": ROOM, "latitude": LATITUDE, "longitude": LONGITUDE},
        {
            "valid_time_start": "2021-02-01",
            "valid_time_stop": "2021-03-31",
            "valid_time_stop_era5t": "2021-04-10",
        },
    ).to_zarr(
        folder,
        consolidated=True,
        encoding={"2m_temperature": {"chunks": (24, 8, 16)}},
        **({"zarr_format": 2} | options),
    )


def write_weatherbench(folder: Path) -> None:
    """Write 6-hourly fields transposed, south first, without attributes."""
    times = ROOM[(ROOM.hour % 6 == 0) & (ROOM >= "2021-02-01") & (ROOM < "2021-04-01")]
    xr.Dataset(
        {
            "2m_temperature": (
                ("time", "longitude", "latitude"),
                truth(times)[:, ::-1].transpose(0, 2, 1),
            )
        },
        {"time": times, "latitude": LATITUDE[::-1], "longitude": LONGITUDE},
    ).to_zarr(
        folder,
        zarr_format=2,
        consolidated=True,
        encoding={"2m_temperature": {"chunks": (50, 16, 8)}},
    )


def lose(store: Path, *days: str) -> None:
    """Remove the chunks of some days from an hourly store, as a failed update does."""
    for day in days:
        number = (pd.Timestamp(day) - ROOM[0]).days
        chunk = store / "2m_temperature" / f"{number}.0.0"
        if (store / "zarr.json").is_file():
            chunk = store / "2m_temperature" / "c" / str(number)
            shutil.rmtree(chunk)
        else:
            chunk.unlink()


@dataclass
class ZarrServer:
    """What is wrong with the server, and which chunks of the fields it was asked for."""

    url: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    """What happens to the next requests of a path: a status, or 0 to hang up within the answer."""
    held: str = ""
    """A path that is not answered until the end."""
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)

    def days(self) -> list[str]:
        """Return the days of the chunks asked for since the last call."""
        paths = [p.split("2m_temperature/")[1] for p in self.requests if "2m_temperature/" in p]
        self.requests.clear()
        numbers = [p.split(".")[0] for p in paths if p[0].isdigit()]
        return sorted(f"{ROOM[0] + pd.Timedelta(days=int(n)):%Y-%m-%d}" for n in numbers)


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with faults."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        store: ZarrServer = self.server.store  # type: ignore[attr-defined]
        store.requests.append(self.path)
        if store.held and self.path.endswith(store.held):
            store.reached.set()
            store.released.wait(60)
        fault = next((path for path in store.faults if self.path.endswith(path)), None)
        if fault is None:
            super().do_GET()
        elif status := store.faults.pop(fault):
            self.send_error(status)
        else:
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.end_headers()
            self.wfile.write(b"\0" * 100)
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def serve(folder: Path) -> Iterator[ZarrServer]:
    """Serve the stores in a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    here = ZarrServer(f"http://127.0.0.1:{server.server_port}")
    server.store = here  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield here
    finally:
        here.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
