"""The command `functory`: what it teaches, what it shows, and how it refuses."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr
from pipeline import TINY, options
from pydantic import PositiveInt
from rich.console import Console

from flows.catalogue import deployments
from flows.cli import main
from functory.configuration import Config
from storage.versions import Store
from tasks.stage import Outcome, Work, stage

COMMAND = str(Path(sys.executable).with_name("functory"))
KINDS = [
    "completions",
    "entropy-models",
    "functasets",
    "networks",
    "priors",
    "raw",
    "reports",
    "samples",
    "signals",
]


def call(store: Path, server: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, on the session's server."""
    ours = {"FUNCTORY_STORE": str(store), "PREFECT_API_URL": server, "COLUMNS": "120"}
    environment = os.environ | ours
    return subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture
def functory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Call the command in this process; return its exit code, output and errors."""
    monkeypatch.setattr("flows.cli.console", Console(highlight=False, width=200))

    def run(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["functory", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, *capsys.readouterr()

    return run


# What it shows


def test_help_teaches(functory: Any) -> None:
    code, output, _ = functory("--help")
    assert code == 0
    for word in ("era5/demo", "FUNCTORY_STORE", "run", "ls", "show"):
        assert word in output
    code, output, _ = functory("run", "--help")
    assert code == 0
    assert "KEY=VALUE" in output
    assert "prior.flow.layers=4" in output


def test_run_alone_lists_the_deployments(functory: Any) -> None:
    code, output, _ = functory("run")
    assert code == 0
    for deployment in deployments():
        assert deployment.name in output
    assert {"era5/demo", "era5/files", "era5/coinpp-46x90", "era5/functa-181x360"} <= {
        deployment.name for deployment in deployments()
    }


def test_an_empty_store_says_how_to_start(functory: Any, store: Store) -> None:
    code, output, _ = functory("ls")
    assert code == 0
    assert "functory run era5/demo" in " ".join(output.split())
    assert not store.root.exists()


@pytest.fixture(scope="module")
def demo(
    server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Run the demo, overridden to take seconds."""
    store = tmp_path_factory.mktemp("demo") / "store"
    return store, call(store, server, "run", "era5/demo", *options(TINY))


@pytest.fixture
def filled(demo: tuple[Path, Any], store: Store) -> Store:
    """Give the test a store in which the demo has run."""
    shutil.copytree(demo[0], store.root)
    return store


def test_a_run_ends_with_its_table_and_page(demo: tuple[Path, Any]) -> None:
    store, done = demo
    assert done.returncode == 0, done.stderr
    for label in ("signals", "test PSNR", "test RMSE", "compression ratio", "prior, test"):
        assert re.search(rf"^ *{label} ", done.stdout, re.MULTILINE), label
    page = re.search(r"^report: (.*)$", done.stdout.strip().splitlines()[-1])
    assert page is not None
    assert Path(page[1]) == store / "reports/tiny/v1/index.html"
    assert "<html" in Path(page[1]).read_text()
    assert "metalearn: networks/tiny@v1 published" in done.stderr
    assert "meta-learning: 100%" in done.stderr


def test_ls_lists_the_newest_of_everything(functory: Any, filled: Store) -> None:
    code, output, _ = functory("ls")
    assert code == 0
    rows = {line.split()[0]: line for line in output.splitlines()[1:]}
    assert list(rows) == [f"{kind}/tiny" for kind in KINDS]
    assert all(" v1 " in row for row in rows.values())
    assert "24 signals, 4 latents" in rows["functasets/tiny"]
    assert re.search(r"test [\d.]+ dB", rows["functasets/tiny"])
    _, output, _ = functory("ls", "priors")
    assert [line.split()[0] for line in output.splitlines()[1:]] == ["priors/tiny"]


def test_show_describes_a_version(functory: Any, filled: Store) -> None:
    (record,) = filled.find("functasets/tiny")
    code, output, _ = functory("show", "functasets/tiny@v1")
    assert code == 0
    assert output.startswith("functasets/tiny@v1") or output.startswith(" functasets/tiny@v1")
    unwrapped = re.sub(r"\s+", "", output)
    for text in (
        str(filled.path(record.reference)),
        record.reference.digest,
        f"{len(record.files)} files, intact",
        "from signals signals/tiny@v1",
        "from network networks/tiny@v1",
        record.licence,
        "psnr test",
        "torch",
    ):
        assert text.replace(" ", "") in unwrapped, text
    _, output, _ = functory("show", "functasets/tiny", "--configuration")
    assert '"chunk": 4' in output


def test_show_describes_all_of_a_name(functory: Any, filled: Store) -> None:
    code, output, _ = functory("show", "tiny")
    assert code == 0
    for kind in KINDS:
        assert re.search(rf"^ *{kind}/tiny@v1", output, re.MULTILINE), kind


def test_show_tells_of_damage(functory: Any, filled: Store) -> None:
    (record,) = filled.find("reports/tiny")
    (filled.path(record.reference) / "index.html").unlink()
    _, output, _ = functory("show", "reports/tiny")
    assert "DAMAGED" in output


# What it collects


class Counting(Config):
    """How far is counted."""

    to: PositiveInt


@stage("numbers", version=1)
def count(work: Work, config: Counting) -> Outcome:
    """Write a number, and note outside of the store that it was done."""
    with (work.store.root.parent / "computed").open("a") as file:
        file.write(f"{config.to} ")
    work.result.mkdir()
    (work.result / "number").write_text(f"{config.to:1000}")
    return Outcome("CC0-1.0")


def count_elsewhere(*numbers: int) -> None:
    """Run the stage in processes that end: this one goes on using what it has found."""
    for number in numbers:
        arguments = ("some", Counting(to=number))
        process = multiprocessing.get_context("fork").Process(target=count.plain, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == 0


def test_gc_shows_what_may_go_and_then_removes_it(functory: Any, store: Store) -> None:
    count_elsewhere(1, 2, 3)
    code, output, _ = functory("gc", "--older-than", "0d")
    assert code == 0
    assert "Nothing may go" in output
    command = ("gc", "numbers/some", "--keep", "1", "--older-than", "0d")
    code, output, _ = functory(*command)
    assert code == 0
    for number in (1, 2):
        assert re.search(
            rf"^ *numbers/some@v{number} +1 kB +1 kB +0 days old", output, re.MULTILINE
        )
    assert "v3" not in output
    assert "2 kB would come free: add --remove" in output
    assert len(store.records()) == 3
    code, output, _ = functory(*command, "--remove")
    assert code == 0
    assert "2 kB freed." in output
    assert [str(record.reference) for record in store.records()] == ["numbers/some@v3"]
    _, output, _ = functory(*command, "--remove")
    assert "Nothing may go" in output


def test_what_was_collected_is_computed_again(functory: Any, store: Store) -> None:
    count_elsewhere(1, 2, 1)
    computed = store.root.parent / "computed"
    assert computed.read_text() == "1 2 "
    functory("gc", "--keep", "1", "--older-than", "0d", "--remove")
    assert [record.reference.version for record in store.records()] == [2]
    count_elsewhere(1, 1, 2)
    assert computed.read_text() == "1 2 1 "
    assert [record.reference.version for record in store.records()] == [2, 3]
    assert all(store.intact(record) for record in store.records())


def test_gc_without_a_store(functory: Any, store: Store) -> None:
    code, output, _ = functory("gc", "--remove")
    assert code == 0
    assert "Nothing may go" in output
    assert not store.root.exists()


# How it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "era5/nowhere"], "no deployment 'era5/nowhere'; there are era5/demo, "),
        (["run", "era5/demo", "-p", "source={kind: demo}"], "source: {kind: demo} is not JSON"),
        (["run", "era5/demo", "-p", "name"], "write KEY=VALUE"),
        (["run", "era5/demo", "-p", "name.first=x"], "has no part 'first'"),
        (["show", "nothing"], "has no nothing; it has nothing yet"),
        (["show", "No Name"], "names no version"),
        (["gc", "nothing"], "has no nothing; it has nothing yet"),
        (["gc", "nothing@v1"], "is one version"),
        (["gc", "--keep", "0"], "--keep 0: write at least 1"),
        (["gc", "--older-than", "soon"], "--older-than soon: write"),
    ],
)
def test_wrong_words(functory: Any, store: Store, arguments: list[str], message: str) -> None:
    code, output, errors = functory(*arguments)
    assert code == 1
    assert output == ""
    assert message in errors
    assert errors.count("\n") == 1
    assert not store.root.exists()


def test_the_exit_code_of_the_process(store: Store) -> None:
    done = subprocess.run([COMMAND, "run", "era5/nowhere"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no deployment")


def test_a_store_of_a_newer_schema(functory: Any, filled: Store) -> None:
    (filled.root / "SCHEMA").write_text("99\n")
    code, _, errors = functory("ls")
    assert code == 1
    assert "schema 99" in errors
    assert "upgrade Functory" in errors


def write_grib(path: Path) -> None:
    """Write two fields of 2 m temperature."""
    message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
    eccodes.codes_set(message, "shortName", "2t")
    with path.open("wb") as file:
        for day in (20200101, 20200102):
            eccodes.codes_set(message, "dataDate", day)
            values = 280 + np.arange(eccodes.codes_get_size(message, "values")) / 100
            eccodes.codes_set_values(message, values)
            eccodes.codes_write(message, file)
    eccodes.codes_release(message)


def cut(folder: Path) -> str:
    whole = folder / "whole.grib"
    write_grib(whole)
    assert xr.open_dataset(whole, engine="cfgrib", indexpath="")["t2m"].sizes["time"] == 2
    path = folder / "cut.grib"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    return str(path)


def without_the_variable(folder: Path) -> str:
    path = folder / "other.nc"
    grid = {"latitude": np.linspace(90, -90, 5), "longitude": np.arange(0, 360, 90)}
    times = np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]")
    field = (("time", "latitude", "longitude"), np.full((2, 5, 4), 280.0), {"units": "K"})
    xr.Dataset({"skt": field}, {"time": times, **grid}).to_netcdf(path)
    return str(path)


@dataclass(frozen=True)
class Refusal:
    """What is left of a command that was refused."""

    store: Store
    code: int
    errors: str


IN_TURN = """
import json, os, sys
from flows.cli import main

for os.environ["FUNCTORY_STORE"], sys.argv[1:] in json.loads(sys.argv[1]):
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code, file=sys.stderr, flush=True)
"""


def change(key: str, value: Any) -> list[str]:
    return ["-p", f"{key}={json.dumps(value)}"]


@pytest.fixture(scope="module")
def refusals(server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refusal]:
    """Give what must be refused only after the libraries are loaded to one process, in turn."""
    folder = tmp_path_factory.mktemp("refusals")

    def files(path: str) -> list[str]:
        return change("source", {"kind": "files", "paths": path, "variables": "t2m"})

    cases = {
        "unknown key": change("metalearn.network.lattents", 4),
        "latents": change("metalearn.network.latents", 0),
        "missing file": files(str(folder / "missing.nc")),
        "cut": files(cut(folder)),
        "variable": files(without_the_variable(folder)),
        "split": change("preparation.split.train", 17),
    }
    stores = {case: folder / case.replace(" ", "-") for case in cases}
    command = ["run", "era5/demo", *options(TINY)]
    calls = [(str(stores[case]), [*command, *changes]) for case, changes in cases.items()]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(calls)],
        env={**os.environ, "PREFECT_API_URL": server},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    parts = re.findall(r"(.*?)^exit code (.*?)$\n", done.stderr, re.MULTILINE | re.DOTALL)
    return {
        case: Refusal(Store(stores[case]), int(code), errors)
        for case, (errors, code) in zip(cases, parts, strict=True)
    }


@pytest.mark.parametrize(
    ("case", "messages"),
    [
        ("unknown key", ["metalearn.network.lattents", "not a known key"]),
        ("latents", ["metalearn.network.latents", "greater than 0"]),
        ("missing file", ["no such file", "missing.nc"]),
        ("cut", ["cut.grib", "truncated"]),
        ("variable", ["other.nc", "no variable 't2m'", "skt"]),
    ],
)
def test_bad_input_is_one_sentence_and_publishes_nothing(
    refusals: dict[str, Refusal], case: str, messages: list[str]
) -> None:
    refusal = refusals[case]
    assert refusal.code == 1
    (sentence,) = refusal.errors.splitlines()
    assert sentence.startswith("error: ")
    for message in messages:
        assert message in sentence
    assert refusal.store.records() == []
    assert list(refusal.store.root.glob(".work/*")) == []


def test_too_few_signals_publish_no_signals(refusals: dict[str, Refusal]) -> None:
    refusal = refusals["split"]
    assert refusal.code == 1
    assert "Traceback" not in refusal.errors
    assert "17 + 4 + 4 = 25 signals, but there are 24" in refusal.errors.splitlines()[-1]
    assert {record.reference.kind for record in refusal.store.records()} == {"raw"}
    assert list(refusal.store.root.glob(".work/*")) == []
