"""Notebooks to run: read, changed for a test where it must be, and run as a learner runs them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import stand_ins
from nbclient import NotebookClient

from nbkit.app.exercises.catalog import LESSONS
from nbkit.app.exercises.challenge import AsFastAsTheSweep
from nbkit.app.exercises.kinds import EachRank, Exercise

ROOT = Path(__file__).parents[2]
LESSONS_FOLDER = ROOT / "lessons"
TUTORIALS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
APP = "explore_app"
NAMES = [*TUTORIALS, APP]
WITH_A_MODEL = [name for name in TUTORIALS if name >= "02"]
SCORE = "lesson.score()"


def folder_of(name: str) -> Path:
    """Where a notebook is, and where it runs."""
    return LESSONS_FOLDER / "app" if name == APP else ROOT / "notebooks"


def read(name: str) -> nbformat.NotebookNode:
    """A notebook, as it is."""
    return nbformat.read(folder_of(name) / f"{name}.ipynb", as_version=4)


def read_for_the_tiny_model(name: str) -> nbformat.NotebookNode:
    """A notebook made quick, by its own switch."""
    notebook = read(name)
    notebook.cells.insert(0, nbformat.v4.new_code_cell('import os\n\nos.environ["NBKIT_QUICK"] = "1"'))
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


def put_in_wrong_answers_and_solutions(notebook: nbformat.NotebookNode, name: str) -> tuple[int, int]:
    """Before the score: a cell that answers every exercise wrongly, and one that runs the solutions; their places."""
    place = next(place for place, cell in enumerate(notebook.cells) if cell.source == SCORE)
    wrong = [f"lesson.check({exercise.name!r}, {wrong_answer(exercise)})" for exercise in LESSONS[name]]
    right = [f"%run -i ../lessons/solutions/{name}.py"]
    notebook.cells[place:place] = [nbformat.v4.new_code_cell("\n".join(lines)) for lines in (wrong, right)]
    return place, place + 1


def wrong_answer(exercise: Exercise) -> str:
    """An answer of the kind that is asked for, as code."""
    wrong = {EachRank: "[None]", AsFastAsTheSweep: '{"engine": "simple"}'}
    return wrong.get(type(exercise.kind), "1e9")


def run(notebook: nbformat.NotebookNode, name: str) -> None:
    """Run all cells; none fails, and there is a dashboard."""
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder_of(name))}}).execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    dashboards = [o for o in outputs if "application/vnd.jupyter.widget-view+json" in o.get("data", {})]
    assert dashboards, "the notebook shows its dashboard"
    assert not [o for o in outputs if o.output_type == "error"]


def printed(cells: list[nbformat.NotebookNode]) -> str:
    """What these cells printed."""
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
