"""Processes that train together: one decision, one error."""

import json
from pathlib import Path

import pytest
import torch
from together import diverge_in_one, fail_in_one, note_listeners

from functory.distributed import average, by_first, is_first, launch, share, weight
from functory.errors import DivergenceError


def test_one_process_alone_has_the_whole_batch_and_changes_nothing() -> None:
    batch, value = torch.arange(5), torch.tensor(2.0, requires_grad=True)
    value.square().backward()
    assert share(batch) is batch
    assert weight(2, 5) == 1.0
    assert average(value, [value]) is value
    assert value.grad == 4
    assert is_first()
    assert by_first(lambda: 3) == 3


@pytest.mark.slow
def test_all_restart_where_one_diverges(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match=r"^test: the loss diverges at step 8 even at 0\.125"):
        launch(2, diverge_in_one, tmp_path)
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["restarts"] == 1


@pytest.mark.slow
def test_what_fails_in_one_process_is_shown_with_its_place() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)Process 1 terminated .*KeyError: 'planted'"):
        launch(2, fail_in_one)


@pytest.mark.slow
def test_nothing_listens_to_other_machines(tmp_path: Path) -> None:
    launch(2, note_listeners, tmp_path / "addresses")
    assert set(json.loads((tmp_path / "addresses").read_text())) == {"127.0.0.1"}
