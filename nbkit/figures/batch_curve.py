"""Batch curve: a dot a run: tokens per second against batch size, and latency against tokens per second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import plotly.graph_objects as go

from nbkit.analysis.batch_curve import Kind, Point, kinds, limit_points, median_points, predicted_points
from nbkit.figures.style import RANK_COLOURS, TOTAL_COLOUR, Arrays, styled
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape
from nbkit.records.run import Run

HEIGHT = 400
LEAST_SIZES = 32
"""The batch size that is always shown."""
LIMIT_ROOM = 2.0
"""The limit is drawn up to so many times the fastest run, so that the runs do not lie at the bottom."""
DOT_SIZE, SHOWN_SIZE = 11, 17
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "pentagon", "star", "hexagon")
OF_LATENCY = {"TTFT": "ttft", "ITL": "inter_token"}
"""Latencies as figures name them, and as a Run's ``latencies`` does."""


def batch_curve(
    runs: Sequence[Run],
    device: tuple[ModelShape, DeviceSpeed] | None = None,
    shown: int | None = None,
    running_at: float | None = None,
) -> go.Figure:
    """Tokens per second that users get against batch size, a dot a run, a colour a kind of run.

    The last trace is the run under way, which ``running_dot`` fills.

    Parameters
    ----------
    runs : sequence of Run
        The newest last; it gives the title. Runs that nothing is known of the times of have no dot. A dot's
        ``customdata`` is the place of its run.
    device : pair, optional
        The shape of the newest run's model, and the speed of one of its ranks: for the limit.
    shown : int, optional
        The place of the run whose dot is drawn larger.
    running_at : float, optional
        A batch size that the axis has room for.
    """
    figure = go.Figure()
    timed = [place for place, run in enumerate(runs) if _has_dot(run)]
    largest = max([LEAST_SIZES, running_at or 1, *(runs[place].batch_size for place in timed)])
    own_kinds = kinds(runs)
    for number, kind in enumerate(own_kinds):
        own = [runs[place] for place in kind.places]
        _add_line(figure, number, kind.label, median_points(own))
        _add_prediction(figure, number, kind.label, predicted_points(own))
        _add_dots(figure, number, kind, runs, shown)
    if device is not None and timed:
        _add_limit(figure, runs[-1], *device, largest, max(runs[place].tokens_per_second for place in timed))
    if any(not runs[place].is_complete for place in timed):
        _add_legend_of_stopped(figure)
    _add_running(figure)
    doublings = math.ceil(math.log2(largest))
    ticks = [2**step for step in range(0, doublings + 1, 1 if doublings <= 10 else 2)]
    shown_sizes = [math.log10(0.85), math.log10(1.2 * 2**doublings)]
    figure.update_xaxes(title="batch size", type="log", tickvals=ticks, range=shown_sizes)
    figure.update_yaxes(title="tokens/s users get", rangemode="tozero")
    return _with_legend_below(styled(figure, _title(runs, own_kinds), HEIGHT))


def running_dot(batch_size: float, tokens_per_second: float) -> Arrays:
    """What the last trace shows while a run goes on; nothing before it has tokens."""
    if not tokens_per_second:
        return {"x": [], "y": [], "showlegend": False}
    return {"x": [batch_size], "y": [round(tokens_per_second, 1)], "showlegend": True}


def latency_by_throughput(runs: Sequence[Run], of: Literal["TTFT", "ITL"], shown: int | None = None) -> go.Figure:
    """A latency's median (p50, ms) against the tokens per second that users get, from the same dots.

    Runs whose outputs do not tell have no dot. The arguments are those of ``batch_curve``.
    """
    figure = go.Figure()
    for number, kind in enumerate(kinds(runs)):
        own = [place for place in kind.places if _has_dot(runs[place]) and _p50_ms(runs[place], of) is not None]
        own.sort(key=lambda place: runs[place].batch_size)
        joined = [runs[place] for place in own if runs[place].is_complete]
        line = {"color": _colour(number), "width": 1.5}
        figure.add_scatter(
            x=[run.tokens_per_second for run in joined],
            y=[_p50_ms(run, of) for run in joined],
            mode="lines",
            line=line,
            hoverinfo="skip",
            showlegend=False,
            legendgroup=kind.label,
        )
        figure.add_scatter(
            x=[runs[place].tokens_per_second for place in own],
            y=[_p50_ms(runs[place], of) for place in own],
            text=[str(runs[place].batch_size) for place in own],
            textposition="top left",
            mode="markers+text",
            cliponaxis=False,
            name=kind.label,
            legendgroup=kind.label,
            **_dots(number, own, runs, shown),
            hovertemplate=f"batch size %{{text}}: %{{x:.0f}} tokens/s, {of} %{{y:.1f}} ms<br>click: show this run"
            "<extra></extra>",
        )
    if any(_has_dot(run) and not run.is_complete and _p50_ms(run, of) is not None for run in runs):
        _add_legend_of_stopped(figure)
    figure.update_xaxes(title="tokens/s users get (labels: batch size)", rangemode="tozero")
    figure.update_yaxes(title=f"{of} p50, ms", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return _with_legend_below(styled(figure, _latency_title(runs, of), HEIGHT))


def _has_dot(run: Run) -> bool:
    return run.batch_size > 0 and run.is_timed and math.isfinite(run.tokens_per_second)


def _colour(number: int) -> str:
    return RANK_COLOURS[number % len(RANK_COLOURS)]


def _add_line(figure: go.Figure, number: int, label: str, points: Sequence[Point]) -> None:
    figure.add_scatter(
        x=[size for size, _ in points],
        y=[rate for _, rate in points],
        mode="lines",
        line={"color": _colour(number), "width": 2.5},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=label,
    )


def _add_prediction(figure: go.Figure, number: int, label: str, points: Sequence[Point]) -> None:
    if not points:
        return
    figure.add_scatter(
        x=[size for size, _ in points],
        y=[rate for _, rate in points],
        mode="lines",
        name="cost model, between the dots",
        line={"color": _colour(number), "width": 1, "dash": "dot"},
        legendgroup=label,
        hovertemplate="batch size %{x}: %{y:.0f} tokens/s by the cost model fitted to the dots<extra></extra>",
    )


def _add_dots(figure: go.Figure, number: int, kind: Kind, runs: Sequence[Run], shown: int | None) -> None:
    own = [place for place in kind.places if _has_dot(runs[place])]
    figure.add_scatter(
        x=[runs[place].batch_size for place in own],
        y=[runs[place].tokens_per_second for place in own],
        mode="markers",
        name=kind.label,
        legendgroup=kind.label,
        cliponaxis=False,
        showlegend=bool(own),
        text=[_ended(runs[place]) for place in own],
        **_dots(number, own, runs, shown),
        hovertemplate="batch size %{x}: %{y:.0f} tokens/s%{text}<br>click: show this run<extra></extra>",
    )


def _dots(number: int, own: Sequence[int], runs: Sequence[Run], shown: int | None) -> dict[str, object]:
    symbol = SYMBOLS[number % len(SYMBOLS)]
    return {
        "customdata": list(own),
        "marker": {
            "color": _colour(number),
            "symbol": [symbol if runs[place].is_complete else f"{symbol}-open" for place in own],
            "opacity": 1,
            "size": [SHOWN_SIZE if place == shown else DOT_SIZE for place in own],
            "line": {"width": [0 if runs[place].is_complete else 2.5 for place in own]},
        },
    }


def _ended(run: Run) -> str:
    return "" if run.is_complete else f", stopped after {run.finished_prompts} of {len(run.prompts)} prompts"


def _add_limit(
    figure: go.Figure, run: Run, shape: ModelShape, speed: DeviceSpeed, up_to: float, fastest: float
) -> None:
    points = limit_points(run, shape, speed, up_to)
    if not points:
        return
    drawn: list[tuple[float | None, float | None]] = [
        (size, rate) for size, rate in points if rate <= LIMIT_ROOM * fastest
    ]
    drawn = drawn or [(None, None)]
    _, at_newest = min(points, key=lambda point: abs(point[0] - run.batch_size))
    workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
    figure.add_scatter(
        x=[size for size, _ in drawn],
        y=[rate for _, rate in drawn],
        mode="lines",
        # Said, too, where the line is above what is drawn.
        name=f"the device's limit, {workers}: {at_newest:,.0f} tokens/s at batch size {run.batch_size}",
        line={"color": TOTAL_COLOUR, "width": 2, "dash": "dash"},
        hovertemplate=f"batch size %{{x:.0f}}: decoding allows %{{y:.0f}} tokens/s<br>{speed.source}<extra></extra>",
    )


def _add_legend_of_stopped(figure: go.Figure) -> None:
    marker = {"color": TOTAL_COLOUR, "symbol": "circle-open", "size": DOT_SIZE, "line": {"width": 1.5}}
    figure.add_scatter(x=[None], y=[None], mode="markers", name="hollow: stopped early", marker=marker)


def _add_running(figure: go.Figure) -> None:
    figure.add_scatter(
        **running_dot(1, 0.0),
        mode="markers",
        name="running: computed tokens/s so far",
        marker={"color": TOTAL_COLOUR, "symbol": "circle-open-dot", "size": SHOWN_SIZE, "line": {"width": 2}},
        hovertemplate="batch size %{x}: %{y:.0f} computed tokens/s so far<extra></extra>",
    )


def _with_legend_below(figure: go.Figure) -> go.Figure:
    """Kinds can have long names: below the axis they take room from the plot and none from the title."""
    legend = {"orientation": "h", "yanchor": "top", "y": -0.17, "x": 0, "xanchor": "left", "font": {"size": 12}}
    return figure.update_layout(legend=legend, showlegend=True, margin={"t": 40})


def _title(runs: Sequence[Run], own_kinds: Sequence[Kind]) -> str:
    """What the newest run found, against the smallest batch size of its kind."""
    if not runs or not _has_dot(runs[-1]):
        return "Tokens/s by batch size"
    newest = runs[-1]
    own = next(kind for kind in own_kinds if len(runs) - 1 in kind.places)
    if not newest.is_complete:
        return f"Batch size {newest.batch_size}: {newest.tokens_per_second:.0f} tokens/s, stopped early"
    points = median_points([runs[place] for place in own.places])
    rates = dict(points)
    found = f"Batch size {newest.batch_size}: {rates[newest.batch_size]:.0f} tokens/s"
    least, at_least = points[0]
    most, at_most = max(points, key=lambda point: point[1])
    if newest.batch_size != least and at_least:
        return f"{found}, {rates[newest.batch_size] / at_least:.1f} times batch size {least}"
    if most != least and at_least:
        return f"{found}; batch size {most}: {at_most / at_least:.1f} times that"
    return found


def _p50_ms(run: Run, of: str) -> float | None:
    known = getattr(run.latencies, OF_LATENCY[of])
    return None if known is None else 1000 * known.p50_s


def _latency_title(runs: Sequence[Run], of: str) -> str:
    unknown = sum(_p50_ms(run, of) is None for run in runs)
    without = f" ({unknown} of {len(runs)} runs do not tell)" if unknown else ""
    newest = _p50_ms(runs[-1], of) if runs else None
    if newest is None or not _has_dot(runs[-1]):
        return f"{of} against tokens/s{without}"
    found = f"Batch size {runs[-1].batch_size}: {runs[-1].tokens_per_second:.0f} tokens/s at {newest:.0f} ms {of}"
    return found + without
