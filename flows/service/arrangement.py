"""What a server is told: work pools and their queues, deployments, and when a run is dead."""

import importlib.metadata
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from flows.catalogue import ROOT, Deployment, WorkPool, deployments, work_pools
from flows.service.settings import HEARTBEAT, Service

__all__ = [
    "TAG",
    "arrange",
    "connected",
    "crash_dead_runs",
    "is_at_work",
    "watch_anew",
    "worker_name",
]

TAG = "functory"
"""The tag of runs that are known to give signs of life as often as is expected of them."""
SIGN = "prefect.flow-run.heartbeat"
RUNNING = "prefect.flow-run.Running"
ENDS = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
SET_FOLDER = "prefect.deployments.steps.set_working_directory"
PENDING = {f"prefect.flow-run.{state}" for state in ("Pending", "Submitting")}


@contextmanager
def connected(service: Service) -> Iterator[Any]:
    """Talk to the server of a service."""
    from prefect import get_client  # takes seconds
    from prefect.settings import temporary_settings

    with (
        temporary_settings({"api.url": service.address}),
        get_client(sync_client=True) as client,
    ):
        yield client


def arrange(client: Any) -> None:
    """Tell a server what prefect.yaml says; what is there already is brought up to date."""
    for pool in work_pools():
        _make_pool(client, pool)
    crash_dead_runs(client)
    for deployment in deployments():
        _deploy(client, deployment)


def crash_dead_runs(client: Any) -> None:
    """Have a server say so of runs whose process, or whose worker, died without a word."""
    _crash(
        client,
        "Crash runs that give no sign of life",
        f"No sign of life for {4 * HEARTBEAT} seconds: the process or its machine has died.",
        after={RUNNING, SIGN},  # the first sign may be lost with the process that was to send it
        expect={SIGN, *ENDS},
        within=timedelta(seconds=4 * HEARTBEAT),
    )
    _crash(
        client,
        "Crash runs that never began",
        "Taken by a worker ten minutes ago, but never begun: the worker has died.",
        after=PENDING,
        expect={RUNNING, SIGN, *ENDS},
        within=timedelta(minutes=10),
    )


def _make_pool(client: Any, pool: WorkPool) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    values = {"description": pool.description, "concurrency_limit": pool.concurrency_limit}
    try:
        client.read_work_pool(pool.name)
        client.update_work_pool(pool.name, WorkPoolUpdate.model_validate(values))
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate.model_validate(
                {"name": pool.name, "type": "process", "base_job_template": template, **values}
            )
        )
    for queue in pool.queues:
        try:
            there = client.read_work_queue_by_name(queue["name"], pool.name)
        except ObjectNotFound:
            there = client.create_work_queue(queue["name"], work_pool_name=pool.name)
        client.update_work_queue(there.id, **queue)


def _crash(
    client: Any, name: str, message: str, after: set[str], expect: set[str], within: timedelta
) -> None:
    """Have the server mark runs as crashed where nothing expected has followed in time.

    An automation of that name stays as it is: another one would have forgotten what it waits for.
    """
    from prefect.events.schemas.automations import AutomationCore

    if client.read_automations_by_name(name):
        return
    trigger = {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.id": f"prefect.tag.{TAG}"},
        "after": after,
        "expect": expect,
        "for_each": {"prefect.resource.id"},
        "posture": "Proactive",
        "threshold": 1,
        "within": within,
    }
    crashed = {"type": "change-flow-run-state", "state": "CRASHED", "message": message}
    automation = {"name": name, "trigger": trigger, "actions": [crashed]}
    client.create_automation(AutomationCore.model_validate(automation))


def watch_anew(client: Any) -> None:
    """Expect a sign of life of all runs that count as begun: a server that starts forgets them."""
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.events import Event

    begun = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    chosen = FlowRunFilter.model_validate({"state": begun, "tags": {"all_": [TAG]}})
    tag = {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
    events = [
        {"event": SIGN, "resource": _resource(run), "related": [tag]}
        for run in client.read_flow_runs(flow_run_filter=chosen)
    ]
    if events:
        ready = [Event.model_validate(event).model_dump(mode="json") for event in events]
        client.request("POST", "/events", json=ready)


def _resource(run: Any) -> dict[str, str]:
    return {
        "prefect.resource.id": f"prefect.flow-run.{run.id}",
        "prefect.resource.name": run.name,
    }


def _deploy(client: Any, deployment: Deployment) -> None:
    """Make or renew a deployment, as `prefect deploy` does; leave alone what is as it should be."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.exceptions import ObjectNotFound

    flow, pool = deployment.flow(), deployment.work_pool
    values = {
        "version": importlib.metadata.version("functory"),
        "description": deployment.description,
        "tags": deployment.tags,
        "parameters": deployment.parameters,
        "parameter_openapi_schema": _form(flow.parameters.model_dump_for_openapi()),
        "enforce_parameter_schema": True,
        "entrypoint": deployment.entrypoint,
        "pull_steps": [{SET_FOLDER: {"directory": str(ROOT)}}],
        "work_pool_name": pool["name"],
        "work_queue_name": pool["work_queue_name"],
        "job_variables": pool["job_variables"],
    }
    try:
        there = client.read_deployment_by_name(deployment.name)
    except ObjectNotFound:
        there = None
    # a schedule that somebody has resumed or paused stays so
    active = {str(known.schedule): known.active for known in there.schedules} if there else {}
    timings = [CronSchedule(cron=s["cron"], timezone=s["timezone"]) for s in deployment.schedules]
    if (
        there
        and all(getattr(there, name) == value for name, value in values.items())
        and active.keys() == set(map(str, timings))
    ):
        return
    schedules = [
        DeploymentScheduleCreate(schedule=timing, active=active.get(str(timing), entry["active"]))
        for timing, entry in zip(timings, deployment.schedules, strict=True)
    ]
    client.create_deployment(
        flow_id=client.create_flow(flow),
        name=deployment.name.split("/")[1],
        schedules=schedules,
        **values,
    )


def _form(schema: Any) -> Any:
    """Return a schema with `anyOf` for `oneOf`, of which Prefect's forms make no choice."""
    if isinstance(schema, dict):
        return {"anyOf" if k == "oneOf" else k: _form(value) for k, value in schema.items()}
    return [_form(value) for value in schema] if isinstance(schema, list) else schema


def worker_name(pool: str) -> str:
    """Return the name of this machine's worker for a pool: one name, however often it starts."""
    return f"{pool}@{socket.gethostname()}"


def is_at_work(client: Any, pool: str, since: datetime) -> bool:
    """Tell whether this machine's worker for a pool has said something to the server lately."""
    return any(
        worker.name == worker_name(pool) and (worker.last_heartbeat_time or since) > since
        for worker in client.read_workers_for_work_pool(pool)
    )
