"""Where a service is: its folder, its address, its store, and how its processes are set up."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from flows.catalogue import ROOT
from functory.configuration import Config
from storage.versions import Store

__all__ = ["HEARTBEAT", "Service", "home", "read", "surroundings", "write"]

HEARTBEAT = 30
"""Seconds between two signs of life of a run: the least that Prefect allows."""


class Service(Config):
    """A service of this machine, as it was started."""

    address: str
    """Of the server's API: one that this service started, or another one."""
    store: str
    """Where its runs keep their results."""
    processes: dict[str, int] = Field(default_factory=dict)
    """The server, and a worker for each work pool, with the numbers of their processes."""

    @property
    def port(self) -> int | None:
        """Where a server of our own listens; none for an address on another machine."""
        parts = urlsplit(self.address)
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost"):
            return None
        return parts.port or 80

    @property
    def page(self) -> str:
        """The address of Prefect's pages."""
        return self.address.removesuffix("/api")

    def exports(self) -> dict[str, str]:
        """Return the variables that lead Prefect's commands, and ours, to the service."""
        return {
            "PREFECT_API_URL": self.address,
            "PREFECT_HOME": str(home().parent),
            "FUNCTORY_STORE": self.store,
        }

    def environment(self) -> dict[str, str]:
        """Return the variables of the service's processes; what the user has set stays."""
        usual = {
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        }
        return self.exports() | {k: os.environ.get(k, value) for k, value in usual.items()}


def home() -> Path:
    """Return the absolute folder of Prefect's data base and of the service's logs."""
    return Path(os.environ.get("PREFECT_HOME", ROOT / ".prefect")).absolute() / "service"


def read() -> Service | None:
    """Return the service that was started, if any."""
    try:
        return Service.model_validate_json((home() / "service.json").read_text())
    except (FileNotFoundError, ValidationError):
        return None


def write(service: Service) -> None:
    """Remember a service, all at once."""
    partial = home() / "service.json.partial"
    partial.write_text(service.model_dump_json(indent=1) + "\n")
    partial.replace(home() / "service.json")


def surroundings() -> Service:
    """Return the service that is meant here: the user's variables, else as it was started."""
    started = read()
    usual = started or Service(address="http://127.0.0.1:4200/api", store=str(Store.default()))
    store = str(Store.default()) if "FUNCTORY_STORE" in os.environ else usual.store
    return usual.model_copy(
        update={"address": os.environ.get("PREFECT_API_URL", usual.address), "store": store}
    )
