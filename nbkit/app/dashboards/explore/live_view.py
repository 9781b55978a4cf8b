"""The explore dashboard's live part: figures of the run under way, or of the one that has ended."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Mapping, Sequence

import ipywidgets

from nbkit import figures
from nbkit.analysis.batch_grid import Grid
from nbkit.analysis.live_grid import LiveGrid
from nbkit.app.dashboards.parts.batch_player import BatchPlayer
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.figures.html.player import grids_of
from nbkit.figures.html.report import text_table
from nbkit.figures.scaling import LONGEST_TITLE
from nbkit.figures.style import SINCE_BEGIN
from nbkit.inference.progress import RankProgress, RunProgress
from nbkit.records import BatchTotals, LoadSample
from nbkit.records.headline import longest_wait
from nbkit.records.latency import latency_text
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.records.throughput import Throughput, of_run

OUTPUTS_SHOWN = 50
STREAMING_RANKS = 4
PROMPT_CHARACTERS = 70
STREAM_CHARACTERS = 400


class LiveView:
    """Panels that are redrawn in place; each shows its own error if it cannot be drawn."""

    def __init__(self) -> None:
        self._ranks: Sequence[int] = (0,)
        self._load_names: list[str] = []
        self._numbers = ipywidgets.HTML()
        self._streams = ipywidgets.HTML()
        self._batch = BatchPlayer()
        self._grid = LiveGrid()
        self._outputs = ipywidgets.HTML(layout={"max_height": "320px", "overflow": "auto"})
        self._throughput = LiveFigure(figures.throughput_over_time(Throughput(), self._ranks))
        self._timeline = LiveFigure(figures.timeline([], 0.0, self._ranks))
        self._latency = LiveFigure(figures.latency([], 0.0, self._ranks))
        self._load = LiveFigure(figures.load_over_time([], 0.0, []))
        self._distribution = LiveFigure(figures.latency_distribution([]))
        drawn = (self._throughput, self._timeline, self._latency, self._load, self._distribution)
        self._panels = {
            each: Panel(each) for each in (self._numbers, self._batch, *drawn, self._streams, self._outputs)
        }
        grid = ipywidgets.GridBox(
            [self._panels[figure] for figure in drawn],
            layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"},
        )
        self._accordion = ipywidgets.Accordion(
            [self._panels[self._streams], self._panels[self._outputs]],
            titles=["Text as it is generated", "Outputs"],
            selected_index=0,
        )
        title = ipywidgets.HTML("<div class='nbkit-heading'>The batch, token by token</div>")
        self._batch_box = ipywidgets.VBox([title, self._panels[self._batch]])
        self.widget = ipywidgets.VBox([self._panels[self._numbers], self._batch_box, grid, self._accordion])
        self.widget.add_class("nbkit-live")
        self._panels[self._distribution].layout.display = "none"
        self.widget.layout.display = "none"

    def begin(self, ranks: Sequence[int], settings: Settings) -> None:
        """Empty everything for a new run on these ranks."""
        self.widget.layout.display = None
        self.show_as_current()
        self._streams.value = self._outputs.value = ""
        self._accordion.selected_index = 0
        self._grid = LiveGrid()
        self._show_batch([])
        self._panels[self._distribution].layout.display = "none"
        self._draw(self._numbers, lambda: self._show_numbers(settings, BatchTotals(), {}, {}))
        if tuple(ranks) != self._ranks:
            self._ranks = tuple(ranks)
            self._load_names = []
            self._throughput.begin(figures.throughput_over_time(Throughput(), ranks))
            self._timeline.begin(figures.timeline([], 0.0, ranks))
            self._latency.begin(figures.latency([], 0.0, ranks))
        self._throughput.show([{"x": [], "y": []}] * (1 + len(ranks)), f"{settings.engine}: running")
        self._timeline.show(list(figures.timeline_bars([], 0.0).values()), "Batches of each rank")
        self._latency.show(figures.latency_points([], 0.0, ranks), "Latency of each batch")
        self._draw(self._load, lambda: self._show_load([], 0.0))

    def show(
        self, progress: RunProgress, prompts: Sequence[str | Conversation], samples: Sequence[LoadSample]
    ) -> None:
        """Draw how far a run is that has begun; ``samples`` are on its job's clock."""
        begin_s = progress.begin_s or 0.0
        now = {"computed tokens/s": f"{progress.tokens_per_second:.0f}"}
        done = {rank: (progress.ranks[rank], progress.fraction_of(rank)) for rank in self._ranks}
        self._draw(self._numbers, lambda: self._show_numbers(progress.settings, progress.totals, now, done))
        self._draw(
            self._throughput,
            lambda: self._throughput.show(
                figures.throughput_lines(progress.throughput, self._ranks),
                f"{progress.settings.engine}: {progress.tokens_per_second:.0f} computed tokens/s",
            ),
        )
        self._draw(
            self._timeline,
            lambda: self._timeline.show(list(figures.timeline_bars(progress.batches, begin_s).values())),
        )
        self._draw(
            self._latency,
            lambda: self._latency.show(figures.latency_points(progress.batches, begin_s, self._ranks)),
        )
        self._draw(self._batch, lambda: self._show_batch([self._grid.of(progress)]))
        self._draw(self._streams, lambda: self._show_streams(progress, prompts))
        self._draw(self._load, lambda: self._show_load(samples, begin_s))

    def finish(self, run: Run, failure: str = "") -> None:
        """Draw a run that has ended, or was stopped; ``failure`` says why it ended before its time."""
        self._draw(self._numbers, lambda: self._finish_numbers(run))
        self.show_ending(run, failure)
        self._draw(self._batch, lambda: self._show_batch(grids_of([("", run)])))
        self._draw(self._timeline, lambda: self._finish_timeline(run))
        self._draw(
            self._latency,
            lambda: self._latency.show(figures.latency_points(run.batches, run.begin_s, self._ranks)),
        )
        self._draw(self._load, lambda: self._show_load(run.load_samples, run.begin_s))
        self._draw(self._distribution, lambda: self._finish_distribution(run))
        self._draw(self._outputs, lambda: self._show_outputs(run))

    def show_ending(self, run: Run, failure: str) -> None:
        """Say in the first figure's title how the run ended; of its lines keep what was drawn while it went on."""
        title = _ending(run, failure)
        self._draw(self._throughput, lambda: self._throughput.show(self._throughput.arrays, title))

    def show_again(self, run: Run) -> None:
        """Draw a run that has ended before, from its records alone."""
        self.begin(run.rank_numbers, run.settings)
        lines = figures.throughput_lines(of_run(run), self._ranks)
        self._draw(self._throughput, lambda: self._throughput.show(lines))
        self.finish(run)

    def show_as_outdated(self) -> None:
        """What is shown is not what the controls ask for any more."""
        self.widget.add_class("nbkit-outdated")

    def show_as_current(self) -> None:
        self.widget.remove_class("nbkit-outdated")

    def _draw(self, what: ipywidgets.Widget, act: Callable[[], None]) -> None:
        self._panels[what].draw(act)

    def _show_batch(self, grids: Sequence[Grid]) -> None:
        self._batch_box.layout.display = None if grids else "none"
        self._batch.show(grids)

    def _show_numbers(
        self,
        settings: Settings,
        totals: BatchTotals,
        first: Mapping[str, str],
        ranks: Mapping[int, tuple[RankProgress, float]],
    ) -> None:
        tiles = {
            **first,
            "TTFT, mean": _time_or_dash(totals.mean_ttft_s),
            "TPOT, mean": _time_or_dash(totals.mean_tpot_s),
            "padding, % of prompt positions": f"{100 * totals.padding_share:.0f}" if totals.prompts else "-",
            "peak memory, MB": _or_dash(totals.peak_memory_bytes / 1e6),
        }
        shown = "".join(
            f"<div class='nbkit-tile'><b>{value}</b><span>{name}</span></div>" for name, value in tiles.items()
        )
        bars = "".join(_bar(rank, own, fraction) for rank, (own, fraction) in ranks.items())
        self._numbers.value = f"<div class='nbkit-tiles'>{shown}</div>{bars}"

    def _finish_numbers(self, run: Run) -> None:
        numbers = {
            "tokens/s users get": f"{run.tokens_per_second:.0f}",
            "computed tokens/s": f"{run.computed_tokens_per_second:.0f}",
            "seconds": f"{run.wall_s:.1f}",
            **{
                f"{name} p50 / p90 / p99": latency_text(*own.values_s)
                for name, own in run.latencies.by_name.items()
                if own is not None
            },
        }
        if wait := longest_wait(run):
            numbers[f"rank {wait.rank} waited"] = wait.cost
        done = {rank: _done(run, rank) for rank in self._ranks}
        self._show_numbers(run.settings, run.totals, numbers, done)

    def _finish_timeline(self, run: Run) -> None:
        bars = figures.timeline_bars(run.batches, run.begin_s, run.ranks)
        self._timeline.show(list(bars.values()), f"Batches of each rank: {run.wall_s:.1f} s")

    def _finish_distribution(self, run: Run) -> None:
        """Once outputs have their times: before that there would be empty axes."""
        if run.latencies.ttft is not None:
            self._panels[self._distribution].layout.display = None
            self._distribution.begin(figures.latency_distribution(run.times))

    def _show_streams(self, progress: RunProgress, prompts: Sequence[str | Conversation]) -> None:
        ranks = [rank for rank in self._ranks if progress.ranks[rank].streamed][:STREAMING_RANKS]
        lines = [
            _stream(rank, str(prompts[streamed.index]), streamed.index, streamed.text)
            for rank in ranks
            for streamed in progress.ranks[rank].streamed[: 1 if len(self._ranks) > 2 else None]
        ]
        self._streams.value = "".join(lines)

    def _show_load(self, samples: Sequence[LoadSample], begin_s: float) -> None:
        gpus = sorted({sample.gpu for sample in samples if sample.gpu is not None})
        names = [f"rank {rank}" for rank in self._ranks] + [f"GPU {gpu}" for gpu in gpus]
        # A form once it is there is kept: to make one takes longer than to fill it.
        if not set(names) <= set(self._load_names):
            self._load_names = names
            self._load.begin(figures.load_over_time([], begin_s, names, "Load of the machine", SINCE_BEGIN))
        self._load.show(figures.load_traces(samples, begin_s, self._load_names))

    def _show_outputs(self, run: Run) -> None:
        shown = min(OUTPUTS_SHOWN, len(run.prompts))
        self._outputs.value = text_table(run, OUTPUTS_SHOWN)
        self._accordion.titles = ["Text as it is generated", f"Outputs (the first {shown} of {len(run.prompts)})"]
        self._accordion.selected_index = 1


def _done(run: Run, rank: int) -> tuple[RankProgress, float]:
    batches = [batch for batch in run.batches if batch.rank == rank]
    prompts = sum(len(batch.indices) for batch in batches)
    tokens = sum(batch.computed_tokens for batch in batches)
    progress = RankProgress(prompts=prompts, prompts_done=prompts, tokens_done=tokens)
    return progress, 1.0 if run.is_complete else 0.0


def _ending(run: Run, failure: str) -> str:
    """How a run ended, in as many characters as fit above a figure of half a page."""
    if failure:
        words = f"{run.engine_label} failed: {' '.join(failure.split())}"
        return html.escape(textwrap.shorten(words, LONGEST_TITLE, placeholder=" ..."), quote=False)
    if not run.is_complete:
        return f"{run.engine_label}: stopped after {run.finished_prompts} of {len(run.prompts)} prompts"
    return f"{run.engine_label}: {run.tokens_per_second:.0f} tokens/s overall"


def _time_or_dash(seconds: float) -> str:
    return latency_text(seconds) if seconds else "-"


def _or_dash(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value else "-"


def _bar(rank: int, own: RankProgress, fraction: float) -> str:
    percent = round(100 * fraction)
    of = "" if own.prompts is None else f" of {own.prompts}"
    return (
        f"<div class='nbkit-rank'><span>rank {rank}</span>"
        f"<div class='nbkit-bar' role='progressbar' aria-label='rank {rank}' aria-valuenow='{percent}'"
        f" aria-valuemin='0' aria-valuemax='100'>"
        f"<div style='width:{percent}%;background:{figures.rank_colour(rank)}'></div></div>"
        f"<span>{own.prompts_done}{of} prompts</span></div>"
    )


def _stream(rank: int, prompt: str, index: int, text: str) -> str:
    """A growing sequence: the end of its prompt, and the end of what it has become."""
    return (
        f"<div class='nbkit-stream' style='border-color:{figures.rank_colour(rank)}' dir='auto'>"
        f"<i>rank {rank}, prompt {index}: {html.escape(_end(prompt, PROMPT_CHARACTERS))}</i>"
        f"{html.escape(_end(text, STREAM_CHARACTERS))}</div>"
    )


def _end(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"... {text[-characters:]}"
