"""Two runs of one deployment at once, on one store."""

from pathlib import Path

import pytest
from aftermath import check, published
from faulty import Undisturbed, environment, met
from installation import Installation
from outcomes import Outcome, Outcomes


def test_two_runs_of_the_same(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """One computes, the other waits for it: each result is published once."""
    store = tmp_path / "store"
    runs = [installation.run(environment(store)) for _ in range(2)]
    for run in runs:
        state = installation.ended(run)
        assert state.is_completed(), state.message
    outcomes.rows.append(Outcome("two runs at once", "same name", runs))
    check(store, [], undisturbed.digests)


@pytest.mark.short
def test_two_runs_under_different_names(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    store = tmp_path / "store"
    runs = [installation.run(environment(store), {"name": name}) for name in ("one", "two")]
    for run in runs:
        state = installation.ended(run)
        assert state.is_completed(), state.message
    outcomes.rows.append(Outcome("two runs at once", "different names", runs))
    # the name stands in the report
    expected = {kind: digest for kind, digest in undisturbed.digests.items() if kind != "reports"}
    for name in ("one", "two"):
        check(store, [], expected, name)


def test_one_of_two_dies(
    installation: Installation, undisturbed: Undisturbed, tmp_path: Path, outcomes: Outcomes
) -> None:
    """The other takes up what the dead one left, and no third run is needed."""
    store = tmp_path / "store"
    fault = undisturbed.moment("metalearn", "two") | {"kill": [""]}
    dying = installation.run(environment(store, fault))
    other = installation.run(environment(store))
    met(store)
    before = published(store)
    state = installation.ended(other)
    assert state.is_completed(), state.message
    outcomes.rows.append(Outcome("kill -9 of one of two runs at once", "metalearn", [dying]))
    check(store, before, undisturbed.digests)
