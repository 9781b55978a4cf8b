"""What a sweep has found, in figures: redrawn from its runs as they come."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets

from nbkit import figures
from nbkit.analysis.scaling import ScalingPoint, explain_all, points_by_series, series
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH
from nbkit.figures.html.sweep_report import has_account, of_one_schedule, with_several_ranks
from nbkit.records.run import Run

NOTHING_YET = "Nothing measured yet. Run a sweep, or load one."


class SweepResults:
    """Speed-up and efficiency of every series, where the time of one went, and what each setting brought."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._points: dict[str, list[ScalingPoint]] = {}
        self._series = ipywidgets.Dropdown(description="series", options=[], style=LABEL_WIDTH, layout=CONTROL)
        self._words = ipywidgets.HTML()
        self._speed_up = LiveFigure(figures.speed_up({}))
        self._efficiency = LiveFigure(figures.efficiency({}))
        self._lost = LiveFigure(figures.lost_time([]))
        self._gap = LiveFigure(figures.gap([]))
        self._heat = LiveFigure(figures.heat_map([]))
        self._pareto = LiveFigure(figures.pareto([]))
        parts = (self._speed_up, self._efficiency, self._words, self._lost, self._gap, self._heat, self._pareto)
        self._panels: dict[ipywidgets.Widget, Panel] = {part: Panel(part) for part in parts}
        self._series.observe(lambda _: self._show_series(), "value")
        self.widget = ipywidgets.VBox(
            [
                title("How much faster are more ranks?"),
                self._grid(self._speed_up, self._efficiency),
                title("Where did the time go?"),
                self._series,
                self._panels[self._words],
                self._grid(self._lost, self._gap),
                title("Which batch size, and at which pace for a user?"),
                self._grid(self._heat, self._pareto),
            ]
        )
        self.show([])

    def _grid(self, *parts: ipywidgets.Widget) -> ipywidgets.GridBox:
        return ipywidgets.GridBox(
            [self._panels[part] for part in parts],
            layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"},
        )

    def show(self, runs: Sequence[Run]) -> None:
        """Draw everything from these runs."""
        self._runs = list(runs)
        self._points = points_by_series(runs)
        scaled = with_several_ranks(self._points)
        self._draw(self._speed_up, lambda: figures.speed_up(scaled))
        self._draw(self._efficiency, lambda: figures.efficiency(scaled))
        self._draw(self._pareto, lambda: figures.pareto(runs))
        chosen, labels = self._series.value, list(self._points)
        self._series.options = labels
        self._series.value = chosen if chosen in labels else next(iter(labels), None)
        self._show_series()

    def _show_series(self) -> None:
        points = self._points.get(self._series.value, [])
        own = series(self._runs).get(self._series.value, [])
        for figure in (self._lost, self._gap):
            self._panels[figure].layout.display = None if has_account(points) else "none"
        self._draw(self._lost, lambda: figures.lost_time(points))
        self._draw(self._gap, lambda: figures.gap(points))
        self._draw(self._heat, lambda: figures.heat_map(of_one_schedule(self._runs, own[0]) if own else []))
        said = explain_all(points) or [NOTHING_YET if not own else "One number of ranks so far."]
        self._words.value = "".join(f"<div class='nbkit-status'>{html.escape(line)}</div>" for line in said)

    def _draw(self, figure: LiveFigure, make: Callable[[], object]) -> None:
        self._panels[figure].draw(lambda: figure.begin(make()))


def title(text: str) -> ipywidgets.HTML:
    """The heading of a part of a dashboard."""
    return ipywidgets.HTML(f"<h3 class='nbkit-title'>{html.escape(text)}</h3>")
