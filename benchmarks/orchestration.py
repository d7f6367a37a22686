"""What Prefect costs: the demo as a flow against the same stages as plain functions.

Both run in one process, on the same configuration, each into an empty store; the start of the
temporary server is not counted. Prints the seconds of both and their ratio.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from flows import era5 as module
from flows.catalogue import find, override
from tasks.stage import Stage


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as store, patch.dict(os.environ, FUNCTORY_STORE=store):
        call()
    return time.perf_counter() - start


def plainly(parameters: dict[str, Any]) -> None:
    """Run the flow's own function with every stage called without Prefect."""
    from pydantic import validate_call

    with (
        patch.object(Stage, "__call__", Stage.plain),
        patch.object(module, "show_report", lambda report: None),
    ):
        validate_call(module.era5.fn)(**parameters)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, help="shorten all trainings to this many steps")
    arguments = parser.parse_args()
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    parameters = find("era5/demo").parameters
    if arguments.steps is not None:
        trainings = ("metalearn", "prior", "entropy_models.flow")
        shorter = {f"{name}.optimisation.steps": arguments.steps for name in trainings}
        parameters = override(parameters, shorter)

    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        timed(lambda: plainly(parameters))  # imports and caches of the first run
        plain = timed(lambda: plainly(parameters))
        flow = timed(lambda: module.era5(**parameters))
    print(f"plain functions {plain:.1f} s, as a flow {flow:.1f} s, ratio {flow / plain:.3f}")


if __name__ == "__main__":
    main()
