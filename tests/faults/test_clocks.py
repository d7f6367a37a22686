"""Clocks that jump, and files from the future and the far past."""

import os
import shutil
from pathlib import Path

import pytest
from aftermath import check, published
from faulty import Undisturbed, drawn, environment, met
from installation import Installation
from outcomes import Outcome, Outcomes
from pipeline import STAGES

LIBRARIES = ["/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime"]
DAY = 24 * 3600


@pytest.mark.parametrize(
    ("first", "then"),
    [pytest.param("+0", "+40d", marks=pytest.mark.short), ("+400d", "-400d"), ("-9000d", "+0")],
)
def test_a_clock_that_jumps_in_a_run(
    first: str,
    then: str,
    installation: Installation,
    undisturbed: Undisturbed,
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """The clock of the run's process is wrong from the start, and differently from a stage on."""
    library = next((p for p in LIBRARIES if Path(p).is_dir()), None)
    if library is None:
        pytest.skip("no libfaketime here: apt-get install libfaketime")
    store, clock = tmp_path / "store", tmp_path / "clock"
    clock.write_text(first)
    stage = drawn("clock", first).choice(STAGES[1:])
    fault = undisturbed.moment(stage, "clock") | {"command": ["sh", "-c", f"echo {then} > {clock}"]}
    fake = {
        "LD_PRELOAD": f"{library}/libfaketimeMT.so.1",
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    run = installation.run(environment(store, fault, **fake))
    state = installation.ended(run)
    met(store)
    before = published(store)
    outcomes.rows.append(Outcome(f"clock {first}, then {then}", f"from {stage} on", [run]))
    assert state.is_final()
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)


@pytest.mark.parametrize("years", [30, -30])
def test_files_of_another_time(
    years: int,
    installation: Installation,
    undisturbed: Undisturbed,
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """A run is killed, and all that it left is of another time: nothing is computed twice."""
    store = tmp_path / "store"
    shutil.copytree(undisturbed.store, store)
    for record in (store / "priors").glob("*/records/*.json"):
        record.unlink()  # the prior has to be made again
    fault = undisturbed.moment("prior", "time", years) | {"kill": [""]}
    run = installation.run(environment(store, fault))
    met(store)
    before = published(store)
    for path in [store, *store.rglob("*")]:
        moment = path.stat().st_mtime + years * 365 * DAY
        os.utime(path, (moment, moment))
    outcomes.rows.append(Outcome(f"all files dated {years:+} years", "prior", [run]))
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)
