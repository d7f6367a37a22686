"""Brings about faults at chosen moments of a flow run: Python loads this before anything else.

The environment says what happens when:

    FAULTS      [{"stage": 3, "change": 17, "kill": ["…"]},       before the 17th change of files
                 {"stage": 4, "seconds": 0.2, "command": ["…"]}]  that long after the stage began
    FAULT_SET   {"module": {"name": value}}, set when the first stage begins
    FAULT_LOG   what happened, a line each: what, stage, changes until then, seconds until then
    FUNCTORY_STORE    the store whose files are watched

What is killed is named by the file that holds its process id, once it is there; "" is this process.
A stage begins when it looks up its key in the store; a stage that ends before a moment of it comes
has its fault at its end.
"""

import atexit
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "os.chmod"}
WRITING = os.O_WRONLY | os.O_RDWR
KEY = re.compile(r".*/\.keys/([0-9a-f]{64})\.json")


class Moments:
    """Watches the store, and brings about the faults."""

    def __init__(self, faults: list[dict[str, Any]], log: str, store: str) -> None:
        self.faults, self.log, self.store = faults, log, store
        self.keys: list[str] = []
        self.changes = 0
        self.began = 0.0
        self.acting = threading.RLock()

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path = str(arguments[0])
            if path.startswith(self.store):
                if (arguments[2] or 0) & WRITING:
                    self.on_change()
                elif (found := KEY.match(path)) and found[1] not in self.keys:
                    self.on_stage(found[1])
        elif event in CHANGES and (
            str(arguments[0]).startswith(self.store)
            # shutil.rmtree names what it removes relative to an open folder
            or (event in ("os.remove", "os.rmdir") and arguments[-1] != -1)
        ):
            self.on_change()

    def on_stage(self, key: str) -> None:
        if self.keys:
            self.on_end()
        else:
            self.set_values()
        self.keys.append(key)
        self.changes, self.began = 0, time.monotonic()
        for fault in self.due():
            if "seconds" in fault:
                timer = threading.Timer(fault["seconds"], self.act, [fault])
                timer.daemon = True
                timer.start()

    def on_end(self) -> None:
        self.note("end")
        for fault in self.due():
            self.act(fault)

    def on_exit(self) -> None:
        if self.keys:
            with self.acting:  # a fault that has begun is brought to its end
                self.on_end()

    def on_change(self) -> None:
        self.changes += 1
        for fault in self.due():
            if fault.get("change") == self.changes:
                self.act(fault)

    def due(self) -> list[dict[str, Any]]:
        """Return the faults of this stage that have not been yet."""
        return [fault for fault in self.faults if fault["stage"] == len(self.keys) - 1]

    def act(self, fault: dict[str, Any]) -> None:
        with self.acting:
            if fault not in self.faults:
                return
            self.faults.remove(fault)
            if "command" in fault:
                subprocess.run(fault["command"], check=True)
            killed = fault.get("kill", ())
            for file in filter(None, killed):
                os.kill(process_of(file), signal.SIGKILL)
            self.note("fault")
            if "" in killed:
                os.kill(os.getpid(), signal.SIGKILL)

    def set_values(self) -> None:
        for module, values in json.loads(os.environ.get("FAULT_SET", "{}")).items():
            for name, value in values.items():
                *path, last = name.split(".")
                owner = sys.modules[module]
                for part in path:
                    owner = getattr(owner, part)
                setattr(owner, last, value)

    def note(self, what: str) -> None:
        seconds = time.monotonic() - self.began
        line = f"{what} {len(self.keys) - 1} {self.changes} {seconds:.3f}\n"
        descriptor = os.open(self.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, line.encode())
        os.close(descriptor)


def process_of(file: str) -> int:
    """Wait for the process that a file names, and take the file away."""
    while True:
        try:
            with open(file) as opened:
                process = int(opened.read())
        except FileNotFoundError:
            time.sleep(0.05)
        else:
            os.remove(file)
            return process


if "FAKETIME_TIMESTAMP_FILE" in os.environ:
    # libfaketime refuses the absolute times that Python sleeps until
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None

if "FAULT_LOG" in os.environ:
    MOMENTS = Moments(
        json.loads(os.environ.get("FAULTS", "[]")),
        os.environ["FAULT_LOG"],
        os.environ["FUNCTORY_STORE"],
    )
    sys.addaudithook(MOMENTS.on_event)
    atexit.register(MOMENTS.on_exit)
