"""Prefect's server, whose event loop never has to collect garbage.

An error of SQLite leaves cursors in cycles of references, and whoever collects a cursor waits while
a statement runs on its connection. The statement may be waiting in turn for a transaction that only
the event loop can end: were it the event loop that collects, nothing would move until SQLite loses
its patience. Prefect 3.8.8 stood still for a minute or two in 3 of 24 runs.
"""

import gc
import sys
import threading
import time

EVERY = 1.0
"""Seconds between two collections of what is young; all is collected once a minute."""


def collect() -> None:
    """Collect garbage for ever, in place of the threads that make it."""
    for second in range(sys.maxsize):
        time.sleep(EVERY)
        gc.collect(1 if second % 60 else 2)


def serve() -> None:
    """Do what `prefect server start` does, with the same options."""
    gc.disable()
    threading.Thread(target=collect, name="garbage", daemon=True).start()

    from prefect.cli import app  # takes seconds

    sys.argv[:1] = ["prefect", "server", "start"]
    app()


if __name__ == "__main__":
    serve()
