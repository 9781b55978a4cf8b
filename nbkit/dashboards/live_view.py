"""The explore dashboard's live part: progress per rank, throughput, timeline, outputs."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import plotly.graph_objects as go

from nbkit import figures
from nbkit.progress import RunProgress, throughput
from nbkit.records import BatchRecord, Run
from nbkit.report import text_table
from nbkit.settings import Settings

OUTPUTS_SHOWN = 50


class LiveView:
    """Redraws in place: figures keep their traces, bars keep their widgets."""

    def __init__(self) -> None:
        self._bars = ipywidgets.VBox()
        self._throughput = go.FigureWidget(figures.throughput_over_time([], 0.0, "Throughput"))
        self._timeline = go.FigureWidget(figures.timeline([], 0.0, 1))
        self._timeline_ranks = 1
        self._outputs = ipywidgets.HTML(layout=ipywidgets.Layout(max_height="240px", overflow="auto"))
        self._outputs_panel = ipywidgets.Accordion([self._outputs], titles=["Outputs"], selected_index=0)
        self.widget = ipywidgets.VBox()
        self._drawn_batches = 0

    def begin(self, world_size: int, settings: Settings) -> None:
        """Empty everything for a new run."""
        self._drawn_batches = 0
        self._bars.children = [
            ipywidgets.FloatProgress(
                description=f"rank {rank}", max=1.0, layout=ipywidgets.Layout(width="600px"), bar_style="info"
            )
            for rank in range(world_size)
        ]
        self._outputs.value = "They appear when the run has ended."
        if world_size != self._timeline_ranks:
            # A new figure, not a new height: plotly stops fitting the width once told a height.
            self._timeline.close()
            self._timeline = go.FigureWidget(figures.timeline([], 0.0, world_size))
            self._timeline_ranks = world_size
        self.widget.children = (self._bars, self._throughput, self._timeline, self._outputs_panel)
        self._draw_throughput([], 0.0, f"{settings.engine}: running")
        self._draw_timeline([], 0.0, "Batches per rank")

    def show(self, progress: RunProgress) -> None:
        """Draw how far a run is that has begun."""
        assert progress.begin_s is not None
        for rank, bar in enumerate(self._bars.children):
            bar.value = progress.ranks[rank].fraction_done(progress.settings)
        rates = throughput(progress.samples)
        now = f"{rates[-1][1]:.0f} computed tokens/s" if rates else "running"
        self._draw_throughput(rates, progress.begin_s, f"{progress.settings.engine}: {now}")
        if len(progress.batches) > self._drawn_batches:
            self._drawn_batches = len(progress.batches)
            self._draw_timeline(progress.batches, progress.begin_s, "Batches per rank")

    def finish(self, run: Run) -> None:
        """Draw a run that has ended, or was stopped."""
        for bar in self._bars.children:
            bar.bar_style = "success" if run.is_complete else "warning"
            bar.value = 1.0 if run.is_complete else bar.value
        self._throughput.layout.title.text = f"{run.settings.engine}: {run.tokens_per_second:.0f} tokens/s overall"
        self._draw_timeline(run.batches, run.begin_s, figures.headline(run))
        self._outputs.value = text_table(run, OUTPUTS_SHOWN)

    def _draw_throughput(self, rates: Sequence[tuple[float, float]], begin_s: float, title: str) -> None:
        with self._throughput.batch_update():
            self._throughput.data[0].update(**figures.throughput_points(rates, begin_s))
            self._throughput.layout.title.text = title

    def _draw_timeline(self, batches: Sequence[BatchRecord], begin_s: float, title: str) -> None:
        bars = figures.timeline_bars(batches, begin_s)
        with self._timeline.batch_update():
            for trace in self._timeline.data:
                trace.update(**bars[trace.name])
            self._timeline.layout.title.text = title
