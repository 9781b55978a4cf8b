"""Every notebook runs top to bottom, as a learner would run it, and is true where devices differ from those here."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from notebook_runs import (
    LESSONS,
    LESSONS_FOLDER,
    NAMES,
    ROOT,
    SCORE,
    TUTORIALS,
    WITH_A_MODEL,
    folder_of,
    printed,
    put_in_a_number_of_ranks,
    put_in_a_stand_in,
    put_in_wrong_answers_and_solutions,
    read,
    read_for_the_tiny_model,
    run,
)
from stand_ins import auto_is_bfloat16

# Each of their calls of the model has its like in 05, which runs on the model that learners use, or in the engines'
# tests.
ON_THE_TINY_MODEL = [name for name in TUTORIALS if name != "05_limits"]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_top_to_bottom(name):
    """And each exercise of it, in its three states: not tried, as its cell stands; wrong; and right, by the solutions."""
    notebook = read_for_the_tiny_model(name) if name in ON_THE_TINY_MODEL else read(name)
    places = put_in_wrong_answers_and_solutions(notebook, name) if name in LESSONS else ()

    run(notebook, name)

    if name in LESSONS:
        wrong, right = ([notebook.cells[place]] for place in places)
        assert_every_exercise_has_three_states(name, notebook, wrong, right)
    if name == "06_faster":
        assert "float32: 40 of 40 texts are the same in 4 schedules" in printed(notebook.cells)
        assert "not on this device" not in printed(notebook.cells)


def assert_every_exercise_has_three_states(name, notebook, wrong, right):
    count = len(LESSONS[name])
    before = printed([cell for cell in notebook.cells if cell not in (*wrong, *right)])
    assert before.count("Not tried yet") == count
    assert "Not yet" not in before
    assert "Right" not in before
    assert printed(wrong).count("Not yet") == count, printed(wrong)
    assert printed(right).count("Right") == count, printed(right)
    scored = printed([cell for cell in notebook.cells if cell.source == SCORE])
    assert f"{name}: {count} of {count} right" in scored


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_notebook_is_true_where_ranks_compute_in_bfloat16(name):
    """As on a GPU: texts part with the batch's shape, and no cell may take them for the same."""
    notebook = read_for_the_tiny_model(name)
    put_in_a_stand_in(notebook, auto_is_bfloat16)

    run(notebook, name)

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

    run(notebook, name)

    # A cell that raises ends the run: the last one was reached.
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)


def test_notebooks_have_neither_twins_nor_scripts_beside_them():
    assert list((ROOT / "notebooks").rglob("*.py")) == []
    assert (LESSONS_FOLDER / "app" / "explore_app.ipynb").is_file()
    assert TUTORIALS[:4] == ["00_start_here", "01_hello_gather", "02_one_prompt_at_a_time", "03_batches"]


@pytest.mark.parametrize("name", TUTORIALS)
def test_links_lead_to_files(name):
    cells = "\n".join(cell.source for cell in read(name).cells)
    links = re.findall(r'\]\(((?!https?:)[^)]+)\)|src="([^"]+)"|%run -i ([^`\n]+)', cells)
    assert [link for link in map("".join, links) if not (folder_of(name) / link).is_file()] == []


def test_every_lesson_has_solutions_and_every_solution_a_lesson():
    assert sorted(path.stem for path in (LESSONS_FOLDER / "solutions").iterdir()) == sorted(LESSONS)


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_no_outputs_and_short_cells(name):
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert not any(cell.outputs for cell in code)
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 20, cell.source


def test_notebooks_are_in_step_with_their_text_twins():
    checked = subprocess.run([sys.executable, LESSONS_FOLDER / "pair.py", "--check"], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout + checked.stderr
