"""What a check finds."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "State", "fine", "warning", "wrong"]


class State(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    WARNING = "warning"
    """Works, but not as well as it could, or not in every use."""
    WRONG = "wrong"
    """A run would fail, or results cannot be trusted."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check has seen."""

    state: State
    what: str
    cure: str = ""
    """What to do about it, in one sentence; nothing where all is fine."""


def fine(what: str) -> Finding:
    """Report what is as it should be."""
    return Finding(State.FINE, what)


def warning(what: str, cure: str) -> Finding:
    """Report what someone may want to change."""
    return Finding(State.WARNING, what, cure)


def wrong(what: str, cure: str) -> Finding:
    """Report what has to be mended."""
    return Finding(State.WRONG, what, cure)
