"""The commands `functory service up`, `down` and `env`."""

import shlex

import typer
from rich.console import Console

from flows.catalogue import ROOT
from flows.service import machine
from flows.service.settings import home, surroundings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Run deployments by schedules and from Prefect's pages, on one machine.",
)
console = Console(highlight=False, soft_wrap=True)


@app.command()
def up() -> None:
    """Start server, work pools, deployments and workers, as far as they are not there.

    Everything runs in the background, in the clone of Functory; the server listens to this machine
    only, unless PREFECT_SERVER_API_HOST says else. With the PREFECT_API_URL of a server elsewhere,
    that one is used, and only workers are started. Again, it starts what has died.
    """
    for line in machine.up():
        console.print(line)
    service = surroundings()
    console.print(
        f"\n  pages   {service.page}\n  store   {service.store}\n  logs    {home()}/*.log\n"
        f'  try     . {ROOT / ".venv/bin/activate"}; eval "$(functory service env)"\n'
        "          prefect deployment run era5/demo --watch\n"
        "  stop    make down"
    )


@app.command()
def down() -> None:
    """Stop what `up` has started, runs included, and nothing else."""
    for line in (lines := list(machine.down())):
        console.print(line)
    if not lines:
        console.print("Nothing is up.")


@app.command()
def env() -> None:
    """Print what leads Prefect's commands to the service: `eval "$(functory service env)"`."""
    for name, value in surroundings().exports().items():
        print(f"export {name}={shlex.quote(value)}")
