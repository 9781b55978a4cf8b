"""Chosen runs side by side: measures against a baseline, settings and outputs that differ, figures overlaid."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets

from nbkit import figures
from nbkit.analysis.comparison import in_times, ratios_to
from nbkit.app.dashboards.parts.batch_player import BatchPlayer
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH
from nbkit.figures.html.player import grids_of
from nbkit.figures.html.report import differences_table, html_table, output_differences
from nbkit.records.run import Run
from nbkit.records.run_tables import shown_names


class RunComparison:
    """Redrawn when other runs are chosen, or another baseline."""

    def __init__(self) -> None:
        self._runs: Mapping[str, Run] = {}
        self._picked: Run | None = None
        self._baseline = ipywidgets.Dropdown(description="baseline", style=LABEL_WIDTH, layout=CONTROL)
        self._baseline.observe(self._on_baseline, "value")
        self._summaries = ipywidgets.HTML()
        self._settings = ipywidgets.HTML()
        self._bars = LiveFigure(figures.comparison({}))
        self._lines = LiveFigure(figures.overlaid_throughput({}))
        self._outputs = ipywidgets.HTML(layout={"max_height": "420px", "overflow": "auto"})
        self._race = BatchPlayer()
        self._parts = (self._summaries, self._settings, self._bars, self._lines, self._outputs)
        self._panels = {part: Panel(part) for part in self._parts}
        grid = ipywidgets.GridBox(
            [self._panels[part] for part in self._parts[:-1]],
            layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"},
        )
        self._panels[self._race] = Panel(self._race)
        heading = ipywidgets.HTML(
            "<div class='nbkit-heading'>The baseline and the newest other run on one clock</div>"
        )
        self._racing = ipywidgets.VBox([heading, self._panels[self._race]])
        self.widget = ipywidgets.VBox([self._baseline, grid, self._racing, self._panels[self._outputs]])
        self.widget.add_class("nbkit-comparison")

    def show(self, runs: Mapping[str, Run], baseline: str | None) -> None:
        """Compare these runs, by name, with this one of them, unless another was picked that is still there."""
        self.widget.layout.display = None if runs else "none"
        if not runs:
            return
        picked = next((name for name, run in runs.items() if run is self._picked), None)
        self._runs = runs
        self._baseline.layout.display = None if len(runs) > 1 else "none"
        self._baseline.unobserve(self._on_baseline, "value")
        self._baseline.options = list(runs)
        self._baseline.value = picked or baseline or next(iter(runs))
        self._baseline.observe(self._on_baseline, "value")
        self._panels[self._lines].draw(lambda: self._lines.begin(figures.overlaid_throughput(runs)))
        self._show_against(self._baseline.value)

    def _on_baseline(self, change: Mapping[str, str]) -> None:
        self._picked = self._runs[change["new"]]
        self._show_against(change["new"])

    def _show_against(self, baseline: str) -> None:
        runs = self._runs
        self._panels[self._summaries].draw(lambda: self._show_summaries(baseline))
        self._panels[self._settings].draw(self._show_settings)
        told = baseline if len(runs) > 1 else None
        self._panels[self._bars].draw(lambda: self._bars.begin(figures.comparison(runs, told)))
        self._panels[self._outputs].draw(lambda: self._show_outputs(baseline))
        self._panels[self._race].draw(lambda: self._show_race(baseline))

    def _show_summaries(self, baseline: str) -> None:
        summaries = {name: shown_names(run.summary()) for name, run in self._runs.items()}
        ratios = ratios_to(baseline, summaries)
        heads = {
            name: f"{name} (baseline)" if name == baseline and len(summaries) > 1 else name for name in summaries
        }
        self._summaries.value = html_table(
            {
                "": measure,
                **{
                    heads[name]: _shown(summary[measure], ratios.get(measure, {}).get(name), name == baseline)
                    for name, summary in summaries.items()
                },
            }
            for measure in summaries[baseline]
        )

    def _show_settings(self) -> None:
        several = len(self._runs) > 1
        self._settings.value = "<b>Settings that differ</b>" + differences_table(self._runs) if several else ""

    def _show_race(self, baseline: str) -> None:
        others = [name for name in self._runs if name != baseline]
        racing = [baseline, *others[-1:]]
        grids = grids_of((name, self._runs[name]) for name in racing) if others else []
        self._racing.layout.display = None if len(grids) > 1 else "none"
        self._race.show(grids if len(grids) > 1 else [])

    def _show_outputs(self, baseline: str) -> None:
        """The baseline's outputs against those of the newest other run."""
        others = [name for name in self._runs if name != baseline]
        if not others:
            self._outputs.value = ""
            return
        second = others[-1]
        self._outputs.value = output_differences(baseline, self._runs[baseline], second, self._runs[second])


def _shown(value: object, ratio: float | None, is_baseline: bool) -> str:
    """A value, and in brackets how many times the baseline's it is."""
    told = "-" if value is None else str(value)
    return told if ratio is None or is_baseline else f"{told} ({in_times(ratio)})"
