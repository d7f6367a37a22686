"""What all faults share: one installation of Prefect, an undisturbed run, and the table."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from aftermath import digests
from faulty import Stage, Undisturbed, environment, log_of
from installation import ROOT, Installation, until
from outcomes import Outcomes
from pipeline import STAGES, TINY

PAGE = ROOT / "docs" / "reliability.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-table", action="store_true", help="write docs/reliability.md's table")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect nothing here unless it is asked for: it takes an hour."""
    return None if "faults" in config.option.markexpr else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker("faults")


OUTCOMES = pytest.StashKey[Outcomes]()
PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = Outcomes()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    outcomes = config.stash[OUTCOMES]
    if not outcomes.rows:
        return
    terminalreporter.section("faults and their outcomes")
    terminalreporter.write_line(outcomes.table())
    terminalreporter.write_line(outcomes.summary())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """Return the table of the session; what a test adds counts as right only if it passes."""
    outcomes = request.config.stash[OUTCOMES]
    there = len(outcomes.rows)
    yield outcomes
    if not request.node.stash.get(PASSED, False):
        for row in outcomes.rows[there:]:
            row.again = "**not as it should be**"
    if request.config.getoption("--write-table", False):
        outcomes.write(PAGE)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Start a server and a worker, and deploy the flow `era5` with tiny parameters."""
    installation = Installation(tmp_path_factory.mktemp("prefect"))
    try:
        installation.start_server()
        installation.deploy(TINY)
        installation.start_worker()
        yield installation
    finally:
        installation.stop()


@pytest.fixture
def installation(running: Installation) -> Installation:
    """Return the installation with all of its processes alive."""
    running.mend()
    return running


@pytest.fixture(scope="session")
def undisturbed(running: Installation, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Run the deployment once with no fault; return what it made, and what each stage took."""
    running.mend()
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    running.completes(environment(store))
    return Undisturbed(store, digests(store), stages_of(store))


def stages_of(store: Path) -> dict[str, Stage]:
    """Return what the stages of a run took, from what the hook has noted."""
    log = log_of(store)
    last = f"end {len(STAGES) - 1} "
    until(lambda: last in log.read_text(), what="the end of the run's process")
    notes = [line.split() for line in log.read_text().splitlines()]
    ends = {int(n[1]): Stage(int(n[2]), float(n[3])) for n in notes if n[0] == "end"}
    return {name: ends[number] for number, name in enumerate(STAGES)}
