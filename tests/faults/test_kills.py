"""`kill -9` of the run's process, of the worker, of the server, and of all at once."""

from pathlib import Path
from typing import Any

import pytest
from aftermath import check, check_intact, published
from faulty import Undisturbed, environment, met
from installation import Installation
from outcomes import Outcome, Outcomes
from pipeline import STAGES

WHAT = {
    ("run",): "kill -9 of the run's process",
    ("worker",): "kill -9 of the worker",
    ("worker", "run"): "kill -9 of the worker and the run's process",
    ("server", "worker", "run"): "kill -9 of the server, the worker and the run's process",
}
SOME = ("prepare", "fit_all", "entropy")
short = pytest.mark.short


def case(killed: str, stages: tuple[str, ...], seed: int, *marks: pytest.MarkDecorator) -> Any:
    return pytest.param(tuple(killed.split("+")), stages, seed, marks=marks, id=f"{killed}-{seed}")


CASES = [
    case("run", ("metalearn", "report"), 0, short),
    case("worker", ("prior",), 0, short),
    case("server+worker+run", ("complete_signals",), 0, short),
    case("run", STAGES, 1),
    case("run", STAGES, 2),
    case("worker", STAGES, 3),
    case("worker+run", STAGES, 4),
    case("server+worker+run", SOME, 5),
]


def victims(installation: Installation, killed: tuple[str, ...]) -> list[str]:
    """Name what is to be killed as the hook wants it; its own process has to be the last."""
    return ["" if name == "run" else str(installation.pid_file(name)) for name in killed]


@pytest.mark.parametrize(("killed", "stages", "seed"), CASES)
def test_deaths(
    killed: tuple[str, ...],
    stages: tuple[str, ...],
    seed: int,
    installation: Installation,
    undisturbed: Undisturbed,
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """Each run dies in another stage, later than the one before, and the next goes on at once."""
    store = tmp_path / "store"
    for number, stage in enumerate(stages):
        fault = undisturbed.moment(stage, seed) | {"kill": victims(installation, killed)}
        run = installation.run(environment(store, fault))
        outcomes.rows.append(Outcome(WHAT[killed], stage, [run]))
        met(store, number + 1)
        before = published(store)
        installation.mend()
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)


@pytest.mark.parametrize(
    ("stages", "seed"),
    [pytest.param(("fit_all",), 0, marks=short), (STAGES, 1), (STAGES, 2)],
    ids=["0", "1", "2"],
)
def test_deaths_of_the_server(
    stages: tuple[str, ...],
    seed: int,
    installation: Installation,
    undisturbed: Undisturbed,
    tmp_path: Path,
    outcomes: Outcomes,
) -> None:
    """The run lives on without its server, which dies in one stage after the other."""
    store = tmp_path / "store"
    kill = {"kill": victims(installation, ("server",))}
    faults = [undisturbed.moment(stage, "server", seed) | kill for stage in stages]
    run = installation.run(environment(store, *faults))
    for number, stage in enumerate(stages):
        outcomes.rows.append(Outcome("kill -9 of the server", stage, [run]))
        met(store, number + 1)
        before = published(store)
        installation.mend()
        check_intact(store, before)
    installation.ended(run)
    installation.completes(environment(store))
    check(store, before, undisturbed.digests)
