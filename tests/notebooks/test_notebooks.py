"""Every notebook runs top to bottom, as a learner would run it, and is true where devices differ from those here."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from notebook_runs import (
    NAMES,
    NOTEBOOKS,
    TUTORIALS,
    WITH_A_MODEL,
    printed,
    put_in_a_number_of_ranks,
    put_in_a_stand_in,
    read,
    read_for_the_tiny_model,
    run,
)
from stand_ins import auto_is_bfloat16

# Each of their calls of the model has its like in 05, which runs on the model that learners use, or in the engines'
# tests.
ON_THE_TINY_MODEL = ("02_one_prompt_at_a_time", "03_batches", "04_scaling", "06_faster")


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_top_to_bottom(name):
    notebook = read_for_the_tiny_model(name) if name in ON_THE_TINY_MODEL else read(name)

    run(notebook)

    if name == "06_faster":
        assert "float32: 40 of 40 texts are the same in 4 schedules" in printed(notebook.cells)
        assert "not on this device" not in printed(notebook.cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_notebook_is_true_where_ranks_compute_in_bfloat16(name):
    """As on a GPU: texts part with the batch's shape, and no cell may take them for the same."""
    notebook = read_for_the_tiny_model(name)
    put_in_a_stand_in(notebook, auto_is_bfloat16)

    run(notebook)

    if name in ("03_batches", "06_faster"):
        assert "bfloat16: " in printed(notebook.cells)
        assert "float32: " in printed(notebook.cells)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("name", TUTORIALS)
def test_notebook_is_true_with_other_numbers_of_ranks(name, ranks):
    """One, as with one GPU; and three."""
    notebook = read_for_the_tiny_model(name)
    put_in_a_number_of_ranks(notebook, ranks)

    run(notebook)

    # A cell that raises ends the run: the last one was reached.
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


def test_there_are_the_four_first_notebooks():
    assert NAMES[:4] == ["00_start_here", "01_hello_gather", "02_one_prompt_at_a_time", "03_batches"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_no_outputs_and_short_cells(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert not any(cell.outputs for cell in code)
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 20, cell.source


def test_notebooks_are_in_step_with_their_text_twins():
    checked = subprocess.run([sys.executable, NOTEBOOKS / "pair.py", "--check"], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
