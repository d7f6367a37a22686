"""The command `functory`: run deployments in this process, and look at the store."""

import json
import logging
import os
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.catalogue import ROOT, deployments, find, override, validate
from flows.coding import codecs, decode, encode
from flows.housekeeping import doctor, gc, size
from flows.service import HEARTBEAT
from flows.service import app as service
from functory.errors import FunctoryError, InputError, StoreError
from storage.references import Record, Reference
from storage.versions import Store

__all__ = ["main"]

app = typer.Typer(
    name="functory",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Turn data into functions, and train models on the functions.\n\n"
        "A run makes versions in the store (./store, or what FUNCTORY_STORE names): signals, "
        "a base network, a functaset of modulations, a flow prior, classifiers or entropy models, "
        "a report. What is there already is not computed again.\n\n"
        "**Start with** `functory run era5/demo` or `functory run shapenet/demo`, then "
        "`functory ls` and `functory show functasets/era5-demo`. To compress files, see `functory "
        "codecs`, `functory encode --help` and `functory decode --help`."
    ),
)
console = Console(highlight=False)


@app.command(
    epilog=(
        "Examples: `functory run era5/demo`; `functory run era5/demo -p prior.flow.layers=4`; "
        '`functory run era5/files -p \'source={"kind": "files", "paths": "my/*.grib"}\'`. '
        "`prefect deployment run` takes the same names through a worker."
    )
)
def run(
    deployment: Annotated[
        str | None,
        typer.Argument(help="FLOW/DEPLOYMENT of prefect.yaml; without it, all are listed."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="KEY=VALUE",
            help="Change a parameter; VALUE is JSON (plain text may go without quotes). KEY.PART "
            "changes one value inside of a parameter.",
        ),
    ] = None,
    json_logs: Annotated[
        bool,
        typer.Option(
            "--json-logs",
            help="Log as one JSON object a line; those of stages have `stage`, `key`, `result`, "
            "`inputs`, `cached` and `seconds`.",
        ),
    ] = False,
) -> None:
    """Run a deployment of prefect.yaml here, with no server, and print its summary."""
    if deployment is None:
        _list_deployments()
        return
    chosen = find(deployment)
    parameters = override(chosen.parameters, dict(map(_change, parameter or [])))
    _set_up_prefect()
    _set_up_logs(json_logs)
    flow = chosen.flow()
    validate(flow, parameters, deployment)
    from prefect import tags  # takes seconds

    with tags(*chosen.tags):
        report = flow(**parameters)
    _print_summary(report)


@app.command()
def ls(
    kind: Annotated[
        str | None, typer.Argument(help="Only one kind: signals, functasets, priors, …")
    ] = None,
) -> None:
    """List what is in the store: the newest version of everything."""
    store = Store.default()
    names: dict[tuple[str, str], list[Record]] = {}
    for record in store.records(kind):
        names.setdefault((record.reference.kind, record.reference.name), []).append(record)
    if not names:
        console.print(f"The store {store} is empty: start with `functory run era5/demo`.")
        return
    table = Table(box=None)
    for title in ("name", "newest", "versions", "size", "made (UTC)", "what"):
        table.add_column(title, no_wrap=title != "what")
    for (of_kind, name), records in names.items():
        newest = records[-1]
        table.add_row(
            f"{of_kind}/{name}",
            f"v{newest.reference.version}",
            str(len(records)),
            size(newest.bytes),
            f"{newest.created:%Y-%m-%d %H:%M}",
            _brief(newest.summary),
        )
    console.print(table)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@vN]", help="NAME, KIND/NAME, NAME@vN or KIND/NAME@vN.")
    ],
    configuration: Annotated[
        bool, typer.Option(help="Print the whole configuration, too.")
    ] = False,
) -> None:
    """Describe versions: size, quality, parents, licence, and where they are."""
    store = Store.default()
    for record in store.find(name):
        table = Table(str(record.reference), "", box=None, header_style="bold")
        table.add_row("path", store.location(record.reference))
        table.add_row("made", f"{record.created:%Y-%m-%d %H:%M:%S} UTC by {record.stage}")
        state = "intact" if store.intact(record) else "DAMAGED: run its deployment again"
        table.add_row("size", f"{size(record.bytes)} in {len(record.files)} files, {state}")
        table.add_row("digest", record.reference.digest)
        for label, value in _flat(record.summary):
            table.add_row(label, value)
        for label, parent in record.parents.items():
            table.add_row(f"from {label}", str(parent))
        table.add_row("licence", record.licence)
        table.add_row("software", ", ".join(f"{k} {v}" for k, v in record.software.items()))
        if configuration:
            table.add_row("configuration", json.dumps(record.configuration, indent=1))
        console.print(table, soft_wrap=False)
        console.print()


app.command(
    epilog="Examples: `functory encode march.grib -o march.fct --with uk-temperature`; "
    "`functory encode photo.png -o photo.fct --with photographs --quality 1`."
)(encode)
app.command(
    epilog="Examples: `functory decode march.fct -o march.nc`; `functory decode march.fct -o "
    "ireland.nc --scale 4 --box latitude=51.4:55.4 --box longitude=-10.5:-5.4 --samples 0:24`."
)(decode)
app.command()(codecs)
app.command(
    epilog="Examples: `functory doctor` after an installation, or when a run fails for no clear "
    "reason; `functory doctor --digests` after a disk was full or broke, or a store was copied."
)(doctor)
app.command(
    epilog="Examples: `functory gc` shows what may go; `functory gc --remove` removes it; "
    "`functory gc functasets/era5-demo --keep 1 --older-than 7d`."
)(gc)

app.add_typer(service, name="service")


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"-p {text}: write KEY=VALUE.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        if value[:1] in "{[":
            raise InputError(f"-p {key}: {value} is not JSON.") from None
        return key, value


def _list_deployments() -> None:
    table = Table("deployment", "what it does", box=None)
    for deployment in deployments():
        table.add_row(deployment.name, deployment.description)
    console.print(table)


def _set_up_prefect() -> None:
    """Give Prefect a home in the project and time to start, where the user has not said else."""
    home = Store.default().root / ".prefect"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The store {home.parent} cannot be written ({error.strerror}); mend its permissions, "
            "or name another folder by FUNCTORY_STORE."
        ) from None
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        # errors are printed by this command; PREFECT_LOGGING_LEVEL=INFO shows what Prefect does
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, str(ROOT))


def _set_up_logs(as_json: bool) -> None:
    """Show what the library and the stages log, as sentences or as Prefect writes JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    if as_json:
        from prefect.logging.formatters import JsonFormatter  # takes seconds

        handler.setFormatter(JsonFormatter("default", "", "%"))
    logger = logging.getLogger("functory")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _print_summary(report: Reference) -> None:
    store = Store.default()
    record = store.record(report)
    if record is None:
        raise InputError(f"{report} has gone from the store {store}; run again.")
    table = Table(report.name, "", box=None, header_style="bold")
    for label, value in record.summary.get("table") or _flat(record.summary):
        table.add_row(label, value)
    console.print(table)
    page = store.path(report) / "index.html"
    if page.exists():
        console.print(f"report: {page}", soft_wrap=True)


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as labels and texts."""
    if isinstance(values, dict):
        return [row for k, v in values.items() for row in _flat(v, f"{prefix} {k}".strip())]
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return _flat({str(number): v for number, v in enumerate(values, start=1)}, prefix)
    if isinstance(values, float):
        return [(prefix, f"{values:.5g}")]
    if prefix == "table":
        return [(label, text) for label, text in values]
    return [(prefix, str(values))]


BRIEFLY = {
    "signals": "{} signals",
    "latents": "{} latents",
    "iou test": "test IoU {}",
    "accuracy": "accuracy {}",
    "psnr test": "test {} dB",
    "psnr_validation": "validation {} dB",
    "psnr_test": "test {} dB",
    "bits_per_dimension_test": "test {} bits/dim",
    "samples": "{} samples",
    "coded_bits_per_field": "{} bits a field",
    "compression_ratio": "ratio {}",
    "files": "{} files",
}


def _brief(summary: dict[str, Any]) -> str:
    flat = dict(_flat(summary))
    return ", ".join(text.format(flat[key]) for key, text in BRIEFLY.items() if key in flat)


def main() -> None:
    """Run the command; an error that a user can mend is one sentence and exit code 1."""
    try:
        app()
    except FunctoryError as error:
        Console(stderr=True, highlight=False).print(f"error: {error}", soft_wrap=True, markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
