"""Sphinx builds these pages of Markdown, docstrings, executed notebooks and ``benchmarks/results``: ``make docs``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import api_pages  # noqa: E402
import measured  # noqa: E402

import nbkit  # noqa: E402

project = "nbkit"
version = release = nbkit.__version__
copyright = "the nbkit authors, Apache-2.0"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
myst_enable_extensions = ["substitution", "colon_fence"]
myst_heading_anchors = 3
myst_substitutions = measured.figures()
exclude_patterns = ["_build", "notebooks/results", "README.md", "slides", "handout"]

html_theme = "furo"
html_title = "nbkit"
html_extra_path = ["start_here.svg"]  # a notebook shows it by HTML

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False

# Of a cell's outputs what a page can show without a kernel: a widget's picture or sentence, not the widget.
nb_execution_mode = "cache"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # a cell's `!command` is no Python


def _bring_in() -> None:
    """What the pages are made of beside the Markdown: notebooks, measurements, the public names."""
    notebooks, results, api = (HERE / name for name in ("notebooks", "results", "api"))
    for folder in (notebooks, results, api):
        shutil.rmtree(folder, ignore_errors=True)  # no page of an earlier version stays
        folder.mkdir()
    for notebook in sorted((HERE.parent / "notebooks").glob("[0-9]*.ipynb")):
        (notebooks / notebook.name).write_text(notebook.read_text().replace("../docs/", "../"))
    # Notebooks link to them.
    shutil.copytree(HERE.parent / "lessons" / "solutions", HERE / "lessons" / "solutions", dirs_exist_ok=True)
    measured.write_result_pages(results)
    api_pages.write(api)


_bring_in()
