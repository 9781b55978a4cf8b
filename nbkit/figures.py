"""Figures: plotly figures drawn from Runs by pure functions.

One style: the colours of Okabe and Ito (2008), which colour-blind readers tell apart,
the same colour for the same part of the time everywhere, units on every axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from nbkit.records import PARTS, BatchRecord, Run

PART_COLOURS = {
    "tokenise": "#CC79A7",
    "prefill": "#E69F00",
    "decode": "#0072B2",
    "detokenise": "#56B4E9",
    "waiting": "#999999",
    "gather": "#009E73",
    "other": "#DDDDDD",
}
USEFUL, COMPUTED = "#0072B2", "#E69F00"
TIMELINE_PARTS = ("tokenise", "prefill", "decode", "detokenise")


def timeline(batches: Sequence[BatchRecord], begin_s: float, world_size: int, title: str = "") -> go.Figure:
    """Each rank's batches over time, a bar a batch, split into its parts. One trace a part."""
    figure = go.Figure()
    for part in TIMELINE_PARTS:
        figure.add_bar(**timeline_bars(batches, begin_s)[part], name=part, marker_color=PART_COLOURS[part])
    figure.update_traces(orientation="h", hovertemplate="%{customdata}<extra>%{fullData.name}</extra>")
    figure.update_layout(barmode="overlay", bargap=0.3)
    figure.update_xaxes(title="seconds since the run began", rangemode="tozero")
    ranks = [f"rank {rank}" for rank in range(world_size)]
    figure.update_yaxes(categoryorder="array", categoryarray=ranks[::-1], range=[-0.6, world_size - 0.4])
    return _styled(figure, title, height=170 + 45 * world_size)


def timeline_bars(batches: Sequence[BatchRecord], begin_s: float) -> dict[str, dict[str, list[object]]]:
    """What the timeline's traces show, by part: bar lengths ``x`` and bases in seconds, rows ``y``, hover texts."""
    bars: dict[str, dict[str, list[object]]] = {
        part: {"x": [], "base": [], "y": [], "customdata": []} for part in TIMELINE_PARTS
    }
    for batch in batches:
        at = batch.begin_s - begin_s
        seconds = (batch.tokenize_s, batch.prefill_s, batch.decode_s, batch.detokenize_s)
        for part, duration in zip(TIMELINE_PARTS, seconds, strict=True):
            bars[part]["x"].append(duration)
            bars[part]["base"].append(at)
            bars[part]["y"].append(f"rank {batch.rank}")
            bars[part]["customdata"].append(_batch_in_words(batch, duration))
            at += duration
    return bars


def run_timeline(run: Run) -> go.Figure:
    """The timeline of a Run, titled with what came of it."""
    return timeline(run.batches, run.begin_s, run.world_size, headline(run))


def throughput_over_time(rates: Sequence[tuple[float, float]], begin_s: float, title: str = "") -> go.Figure:
    """Tokens computed per second, by all ranks together, over the time of a run (both in seconds)."""
    figure = go.Figure(
        go.Scatter(**throughput_points(rates, begin_s), mode="lines", line={"color": USEFUL, "width": 3})
    )
    figure.update_xaxes(title="seconds since the run began", rangemode="tozero")
    figure.update_yaxes(title="computed tokens/s", rangemode="tozero")
    return _styled(figure, title, height=260)


def throughput_points(rates: Sequence[tuple[float, float]], begin_s: float) -> dict[str, list[float]]:
    """What the line of ``throughput_over_time`` shows."""
    return {"x": [at_s - begin_s for at_s, _ in rates], "y": [rate for _, rate in rates]}


def comparison(runs: Mapping[str, Run]) -> go.Figure:
    """Throughput of several Runs side by side: tokens users get, and tokens computed, per second."""
    names = list(runs)
    figure = go.Figure()
    useful = [run.tokens_per_second for run in runs.values()]
    computed = [run.computed_tokens_per_second for run in runs.values()]
    for name, values, colour in (("tokens users get", useful, USEFUL), ("tokens computed", computed, COMPUTED)):
        figure.add_bar(x=names, y=values, name=name, marker_color=colour, texttemplate="%{y:.0f}")
    figure.update_layout(barmode="group")
    figure.update_yaxes(title="tokens/s", rangemode="tozero")
    return _styled(figure, _comparison_title(runs), height=360)


def time_parts(run: Run) -> go.Figure:
    """Where each rank's seconds went; the bars of a rank add up to the wall time of the run."""
    figure = go.Figure()
    by_rank = {rank: run.time_parts(rank) for rank in range(run.world_size)}
    for part in PARTS:
        figure.add_bar(
            y=[f"rank {rank}" for rank in by_rank],
            x=[parts[part] for parts in by_rank.values()],
            name=part,
            orientation="h",
            marker_color=PART_COLOURS[part],
            hovertemplate="%{x:.3f} s<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="seconds")
    figure.update_yaxes(autorange="reversed")
    title = f"{run.settings.engine}: {_largest_part(by_rank)} takes most of the {run.wall_s:.1f} s"
    return _styled(figure, title, height=190 + 45 * run.world_size)


def headline(run: Run) -> str:
    """A Run in one line: what was asked and what it brought."""
    batch = "" if run.settings.engine == "simple" else f", batch size {run.settings.batch_size}"
    workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
    done = f"{run.finished_prompts} prompts in {run.wall_s:.1f} s"
    if not run.is_complete:
        done = f"stopped after {run.finished_prompts} of {len(run.prompts)} prompts"
    return f"{run.settings.engine}{batch}, {workers}: {done}, {run.tokens_per_second:.0f} tokens/s"


def _batch_in_words(batch: BatchRecord, duration: float) -> str:
    return (
        f"{duration:.3f} s, {len(batch.indices)} prompt(s)<br>"
        f"{batch.prompt_tokens} prompt + {batch.padding_tokens} padding tokens<br>"
        f"{batch.new_tokens} new of {batch.computed_tokens} computed tokens"
    )


def _comparison_title(runs: Mapping[str, Run]) -> str:
    if len(runs) < 2:
        return "Throughput"
    ranked = sorted(runs, key=lambda name: runs[name].tokens_per_second)
    slowest, fastest = ranked[0], ranked[-1]
    if not runs[slowest].tokens_per_second:
        return f"{fastest}: the highest throughput"
    ratio = runs[fastest].tokens_per_second / runs[slowest].tokens_per_second
    return f"{fastest}: {ratio:.1f} times the throughput of {slowest}"


def _largest_part(by_rank: Mapping[int, Mapping[str, float]]) -> str:
    totals = {part: sum(parts[part] for parts in by_rank.values()) for part in PARTS}
    return max(totals, key=lambda part: totals[part])


def _styled(figure: go.Figure, title: str, height: int) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 17}, "x": 0.01, "xanchor": "left"},
        font={"size": 14},
        height=height,
        autosize=True,
        margin={"l": 70, "r": 20, "t": 80, "b": 55},
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "yanchor": "bottom",
            "y": 1.0,
            "xanchor": "left",
            "x": 0.0,
        },
    )
    return figure
