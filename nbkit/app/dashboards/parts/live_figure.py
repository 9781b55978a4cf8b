"""A plotly figure that is redrawn in place, in a notebook or a web page.

Plotly's own FigureWidget sends 5 MB of JavaScript with each figure, and after a reload
of the page shows what the figure was when it was made. Here plotly.js goes to the page
once, and what a figure shows is part of its state, so that every view of it is current.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import plotly
import plotly.graph_objects as go
import traitlets

from nbkit.figures.style import Arrays

FOLDER = Path(__file__).parent


class PlotlyLibrary(ipywidgets.Widget):  # type: ignore[misc]
    """plotly.js, compressed: an uncompressed copy would exceed what a Jupyter server passes on at once."""

    packed = traitlets.Bytes().tag(sync=True)


class LiveFigure(anywidget.AnyWidget):
    """One figure. ``begin`` gives it its form, ``show`` what its traces show.

    As long as they show nothing, a sentence stands in the place of empty axes.
    """

    _esm = FOLDER / "live_figure.js"
    _css = FOLDER / "dashboard.css"
    library = traitlets.Instance(PlotlyLibrary).tag(sync=True, **ipywidgets.widget_serialization)
    figure = traitlets.Dict().tag(sync=True)
    arrays: Any = traitlets.List().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    is_empty = traitlets.Bool().tag(sync=True)
    version = traitlets.Int().tag(sync=True)

    def __init__(self, figure: go.Figure) -> None:
        super().__init__(library=_library())
        self.begin(figure)

    def begin(self, figure: go.Figure) -> None:
        """Draw another figure in this one's place."""
        with self.hold_sync():
            self.figure = json.loads(figure.to_json())
            self.arrays = []
            self.is_empty = not _shows_anything(self.shown)
            self.title = figure.layout.title.text or ""
            self.version += 1

    def show(self, arrays: Sequence[Arrays], title: str | None = None) -> None:
        """Let the traces, in their order, show these arrays; keep the figure's form. Nothing new costs nothing."""
        title = self.title if title is None else title
        if list(arrays) == self.arrays and title == self.title:
            return
        with self.hold_sync():
            self.arrays = list(arrays)
            self.is_empty = not _shows_anything(self.shown)
            self.title = title
            self.version += 1

    def on_click(self, act: Callable[[int], None]) -> None:
        """Call ``act`` with the ``customdata`` of a point that is clicked, if it has any."""

        def take(_: object, content: dict[str, Any], __: object) -> None:
            if isinstance(clicked := content.get("clicked"), int):
                act(clicked)

        self.on_msg(take)

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The traces as they are drawn now."""
        traces: list[dict[str, Any]] = self.figure["data"]
        return [
            {**trace, **(self.arrays[number] if number < len(self.arrays) else {})}
            for number, trace in enumerate(traces)
        ]


def _shows_anything(traces: Sequence[dict[str, Any]]) -> bool:
    return any(trace.get(axis) for trace in traces for axis in ("x", "y", "z"))


@cache
def _packed() -> bytes:
    return gzip.compress((Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes(), 6)


_libraries: list[PlotlyLibrary] = []


def _library() -> PlotlyLibrary:
    """The page's one copy; a new one if somebody has closed all widgets."""
    if not _libraries or _libraries[0].comm is None:
        _libraries[:] = [PlotlyLibrary(packed=_packed())]
    return _libraries[0]
