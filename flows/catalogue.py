"""The catalogue: what prefect.yaml says of deployments and of the work pools that they go to."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError, create_model

from functory.errors import InputError

__all__ = [
    "ROOT",
    "Deployment",
    "WorkPool",
    "deployments",
    "find",
    "override",
    "validate",
    "work_pools",
]

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "prefect.yaml"


@dataclass(frozen=True)
class Deployment:
    """One runnable configuration."""

    name: str
    """As Prefect knows it: FLOW/DEPLOYMENT."""
    entrypoint: str
    description: str
    parameters: dict[str, Any]
    schedules: list[dict[str, Any]]
    tags: list[str]
    work_pool: dict[str, Any]
    """The name of the work pool that its runs go to, the queue, and what they are started with."""

    def flow(self) -> Any:
        """Import the flow."""
        module, function = self.entrypoint.removesuffix(".py").split(":")
        name = module.removesuffix(".py").replace("/", ".")
        return getattr(importlib.import_module(name), function)


@dataclass(frozen=True)
class WorkPool:
    """Where runs wait for a worker."""

    name: str
    description: str
    concurrency_limit: int
    """How many of its runs there may be at once, over all workers."""
    queues: list[dict[str, Any]]
    """Names, priorities (1 goes first) and limits."""


def deployments() -> list[Deployment]:
    """Read the deployments."""
    return [
        Deployment(
            name=f"{entry['entrypoint'].split(':')[1]}/{entry['name']}",
            entrypoint=entry["entrypoint"],
            description=" ".join(entry["description"].split()),
            parameters=entry["parameters"],
            schedules=entry.get("schedules", []),
            tags=entry["tags"],
            work_pool=entry["work_pool"],
        )
        for entry in _catalogue()["deployments"]
    ]


def work_pools() -> list[WorkPool]:
    """Read the work pools."""
    return [WorkPool(**entry) for entry in _catalogue()["definitions"]["work_pools"]]


def _catalogue() -> Any:
    with CATALOGUE.open() as stream:
        return yaml.safe_load(stream)


def find(name: str) -> Deployment:
    """Return the deployment of a name.

    Raises
    ------
    InputError
        If there is none; lists what there is.
    """
    known = {deployment.name: deployment for deployment in deployments()}
    if name not in known:
        raise InputError(f"There is no deployment '{name}'; there are {', '.join(known)}.")
    return known[name]


def override(parameters: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with changes; `a.b` changes one value inside of `a`."""
    result = dict(parameters)
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        if not rest:
            result[first] = value
            continue
        inside = result.get(first, {})
        if not isinstance(inside, Mapping):
            raise InputError(f"-p {key}: {first} is {inside!r} and has no part '{rest}'.")
        result[first] = override(inside, {rest: value})
    return result


def validate(flow: Any, parameters: Mapping[str, Any], label: str) -> None:
    """Check parameters against a flow's signature before anything is started.

    Raises
    ------
    InputError
        If a parameter is unknown, missing or wrong: says which, and what it may be.
    """
    signature = inspect.signature(flow.fn, eval_str=True)
    fields: dict[str, Any] = {
        name: (p.annotation, ... if p.default is p.empty else p.default)
        for name, p in signature.parameters.items()
    }
    model = create_model("Parameters", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        model.model_validate(dict(parameters))
    except ValidationError as error:
        raise InputError(f"{label}: {'; '.join(map(_sentence, error.errors()))}.") from None


def _sentence(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{where} is not a known key; see `functory run --help` and prefect.yaml"
    if problem["type"] == "missing":
        return f"{where} is missing"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{where}: {message.removeprefix('value error, ')}, but it is {problem['input']!r}"
