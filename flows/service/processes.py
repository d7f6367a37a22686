"""Processes that outlive the command which started them, and are stopped by a later one.

A process is known by its number and by a mark that it and all that it starts have in their
environment from the first: whatever has the number now, only what has the mark is ever stopped.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from flows.catalogue import ROOT

__all__ = ["alive", "start", "stop", "stop_all"]

MARK = "FUNCTORY_SERVICE"
"""The variable with the folder of the service that a process belongs to."""
PATIENCE = 30.0
"""Seconds that processes have to end when they are asked."""


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> int:
    """Start a command of this virtual environment in the background; return its number.

    Its output is added to the log.
    """
    program = Path(sys.executable).with_name(command[0])
    with log.open("a") as output:
        process = subprocess.Popen(
            [program, *command[1:]],
            env={**os.environ, **environment, MARK: str(folder)},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    while process.poll() is None and not alive(process.pid, folder):
        time.sleep(0.001)  # its environment may appear later than its number
    return process.pid


def alive(number: int | None, folder: Path) -> bool:
    """Tell whether a process of the service runs."""
    return _found(number, folder) is not None


def stop(number: int | None, folder: Path) -> bool:
    """Ask a process of the service to end, and kill it if it does not; return whether it ran.

    Its children come first: runs that are ended by a worker do not tell the server of it.
    """
    process = _found(number, folder)
    if process is None:
        return False
    _end(process.children())
    family = process.children(recursive=True)
    _end([process])
    _end(family)
    return True


def stop_all(folder: Path) -> int:
    """End whatever still has the mark, such as runs of a worker that was killed; count it."""
    rest = [process for process in psutil.process_iter() if _marked(process, folder)]
    _end(rest)
    return len(rest)


def _found(number: int | None, folder: Path) -> psutil.Process | None:
    if number is None:
        return None
    try:
        process = psutil.Process(number)
    except psutil.NoSuchProcess:
        return None
    return process if _marked(process, folder) else None


def _marked(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except (psutil.Error, OSError):  # dead by now, or somebody else's
        return False


def _end(processes: list[psutil.Process]) -> None:
    ask: Callable[[psutil.Process], None]
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                ask(process)
        _, processes = psutil.wait_procs(processes, PATIENCE)
