"""Chosen runs side by side: settings that differ, figures overlaid, outputs that differ."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets

from nbkit import figures
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.figures.html.report import differences_table, html_table, output_differences
from nbkit.records.run import Run


class RunComparison:
    """Redrawn when other runs are chosen."""

    def __init__(self) -> None:
        self._settings = ipywidgets.HTML()
        self._summaries = ipywidgets.HTML()
        self._bars = LiveFigure(figures.comparison({}))
        self._lines = LiveFigure(figures.overlaid_throughput({}))
        self._outputs = ipywidgets.HTML(layout={"max_height": "420px", "overflow": "auto"})
        self._parts = (self._summaries, self._settings, self._bars, self._lines, self._outputs)
        self._panels = {part: Panel(part) for part in self._parts}
        grid = ipywidgets.GridBox(
            [self._panels[part] for part in self._parts[:-1]],
            layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"},
        )
        self.widget = ipywidgets.VBox([grid, self._panels[self._outputs]])
        self.widget.add_class("nbkit-comparison")

    def show(self, runs: Mapping[str, Run]) -> None:
        """Compare these runs, by name."""
        self.widget.layout.display = None if runs else "none"
        if not runs:
            return
        self._panels[self._summaries].draw(lambda: self._show_summaries(runs))
        self._panels[self._settings].draw(lambda: self._show_settings(runs))
        self._panels[self._bars].draw(lambda: self._bars.begin(figures.comparison(runs)))
        self._panels[self._lines].draw(lambda: self._lines.begin(figures.overlaid_throughput(runs)))
        self._panels[self._outputs].draw(lambda: self._show_outputs(runs))

    def _show_summaries(self, runs: Mapping[str, Run]) -> None:
        summaries = {name: run.summary() for name, run in runs.items()}
        measures = next(iter(summaries.values()))
        rows = [
            {"": measure, **{name: _shown(summary[measure]) for name, summary in summaries.items()}}
            for measure in measures
        ]
        self._summaries.value = html_table(rows)

    def _show_settings(self, runs: Mapping[str, Run]) -> None:
        self._settings.value = "<b>Settings that differ</b>" + differences_table(runs) if len(runs) > 1 else ""

    def _show_outputs(self, runs: Mapping[str, Run]) -> None:
        if len(runs) < 2:
            self._outputs.value = ""
            return
        (first_name, first), *_, (second_name, second) = runs.items()
        self._outputs.value = output_differences(first_name, first, second_name, second)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
