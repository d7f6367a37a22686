"""Checks of an installation and a store: each finding with its cure."""

from flows.doctor.examination import examine
from flows.doctor.findings import Finding, State

__all__ = ["Finding", "State", "examine"]
