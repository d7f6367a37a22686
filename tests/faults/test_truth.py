"""What the server says of runs whose process died; the last test, for it waits for all of them."""

import pytest
from installation import Installation
from outcomes import Outcomes


@pytest.mark.short
def test_no_run_stays_running(installation: Installation, outcomes: Outcomes) -> None:
    for outcome in outcomes.rows:
        for run in outcome.runs:
            state = installation.ended(run, 900)  # what never began is given ten minutes
            outcome.met.append(state.type.value)
            if "the run's process" in outcome.fault and outcome.where != "report":
                assert state.is_crashed(), (outcome, state.message)
    unfinished = [run for run in installation.api.read_flow_runs() if not run.state.is_final()]
    assert unfinished == []
