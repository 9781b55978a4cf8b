"""Runs side by side, and where the time of one went."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from nbkit.analysis.comparison import in_times
from nbkit.figures.style import (
    COMPUTED_COLOUR,
    RUN_COLOURS,
    SINCE_BEGIN,
    USEFUL_COLOUR,
    part_marker,
    rank_rows,
    show_rows,
    styled,
)
from nbkit.records.run import PAID_ONCE, PARTS, Run
from nbkit.records.throughput import of_run

DASHES = ("solid", "dash", "dot", "dashdot")


def comparison(runs: Mapping[str, Run], baseline: str | None = None) -> go.Figure:
    """Throughput of several Runs side by side: tokens users get, and tokens computed, per second.

    With the name of a ``baseline`` each bar also says how many times that Run's it is.
    """
    names = [f"{name}<br>(baseline)" if name == baseline else name for name in runs]
    figure = go.Figure()
    useful = [run.tokens_per_second for run in runs.values()]
    computed = [run.computed_tokens_per_second for run in runs.values()]
    for name, values, colour in (
        ("tokens users get", useful, USEFUL_COLOUR),
        ("tokens computed", computed, COMPUTED_COLOUR),
    ):
        text = _bar_texts(dict(zip(runs, values, strict=True)), baseline)
        figure.add_bar(x=names, y=values, name=name, marker_color=colour, text=text, texttemplate="%{text}")
    figure.update_layout(barmode="group")
    figure.update_xaxes(type="category")
    figure.update_yaxes(title="tokens/s", rangemode="tozero")
    return styled(figure, _comparison_title(runs, baseline), height=320)


def overlaid_throughput(runs: Mapping[str, Run]) -> go.Figure:
    """Tokens computed per second over the time of several Runs, each from its own begin.

    The legend says of which it is not known when tokens were made, so that they count where their sequences end.
    """
    figure = go.Figure()
    for number, (name, run) in enumerate(runs.items()):
        throughput = of_run(run)
        points = throughput.of_all()
        name = f"{name} (counted when sequences ended)" if throughput.counts_at_end else name
        # Not the ranks' colours: a line here is a run.
        line = {"color": RUN_COLOURS[number % len(RUN_COLOURS)], "dash": DASHES[number % len(DASHES)], "width": 3}
        figure.add_scatter(x=[x for x, _ in points], y=[y for _, y in points], name=name, mode="lines", line=line)
    figure.update_xaxes(title=SINCE_BEGIN, rangemode="tozero")
    figure.update_yaxes(title="computed tokens/s", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return styled(figure, "Throughput over time", height=320)


def time_parts(run: Run) -> go.Figure:
    """Where each rank's seconds went; the bars of a rank add up to the wall time of the run.

    What is paid once is named only where there was any.
    """
    figure = go.Figure()
    by_rank = {rank: run.time_parts(rank) for rank in run.rank_numbers}
    rows = rank_rows(list(by_rank))
    for part in PARTS:
        if part in PAID_ONCE and not any(parts[part] for parts in by_rank.values()):
            continue
        figure.add_bar(
            y=rows,
            x=[parts[part] for parts in by_rank.values()],
            name=part,
            orientation="h",
            marker=part_marker(part),
            hovertemplate="%{x:.3f} s<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="seconds")
    show_rows(figure, rows)
    title = f"{run.engine_label}: {_largest_part(by_rank)} takes most of the {run.wall_s:.1f} s"
    return styled(figure, title, height=170 + 42 * len(by_rank))


def _bar_texts(values: Mapping[str, float], baseline: str | None) -> list[str]:
    """Each value, and in brackets how many times the baseline's it is."""
    of = values.get(baseline, 0.0) if baseline else 0.0
    return [
        f"{value:.0f}" + (f"<br>({in_times(value / of)})" if of and name != baseline else "")
        for name, value in values.items()
    ]


def _comparison_title(runs: Mapping[str, Run], baseline: str | None) -> str:
    if len(runs) < 2:
        return "Throughput"
    ranked = sorted(runs, key=lambda name: runs[name].tokens_per_second)
    slowest, fastest = ranked[0], ranked[-1]
    if baseline and baseline != fastest:
        slowest = baseline
    if not runs[slowest].tokens_per_second:
        return f"{fastest}: the highest throughput"
    ratio = runs[fastest].tokens_per_second / runs[slowest].tokens_per_second
    return f"{fastest}: {ratio:.1f} times {slowest}"


def _largest_part(by_rank: Mapping[int, Mapping[str, float]]) -> str:
    totals = {part: sum(parts[part] for parts in by_rank.values()) for part in PARTS}
    return max(totals, key=lambda part: totals[part])
