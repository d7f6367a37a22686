"""A Climate Data Store on the loopback interface, with real data and faults to switch on."""

import dataclasses
import hashlib
import io
import json
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pandas as pd
import xarray as xr

Inputs = dict[str, Any]
Month = tuple[int, int]
KEY = "11111111-2222-3333-4444-555555555555"
PARAMETERS = {"2m_temperature": (167, "t2m"), "10m_u_component_of_wind": (165, "u10")}
SPACING = 30.0


@dataclass
class CdsServer:
    """What the service has, what is wrong with it, and what it was asked."""

    answer: Callable[[Inputs], bytes]
    url: str = ""
    unavailable: int = 0  # requests answered with 503, from now on
    refusal: tuple[int, dict[str, str]] | None = None  # status and body of every new request
    polls: int = 0  # looks at a job before it is successful
    failure: str | None = None  # what jobs fail of
    truncated: int = 0  # files broken off half-way
    size: int | None = None  # announced instead of the right one
    checksum: str | None = None  # announced instead of the right one
    tag: str | None = None  # of files in the object store
    months: Sequence[Month] = ()  # that there are, as far as they are not lacking of a variable
    lacking: dict[str, set[Month]] = dataclasses.field(default_factory=dict)
    preliminary: set[Month] = dataclasses.field(default_factory=set)  # of `growing`
    offset: dict[Month, float] = dataclasses.field(default_factory=dict)  # kelvins, of `growing`
    asked: list[Inputs] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)
    jobs: list[bytes] = dataclasses.field(default_factory=list)

    def look(self) -> str:
        if self.polls > 0:
            self.polls -= 1
            return "running"
        return "failed" if self.failure else "successful"

    def valid(self, inputs: Inputs) -> dict[str, list[str]]:
        """Return which values each part of a request may have, as any of its variables has them."""
        there = [
            (variable, f"{year:04d}", f"{month:02d}")
            for variable in inputs.get("variable", PARAMETERS)
            for year, month in self.months
            if (year, month) not in self.lacking.get(variable, ())
            and f"{year:04d}" in inputs.get("year", [f"{year:04d}"])
        ]
        return {
            "variable": [variable for variable, _, _ in there],
            "year": [year for _, year, _ in there],
            "month": [month for _, _, month in there],
            "time": inputs.get("time", []),
        }

    def job(self, number: int, status: str) -> dict[str, Any]:
        here = f"{self.url}/retrieve/v1/jobs/{number}"
        return {
            "jobID": str(number),
            "processID": "reanalysis",
            "type": "process",
            "status": status,
            "created": "2026-01-01T00:00:00",
            "updated": "2026-01-01T00:00:00",
            "links": [
                {"rel": "self", "href": here},
                {"rel": "monitor", "href": here},
                {"rel": "results", "href": f"{here}/results"},
            ],
        }

    def asset(self, number: int) -> dict[str, Any]:
        body = self.jobs[number]
        md5 = hashlib.md5(body).hexdigest()
        value = {
            "type": "application/octet-stream",
            "href": f"{self.url.removesuffix('/api')}/cache/{number}",
            "file:checksum": self.checksum or f"{int(md5, 16):x}",
            "file:size": self.size or len(body),
            "file:local_path": f"s3://cache/{number}",
        }
        return {"asset": {"type": "application/vnd.code.file+json", "value": value}}


class Handler(BaseHTTPRequestHandler):
    """One request; the store that it is made to is an attribute of the server."""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.respond()

    def do_HEAD(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def respond(self) -> None:
        store: CdsServer = self.server.store  # type: ignore[attr-defined]
        path = self.path.split("?")[0]
        store.requests.append(f"{self.command} {path}")
        if path.startswith("/cache/"):
            self.file(store, int(path.rpartition("/")[2]))
            return
        path = path.removeprefix("/api")
        if path == "/catalogue/v1/messages":
            self.json(200, {"messages": []})
        elif store.unavailable > 0:
            store.unavailable -= 1
            self.json(503, {"title": "under maintenance"})
        elif self.headers["PRIVATE-TOKEN"] != KEY:
            self.json(401, {"title": "operation not allowed", "detail": "authentication failed"})
        elif self.command == "POST" and path.endswith("/execution"):
            self.execute(store)
        elif self.command == "POST" and path.endswith("/constraints"):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.json(200, store.valid(body["inputs"]))
        elif path.startswith("/retrieve/v1/processes/"):
            self.json(200, {"id": path.rpartition("/")[2], "links": []})
        elif path.startswith("/retrieve/v1/jobs/"):
            self.job(store, path.removeprefix("/retrieve/v1/jobs/"))
        else:
            self.json(404, {"title": "not found"})

    def execute(self, store: CdsServer) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        store.asked.append(body["inputs"])
        if store.refusal is not None:
            self.json(*store.refusal)
            return
        store.jobs.append(b"" if store.failure else store.answer(body["inputs"]))
        self.json(201, store.job(len(store.jobs) - 1, "accepted"))

    def job(self, store: CdsServer, path: str) -> None:
        number = int(path.split("/")[0])
        if not path.endswith("/results"):
            self.json(200, store.job(number, store.look()))
        elif store.failure:
            body = {"type": "job results failed", "title": "The job has failed", "status": 400}
            self.json(400, body | {"traceback": store.failure})
        else:
            self.json(200, store.asset(number))

    def file(self, store: CdsServer, number: int) -> None:
        # The object store is another host, which has no business with the key.
        assert "PRIVATE-TOKEN" not in self.headers
        body = store.jobs[number]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if store.tag:
            self.send_header("ETag", store.tag)
        self.end_headers()
        if self.command == "GET":
            if store.truncated > 0:
                store.truncated -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

    def json(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def serve(answer: Callable[[Inputs], bytes]) -> Iterator[CdsServer]:
    """Run a store in a thread; `answer` makes the bytes for the inputs of a request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    store = CdsServer(answer, url=f"http://127.0.0.1:{server.server_port}/api")
    server.store = store  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def grib(inputs: Inputs) -> bytes:
    """Return the fields asked for as GRIB 1, coded like the archive's monthly means."""
    latitude, longitude = grid(inputs)
    return b"".join(
        message(PARAMETERS[variable][0], time, latitude, longitude)
        for variable in inputs["variable"]
        for time in times(inputs)
    )


@contextmanager
def growing() -> Iterator[CdsServer]:
    """Run a store whose months differ from one another, and of which some are preliminary."""

    def answer(inputs: Inputs) -> bytes:
        latitude, longitude = grid(inputs)
        parts = []
        for variable in inputs["variable"]:
            for time in times(inputs):
                month = (time.year, time.month)
                weather = np.random.default_rng(month).normal(size=3) @ [
                    np.ones_like(latitude),
                    np.sin(np.radians(latitude)),
                    np.cos(3 * np.radians(latitude)),
                ]
                field = values(time, latitude, longitude) + weather[:, None]
                field += store.offset.get(month, 0) * np.cos(np.radians(5 * longitude))
                version = "0005" if month in store.preliminary else "0001"
                number = PARAMETERS[variable][0]
                parts.append(message(number, time, latitude, longitude, field, expver=version))
        return b"".join(parts)

    with serve(answer) as store:
        yield store


def message(
    parameter: int,
    time: pd.Timestamp,
    latitude: np.ndarray,
    longitude: np.ndarray,
    field: np.ndarray | None = None,
    **forecast: object,
) -> bytes:
    handle = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1")
    keys = {
        "centre": "ecmf",
        "class": "ea",
        "stream": "mnth",
        "type": "an",
        "expver": "0001",
        "paramId": parameter,
        "dataDate": int(time.strftime("%Y%m%d")),
        "dataTime": time.hour * 100,
        "Ni": longitude.size,
        "Nj": latitude.size,
        "latitudeOfFirstGridPointInDegrees": latitude[0],
        "latitudeOfLastGridPointInDegrees": latitude[-1],
        "longitudeOfFirstGridPointInDegrees": longitude[0],
        "longitudeOfLastGridPointInDegrees": longitude[-1],
        "iDirectionIncrementInDegrees": SPACING,
        "jDirectionIncrementInDegrees": SPACING,
        "bitsPerValue": 16,
    } | forecast
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    if field is None:
        field = values(time, latitude, longitude)
    eccodes.codes_set_values(handle, field.ravel())
    text = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return text


def netcdf(inputs: Inputs) -> bytes:
    """Return the fields asked for as NetCDF 4."""
    return encoded(fields(inputs))


def fields(inputs: Inputs) -> xr.Dataset:
    """Return the fields asked for, laid out like the service's conversion to NetCDF."""
    latitude, longitude = grid(inputs)
    stamps = times(inputs)
    field = np.stack([values(time, latitude, longitude) for time in stamps]).astype("float32")
    dimensions = ("valid_time", "latitude", "longitude")
    return xr.Dataset(
        {PARAMETERS[name][1]: (dimensions, field) for name in inputs["variable"]},
        coords={
            "valid_time": stamps,
            "latitude": latitude,
            "longitude": longitude,
            "number": 0,
            "expver": ("valid_time", np.full(stamps.size, "0001")),
        },
    )


def encoded(dataset: xr.Dataset) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.nc")
        dataset.to_netcdf(path, engine="netcdf4")
        return path.read_bytes()


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def grid(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    north, west, south, east = inputs.get("area", (90, -180, -90, 180 - SPACING))
    steps = [round((north - south) / SPACING) + 1, round((east - west) / SPACING) + 1]
    return north - SPACING * np.arange(steps[0]), west + SPACING * np.arange(steps[1])


def times(inputs: Inputs) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(
        [
            f"{year}-{month}-01T{hour}"
            for year in inputs["year"]
            for month in inputs["month"]
            for hour in inputs["time"]
        ]
    )


def values(time: pd.Timestamp, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return kelvins that tell the month, the hour and the place."""
    zonal = 290 - abs(latitude[:, None]) / 2 + 0 * longitude
    return zonal + time.month + time.hour / 24
