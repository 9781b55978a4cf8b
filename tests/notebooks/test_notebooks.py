"""Every notebook runs top to bottom, as a learner would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
# Each of their calls of the model has its like in 05, which runs on the model that learners use, or in the engines' tests.
ON_THE_TINY_MODEL = ("02_one_prompt_at_a_time", "03_batches", "04_scaling", "06_faster")
# Its tokens are letters, and its context is short.
SHORTER_PROMPTS = {"06_faster": {"prompts(40, 30,": "prompts(40, 5,"}}


@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_top_to_bottom(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    if name in ON_THE_TINY_MODEL:
        put_in_the_tiny_model(notebook)
    for written, in_the_test in SHORTER_PROMPTS.get(name, {}).items():
        replace_once(notebook, written, in_the_test)

    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    dashboards = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert dashboards, "the notebook shows its dashboard"
    assert not [o for o in outputs if o.output_type == "error"]


def put_in_the_tiny_model(notebook: nbformat.NotebookNode) -> None:
    """Change the notebook's line that names the model, and no other."""
    replace_once(notebook, 'MODEL = "smollm2-135m"', 'MODEL = "tiny-random"')


def replace_once(notebook: nbformat.NotebookNode, written: str, instead: str) -> None:
    """Change a piece of code that stands in one cell only."""
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and written in cell.source]
    cell.source = cell.source.replace(written, instead)


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
