"""No figure of a notebook is made by what only a first call costs, seconds for each new shape on a GPU."""

from __future__ import annotations

import pytest
from notebook_runs import WITH_A_MODEL, printed, put_in_a_stand_in, read_for_the_tiny_model, run
from stand_ins import IN_TIMED_PART, first_calls_are_slow


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_first_calls_come_before_the_timed_part(name):
    notebook = read_for_the_tiny_model(name)
    put_in_a_stand_in(notebook, first_calls_are_slow)

    run(notebook, name)

    # A cell that asks for a run from cold is there to show the cost.
    warmed_up = [cell for cell in notebook.cells if "warm_up=False" not in cell.source]
    assert IN_TIMED_PART not in printed(warmed_up), printed(warmed_up)
