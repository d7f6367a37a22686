"""`kill -9` at any moment, then the same command again: nothing is lost but the last steps."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mortal import Moment, counted, start, steps
from pipeline import STAGES, TINY, options

from storage.versions import Store

TRAINED = ("metalearn", "prior", "entropy")
INTERVAL = 3  # steps between checkpoints in the tiny configuration


def run(store: Path, death: Moment | None = None) -> None:
    """Run the main job in a process that ends as it should: killed, or well."""
    process = start(TINY, store, death)
    process.join()
    assert process.exitcode == (0 if death is None else -signal.SIGKILL), death


def digests(store: Path) -> dict[str, str]:
    return {r.reference.kind: r.reference.digest for r in Store(store).records()}


def check_published(store: Path, before: dict[str, str]) -> dict[str, str]:
    """Check that all that is published is intact, and nothing has gone; return what there is."""
    home = Store(store)
    assert all(home.intact(record) for record in home.records())
    now = digests(store)
    assert len(home.records()) == len(now), "a result was published twice"
    assert before.items() <= now.items()
    return now


def check_tidy(store: Path) -> None:
    """Check that no unfinished work is left, and that HEADs name the newest versions."""
    assert list(store.glob(".work/*")) == []
    for record in Store(store).records():
        home = store / record.reference.kind / record.reference.name
        assert (home / "HEAD").read_text() == f"v{record.reference.version}\n"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    run(store)
    return store


def moments(undisturbed: Path, seed: int) -> list[Moment]:
    """Draw moments in every stage, in order: twice a step in those that train, then a change."""
    draw = random.Random(seed)
    counts = counted(undisturbed)
    drawn = []
    for stage in STAGES:
        count = counts[stage]
        if stage in TRAINED:
            first = draw.randint(1, count["step"])
            # at least these many are left to the next process, and to the third
            drawn.append(Moment(stage, "step", first))
            drawn.append(Moment(stage, "step", draw.randint(1, count["step"] + 1 - first)))
        saved = 2 * count["step"] // INTERVAL  # changes that a resumed process has made already
        drawn.append(Moment(stage, "change", draw.randint(1, count["change"] - saved)))
    return drawn


def test_kills_in_every_stage(undisturbed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    published: dict[str, str] = {}
    deaths = moments(undisturbed, seed=1)
    for death in deaths:
        run(store, death)
        published = check_published(store, published)
        done = STAGES.index(death.stage)
        assert len(published) in (done, done + 1)
    run(store)
    assert check_published(store, published) == digests(undisturbed)
    check_tidy(store)
    for stage in TRAINED:
        kills = sum(death.stage == stage for death in deaths)
        repeated = steps(store)[stage] - steps(undisturbed)[stage]
        assert 0 <= repeated <= kills * INTERVAL


def test_kills_at_any_time(undisturbed: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    draw = random.Random(2)
    published: dict[str, str] = {}
    killed = 0
    while killed < 8:
        process = start(TINY, store)
        process.join(timeout=draw.uniform(0.02, 2))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        published = check_published(store, published)
        if process.exitcode == 0:
            break
    run(store)
    assert check_published(store, published) == digests(undisturbed)
    check_tidy(store)


def test_a_kill_of_the_command(undisturbed: Path, server: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [Path(sys.executable).with_name("functory"), "run", "era5/demo", *options(TINY)]
    environment = {**os.environ, "FUNCTORY_STORE": str(store), "PREFECT_API_URL": server}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        while not any(store.glob(".work/*/checkpoint.safetensors")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.001)
        time.sleep(random.Random(3).uniform(0, 0.2))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    published = check_published(store, {})
    assert {"raw", "signals"} <= set(published)
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "prepare: signals/tiny@v1 is there already" in again.stderr
    assert check_published(store, published) == digests(undisturbed)
    check_tidy(store)
