"""The first minute of the first notebook in a real JupyterLab, and what is left of a dashboard without its kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
from lab import KERNEL_TIMEOUT_MS, write_notebook
from playwright.sync_api import expect

START_HERE = Path(__file__).parents[2] / "notebooks" / "00_start_here.ipynb"


def test_a_moved_slider_leaves_a_dot_and_a_reopened_notebook_a_sentence(lab, open_notebook):
    first_cell = next(cell for cell in nbformat.read(START_HERE, as_version=4).cells if cell.cell_type == "code")
    write_notebook(lab.folder / "first.ipynb", 'import os\n\nos.environ["NBKIT_QUICK"] = "1"', first_cell.source)
    notebook = open_notebook("first.ipynb")
    sentence, error = notebook.page.locator(".nbkit-instead"), notebook.page.get_by_text("model not found")

    notebook.run_all()
    expect(notebook.runs).to_have_count(1, timeout=KERNEL_TIMEOUT_MS)
    notebook.set_slider("batch size", 10)
    expect(notebook.runs).to_have_count(2, timeout=KERNEL_TIMEOUT_MS)
    expect(notebook.figure("Batch size 10: ")).to_be_visible()
    expect(notebook.page.get_by_text("Quick: NBKIT_QUICK is set")).to_be_visible()
    expect(sentence).to_be_hidden()

    notebook.save_and_reload()
    expect(notebook.figure("Batch size 10: ")).to_be_visible(timeout=KERNEL_TIMEOUT_MS)
    expect(sentence).to_be_hidden()

    notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.page.reload()
    expect(error).to_have_count(1, timeout=KERNEL_TIMEOUT_MS)
    expect(error).to_be_hidden()
    expect(sentence).to_be_visible()
