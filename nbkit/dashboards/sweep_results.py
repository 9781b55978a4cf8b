"""What a sweep has found, in figures: redrawn from its runs as they come."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets

from nbkit import figures
from nbkit.analysis.scaling import series
from nbkit.dashboards.live_figure import LiveFigure
from nbkit.dashboards.panel import TWO_COLUMNS, Panel
from nbkit.dashboards.workers_control import CONTROL, LABEL_WIDTH
from nbkit.records import Run
from nbkit.sweep.terminal import MeasuredSeries, measured_series
from nbkit.sweep_report import of_one_schedule, with_several_ranks

NOTHING_YET = "Nothing measured yet. Run a sweep, or load one."


class SweepResults:
    """Speed-up and efficiency of every series, where the time of one went, and what each setting brought."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._measured: dict[str, MeasuredSeries] = {}
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
        self._measured = measured_series(runs)
        scaled = with_several_ranks({label: own.points for label, own in self._measured.items()})
        self._draw(self._speed_up, lambda: figures.speed_up(scaled))
        self._draw(self._efficiency, lambda: figures.efficiency(scaled))
        self._draw(self._pareto, lambda: figures.pareto(runs))
        chosen, labels = self._series.value, list(self._measured)
        self._series.options = labels
        self._series.value = chosen if chosen in labels else next(iter(labels), None)
        self._show_series()

    def _show_series(self) -> None:
        measured = self._measured.get(self._series.value, MeasuredSeries([]))
        own = series(self._runs).get(self._series.value, [])
        has_account = measured.why_no_account is None
        for figure, make in ((self._lost, figures.lost_time), (self._gap, figures.gap)):
            self._panels[figure].layout.display = None if has_account else "none"
            self._draw(figure, partial(make, measured.points if has_account else []))
        self._draw(self._heat, lambda: figures.heat_map(of_one_schedule(self._runs, own[0]) if own else []))
        said = measured.in_words or [NOTHING_YET if not own else "One number of ranks so far."]
        self._words.value = "".join(f"<div class='nbkit-status'>{html.escape(line)}</div>" for line in said)

    def _draw(self, figure: LiveFigure, make: Callable[[], object]) -> None:
        self._panels[figure].draw(lambda: figure.begin(make()))


def title(text: str) -> ipywidgets.HTML:
    """The heading of a part of a dashboard."""
    return ipywidgets.HTML(f"<h3 class='nbkit-title'>{html.escape(text)}</h3>")
