"""A source that breaks off, lies, is late, repeats itself, or never answers."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cds_server
import pytest
from aftermath import check, digests, published
from cds_server import KEY, CdsServer, Handler, Inputs
from faulty import environment
from installation import Installation, until
from outcomes import Outcome, Outcomes
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelling

PARAMETERS = {"source": {"kind": "cds", "years": [2019, 2020], "hours": [0]}}
SILENCE = 2  # seconds that the client bears
STALLS = SILENCE + 2
# What the code says, but in seconds instead of minutes; which retries there are stays as it is.
HASTE = (
    '{"tasks.acquire": {"acquire.task.retry_delay_seconds": [1, 1, 1, 1]}, '
    f'"functory.sources.cds_client": {{"REQUEST_TIMEOUT": {SILENCE}}}}}'
)
Answer = Callable[[CdsServer, Inputs], bytes]


def well(cds: CdsServer, inputs: Inputs) -> bytes:
    return cds_server.grib(inputs)


def page(cds: CdsServer, inputs: Inputs) -> bytes:
    return b"<!DOCTYPE html><html><body>We are back soon</body></html>"


def cut(cds: CdsServer, inputs: Inputs) -> bytes:
    cds.truncated = 1
    return well(cds, inputs)


def damaged(cds: CdsServer, inputs: Inputs) -> bytes:
    return well(cds, inputs)[:-40]


def silent(cds: CdsServer, inputs: Inputs) -> bytes:
    time.sleep(STALLS)
    return well(cds, inputs)


def stalled(cds: CdsServer, inputs: Inputs) -> bytes:
    return b"stall" + well(cds, inputs)


def unavailable(cds: CdsServer, inputs: Inputs) -> bytes:
    cds.unavailable = 1
    return well(cds, inputs)


def late(cds: CdsServer, inputs: Inputs) -> bytes:
    cds.polls = 3
    return well(cds, inputs)


def other_variable(cds: CdsServer, inputs: Inputs) -> bytes:
    both = ["2m_temperature", "10m_u_component_of_wind"]
    return well(cds, inputs | {"variable": both})


def other_month(cds: CdsServer, inputs: Inputs) -> bytes:
    return well(cds, inputs | {"month": inputs["month"][:-1]})


def same_job(cds: CdsServer, inputs: Inputs) -> bytes:
    return well(cds, inputs | {"year": ["2019"]})


def fields_twice(cds: CdsServer, inputs: Inputs) -> bytes:
    return 2 * well(cds, inputs)


def file_in_halves(handler: Handler, store: CdsServer, number: int) -> None:
    """Send half of a file that is to stall, and nothing more; other files as always."""
    body = store.jobs[number]
    if not body.startswith(b"stall"):
        send_whole(handler, store, number)
        return
    body = body.removeprefix(b"stall")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        time.sleep(STALLS)


send_whole = Handler.file


@dataclass
class Service:
    """A Climate Data Store that does what is planned for each request, and then well."""

    cds: CdsServer
    plan: list[Answer] = field(default_factory=list)

    def answer(self, inputs: Inputs) -> bytes:
        return (self.plan.pop(0) if self.plan else well)(self.cds, inputs)

    def environment(self, store: Path) -> dict[str, str]:
        account = {"CDSAPI_URL": self.cds.url, "CDSAPI_KEY": KEY}
        return environment(store, FAULT_SET=HASTE, **account)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch, cds_server.serve(cds_server.grib) as cds:
        patch.setattr(Handler, "file", file_in_halves)
        service = Service(cds)
        cds.answer = service.answer
        yield service


@pytest.fixture(scope="module")
def expected(
    running: Installation, service: Service, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return what a run makes of a source that behaves."""
    running.mend()
    store = tmp_path_factory.mktemp("behaved") / "store"
    running.completes(service.environment(store), PARAMETERS)
    return digests(store)


def one_sentence(message: str | None) -> bool:
    text = (message or "").removeprefix("Flow run encountered an exception: ")
    return 0 < len(text) < 700 and "\n" not in text and "Traceback" not in text


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param((unavailable, cut, page, damaged), marks=pytest.mark.short),
        (stalled, silent, late, cut),
    ],
    ids=["broken", "slow"],
)
def test_what_passes(
    plan: tuple[Answer, ...],
    installation: Installation,
    service: Service,
    expected: dict[str, str],
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """Each try of one run meets another fault, and the last one ends right."""
    store = tmp_path / "store"
    service.plan = list(plan)
    run = installation.run(service.environment(store), PARAMETERS)
    state = installation.ended(run)
    assert state.is_completed(), state.message
    assert service.plan == []
    for fault in plan:
        outcomes.rows.append(Outcome(f"source: {name_of(fault)}", "acquire", [run], "not needed"))
    check(store, [], expected)


def name_of(fault: Any) -> str:
    return str(fault.__name__).replace("_", " ")


def test_what_is_not_what_was_asked_for(
    installation: Installation,
    service: Service,
    expected: dict[str, str],
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """Refused in one sentence, at once, and nothing of it is kept."""
    store = tmp_path / "store"
    for fault in (other_variable, other_month, same_job):
        # the first year is there from the first run on, once it was right
        service.plan = [fault] if (store / "downloads").exists() else [well, fault]
        run = installation.run(service.environment(store), PARAMETERS)
        state = installation.ended(run)
        outcomes.rows.append(Outcome(f"source: {name_of(fault)}", "acquire", [run]))
        assert state.is_failed(), state
        assert one_sentence(state.message), state.message
        assert published(store) == []
    installation.completes(service.environment(store), PARAMETERS)
    check(store, [], expected)


def test_fields_that_come_twice(
    installation: Installation,
    service: Service,
    expected: dict[str, str],
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """The file is another one, but what is made of it is the same."""
    store = tmp_path / "store"
    service.plan = [fields_twice, fields_twice]
    run = installation.run(service.environment(store), PARAMETERS)
    state = installation.ended(run)
    assert state.is_completed(), state.message
    outcomes.rows.append(Outcome("source: fields twice", "acquire", [run], "not needed"))
    check(store, [], {kind: digest for kind, digest in expected.items() if kind != "raw"})


def test_what_never_comes(
    installation: Installation,
    service: Service,
    expected: dict[str, str],
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """A service that is silent fails the run; a job that waits for ever can be cancelled."""
    store = tmp_path / "store"
    service.plan = 5 * [silent]
    run = installation.run(service.environment(store), PARAMETERS)
    outcomes.rows.append(Outcome("source: never answers", "acquire", [run]))
    state = installation.ended(run)
    assert state.is_failed(), state
    assert one_sentence(state.message), state.message
    service.plan = []
    service.cds.polls = 10**9
    asked = len(service.cds.asked)
    run = installation.run(service.environment(store), PARAMETERS)
    outcomes.rows.append(Outcome("source: job never ends, cancelled", "acquire", [run]))
    until(lambda: len(service.cds.asked) > asked, what="the request")
    installation.api.set_flow_run_state(run, Cancelling())
    state = installation.ended(run)
    assert state.type == StateType.CANCELLED
    service.cds.polls = 0
    installation.completes(service.environment(store), PARAMETERS)
    check(store, [], expected)
