"""The slides: a deck of each notebook, made from it, which opens without a network: ``make slides``."""

from __future__ import annotations

import sys
from pathlib import Path

from plotly.offline import get_plotlyjs
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import lesson_text  # noqa: E402
import slide_pages  # noqa: E402

project = "nbkit"
copyright = "the nbkit authors, Apache-2.0"

extensions = ["myst_parser", "sphinx_revealjs"]
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["myst.xref_missing"]

revealjs_style_theme = "white"
revealjs_static_path = ["static"]
revealjs_css_files = ["revealjs/plugin/highlight/zenburn.css", "slides.css"]
revealjs_script_conf = {
    "width": 1280,
    "height": 720,
    "margin": 0,
    "hash": True,
    "slideNumber": "c/t",
    "transition": "none",
}
revealjs_script_plugins = [
    {"name": "RevealHighlight", "src": "revealjs/plugin/highlight/highlight.js"},
    {"name": "RevealNotes", "src": "revealjs/plugin/notes/notes.js"},
]

slide_pages.write(lesson_text.lessons(), HERE)


def _add_plotly(app: Sphinx, failed: Exception | None) -> None:
    if failed is None:
        (Path(app.outdir) / "_static" / slide_pages.PLOTLY).write_text(get_plotlyjs(), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Put plotly.js beside the decks, for the figures that are drawn on them."""
    app.connect("build-finished", _add_plotly)
