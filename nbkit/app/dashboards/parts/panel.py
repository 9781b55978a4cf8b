"""Panel: a part of a dashboard that shows its own error and leaves the others alive."""

from __future__ import annotations

import html
import traceback
from collections.abc import Callable, Sequence

import ipywidgets

from nbkit.errors import NbkitError

TWO_COLUMNS = "repeat(auto-fit, minmax(max(min(400px, 100%), 34%), 1fr))"
"""For grids of panels: two beside each other where there is room, never three."""


def control_grid(controls: Sequence[ipywidgets.Widget]) -> ipywidgets.GridBox:
    """Controls in as many columns as there is room for, one on a narrow page."""
    columns = "repeat(auto-fit, minmax(min(340px, 100%), 1fr))"
    return ipywidgets.GridBox(
        list(controls), layout={"grid_template_columns": columns, "grid_gap": "2px 16px", "width": "100%"}
    )


class Panel(ipywidgets.VBox):  # type: ignore[misc]
    """One widget, and below it what went wrong when it was last drawn."""

    def __init__(self, widget: ipywidgets.Widget) -> None:
        self._problem = ipywidgets.HTML()
        super().__init__([widget, self._problem], layout={"min_width": "0"})
        self._problem.layout.display = "none"

    def draw(self, act: Callable[[], None]) -> None:
        """Draw; an error becomes text in the panel's place, until it can be drawn again."""
        try:
            act()
        except Exception as error:
            self._show_problem(error)
        else:
            self._problem.layout.display = "none"

    def _show_problem(self, error: Exception) -> None:
        self._problem.value = f"<div class='nbkit-problem'>{html.escape(in_words(error))}</div>"
        self._problem.layout.display = None


def in_words(error: BaseException) -> str:
    """An error for the person at the dashboard: the kit's own words, or what it was and where."""
    if isinstance(error, NbkitError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename.rsplit('/', 1)[-1]}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
