"""The commands `doctor` and `gc`: what is wrong with an installation, and what may go."""

from collections import Counter
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.doctor import Finding, State, examine
from functory.errors import InputError
from storage.garbage import collect
from storage.retention import Retention
from storage.versions import Store

__all__ = ["doctor", "gc", "size"]

RETENTION = Retention()
console = Console(highlight=False)


def doctor(
    digests: Annotated[
        bool,
        typer.Option(
            "--digests",
            help="Read every file in the store and compare its digest with the record: finds what "
            "a disk has lost silently, and takes as long as reading the store.",
        ),
    ] = False,
) -> None:
    """Check the installation and the store, and say how to mend what is wrong.

    Looks at Python, the libraries, the device, the store, Prefect's settings and server, and
    whether there are credentials; changes nothing, and shows no secret. The exit code is 1 if
    something is **wrong**; a **warning** is worth reading, but a run would work.
    """
    found = list(examine(digests))
    console.print(_findings(found))
    counts = Counter(finding.state for _, finding in found)
    console.print(f"\nwrong: {counts[State.WRONG]}, warnings: {counts[State.WARNING]}")
    if counts[State.WRONG]:
        raise typer.Exit(1)


def _findings(found: list[tuple[str, Finding]]) -> Table:
    styles = {State.FINE: "green", State.WARNING: "yellow", State.WRONG: "bold red"}
    table = Table("", "", "", box=None, show_header=False)
    last = ""
    for subject, finding in found:
        what = Text(finding.what, overflow="fold")
        if finding.cure:
            what.append(f"\n→ {finding.cure}", style="bold")
        table.add_row(
            "" if subject == last else subject, Text(finding.state, styles[finding.state]), what
        )
        last = subject
    return table


def gc(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND/]NAME",
            help="Only versions of these; without any, also unfinished work of dead processes, and "
            "downloads that no version shares.",
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option(help="How many of the newest versions of a name stay, however old.")
    ] = RETENTION.keep,
    older_than: Annotated[
        str, typer.Option(metavar="DAYS", help="What is younger stays; write 7d for seven days.")
    ] = f"{RETENTION.older_than.days}d",
    remove: Annotated[bool, typer.Option("--remove", help="Do it; else it is only shown.")] = False,
) -> None:
    """Collect garbage: show, or remove, what nothing in the store needs any more.

    Versions stay that are among the newest of their name, younger than `--older-than`, or in use by
    a running process, and so does all that they were made from. What goes is made again when a run
    needs it and its source still has the data. Versions share unchanged files: removing one may
    free less than its size. Programs that read a version by its path alone are not seen.
    """
    store = Store.default()
    found = collect(store, _retention(keep, older_than), names or [], remove)
    if not found:
        console.print(f"Nothing may go from the store {store}.", soft_wrap=True)
        return
    table = Table(box=None)
    for title in ("what", "size", "frees", "why"):
        table.add_column(title, no_wrap=title != "why")
    for garbage in found:
        table.add_row(garbage.what, size(garbage.size), size(garbage.freed), garbage.why)
    console.print(table)
    freed = size(sum(garbage.freed for garbage in found))
    done = f"{freed} freed." if remove else f"{freed} would come free: add --remove to do it."
    console.print(f"\n{done}")


def _retention(keep: int, older_than: str) -> Retention:
    try:
        return Retention.model_validate({"keep": keep, "older_than": older_than})
    except ValidationError as error:
        problem = error.errors()[0]
        option = f"--{problem['loc'][0]}".replace("_", "-")
        raise InputError(
            f"{option} {problem['input']}: write at least 1 after --keep, and a number of days, as "
            "in 30d, after --older-than."
        ) from None


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
