"""Functory as a service on one machine: Prefect's server, work pools, deployments and workers."""

from flows.service.commands import app
from flows.service.machine import has_gpu
from flows.service.settings import HEARTBEAT

__all__ = ["HEARTBEAT", "app", "has_gpu"]
