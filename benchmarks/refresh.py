"""What one new month costs on a long record, against the same month on a record of one year.

Records are served by a Climate Data Store on the loopback interface, in a process of its own, and
refreshed in real stores by the flow's function: fields of 46x90 for each hour of the day. The first
run of each record learns next to nothing, which no later run looks at. Each refresh is a process of
its own, after a first one whose month is not counted. Prints the CPU seconds of the refresh and of
opening what it extends, and the ratio that the project asks for:

    (month on the long record) / (month on one year + opening of the long record)
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests/functory/sources"
FIRST_YEAR = 1980
LATENTS, WIDTH, DEPTH = 16, 64, 5  # small: the dearer the fit, the less the rest counts


def parameters(years: int) -> dict[str, Any]:
    optimisation = {"steps": 2, "batch": 8, "rate": 1e-3, "evaluate_every": 1}
    return {
        "name": f"years-{years}",
        "source": {"kind": "cds", "first_year": FIRST_YEAR},
        # as many months test, however long the record is
        "preparation": {"split": {"method": "time", "test": f"{FIRST_YEAR + years - 1}-07"}},
        "metalearn": {
            "network": {"latents": LATENTS, "width": WIDTH, "depth": DEPTH},
            "points": 256,
            "tangent": None,
            "optimisation": optimisation,
        },
        "prior": {"flow": {"layers": 4, "width": 64}, "optimisation": optimisation},
        "drift": {"false_alarms": 1e-9},  # a network that has learned nothing is not judged
    }


def serve(connection: Connection, spacing: float) -> None:
    """Serve as many months as the other end says, until it says none."""
    sys.path.insert(0, str(TESTS))
    import cds_server

    cds_server.SPACING = spacing
    with cds_server.growing() as server:
        connection.send((server.url, cds_server.KEY))
        while count := connection.recv():
            server.months = [(FIRST_YEAR + i // 12, i % 12 + 1) for i in range(count)]
            connection.send(count)


def refresh(store: Path, years: int) -> dict[str, float]:
    """Refresh in a process of its own; return its CPU seconds."""
    arguments = [sys.executable, __file__, "--refresh", str(years)]
    done = subprocess.run(
        arguments, env=os.environ | {"FUNCTORY_STORE": str(store)}, stdout=subprocess.PIPE
    )
    done.check_returncode()
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(years: int) -> None:
    """Refresh the record of so many years, after its newest versions were opened."""
    import xarray as xr

    from flows.monthly import era5
    from storage.versions import Store

    store, name = Store.default(), f"years-{years}"
    begin = time.process_time()
    for kind in ("signals", "functasets"):
        records = store.records(kind, name)
        if records:
            xr.open_zarr(store.path(records[-1].reference), chunks=None)
    opened = time.process_time()
    era5.fn(**era5.validate_parameters(parameters(years)))
    done = time.process_time()
    print(json.dumps({"open": opened - begin, "refresh": done - opened}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--years", type=int, nargs="+", default=[1, 10, 40])
    parser.add_argument("--months", type=int, default=5, help="new months that are measured")
    parser.add_argument("--refresh", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.refresh is not None:
        measure(arguments.refresh)
        return
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, 4.0), daemon=True)
    server.start()
    os.environ["CDSAPI_URL"], os.environ["CDSAPI_KEY"] = ours.recv()
    rows: dict[int, tuple[float, float]] = {}
    print("years  fields  open (s)  one month (s)  ratio")
    for years in arguments.years:
        with tempfile.TemporaryDirectory() as folder:
            measured = []
            for month in range(arguments.months + 2):
                ours.send(12 * years + month)
                ours.recv()
                measured.append(refresh(Path(folder), years))
            rows[years] = tuple(
                sorted(row[part] for row in measured[2:])[arguments.months // 2]
                for part in ("open", "refresh")
            )  # type: ignore[assignment]
        opening, month = rows[years]
        ratio = month / (rows[arguments.years[0]][1] + opening)
        print(
            f"{years:5}  {288 * years:6}  {opening:8.3f}  {month:13.3f}  {ratio:5.2f}", flush=True
        )
    ours.send(0)
    server.join()


if __name__ == "__main__":
    main()
