"""Notebooks to run: read, changed for a test where it must be, and run as a learner runs them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import stand_ins
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
TUTORIALS = [name for name in NAMES if name[:2].isdigit()]
WITH_A_MODEL = [name for name in TUTORIALS if name >= "02"]
# The tiny model's tokens are letters, and its context is short.
SHORTER_PROMPTS = {
    "05_limits": {"mean_words=60": "mean_words=30"},
    "06_faster": {"prompts(len(prompts), 30,": "prompts(len(prompts), 5,"},
}


def read(name: str) -> nbformat.NotebookNode:
    """A notebook, as it is."""
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def read_for_the_tiny_model(name: str) -> nbformat.NotebookNode:
    """A notebook, changed in the line that names the model, and in prompts that the tiny one has no room for."""
    notebook = read(name)
    if name in WITH_A_MODEL:
        replace_once(notebook, 'MODEL = "smollm2-135m"', 'MODEL = "tiny-random"')
    for written, in_the_test in SHORTER_PROMPTS.get(name, {}).items():
        replace_once(notebook, written, in_the_test)
    return notebook


def replace_once(notebook: nbformat.NotebookNode, written: str, instead: str) -> None:
    """Change a piece of code that stands in one cell only."""
    [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and written in cell.source]
    cell.source = cell.source.replace(written, instead)


def put_in_a_number_of_ranks(notebook: nbformat.NotebookNode, ranks: int) -> None:
    """Change the notebook's line that starts the workers."""
    replace_once(notebook, "workers = nbkit.Workers()", f"workers = nbkit.Workers({ranks})")


def put_in_a_stand_in(notebook: nbformat.NotebookNode, stand_in: Callable[[bool], None]) -> None:
    """Have all ranks that the notebook starts take up a function of ``stand_ins``, by a first cell."""
    source = f"""
        import sys, nbkit
        sys.path.append({str(Path(stand_ins.__file__).parent)!r})
        nbkit.Workers.preload += ("{stand_in.__module__}:{stand_in.__name__}",)
    """
    notebook.cells.insert(0, nbformat.v4.new_code_cell(textwrap.dedent(source)))


def run(notebook: nbformat.NotebookNode) -> None:
    """Run all cells; none fails, and there is a dashboard."""
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    dashboards = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert dashboards, "the notebook shows its dashboard"
    assert not [o for o in outputs if o.output_type == "error"]


def printed(cells: list[nbformat.NotebookNode]) -> str:
    """What these cells printed."""
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
