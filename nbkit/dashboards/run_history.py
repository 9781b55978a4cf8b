"""The explore dashboard's memory: a table of the runs so far, and their throughput side by side."""

from __future__ import annotations

import ipywidgets
import plotly.graph_objects as go

from nbkit import figures
from nbkit.records import Run
from nbkit.report import html_table


class RunHistory:
    """Grows by a row and a pair of bars with each run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._table = ipywidgets.HTML()
        self._comparison = go.FigureWidget(figures.comparison({}))
        panel = ipywidgets.VBox([self._table, self._comparison])
        self._accordion = ipywidgets.Accordion([panel], titles=["Runs so far"], selected_index=0)
        self.widget = ipywidgets.VBox()

    def add(self, run: Run) -> None:
        """Add a run, finished or stopped."""
        self.runs.append(run)
        self.widget.children = (self._accordion,)
        named = {_name(number, run): run for number, run in enumerate(self.runs, 1)}
        self._table.value = html_table([{"run": number, **r.summary()} for number, r in enumerate(self.runs, 1)])
        new = figures.comparison(named)
        with self._comparison.batch_update():
            for trace, drawn in zip(self._comparison.data, new.data, strict=True):
                trace.update(x=drawn.x, y=drawn.y)
            self._comparison.layout.title.text = new.layout.title.text


def _name(number: int, run: Run) -> str:
    batch = "" if run.settings.engine == "simple" else f" {run.settings.batch_size}"
    return f"{number}: {run.settings.engine}{batch}, {run.world_size}w"
