"""Latency distribution: how many outputs, or tokens, came within a time; the cumulative share of each latency."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.style import Arrays, logarithmic, rank_colour, styled
from nbkit.records.latency import PERCENTS, Latencies, OutputTimes, latency_text
from nbkit.records.time_histogram import TimeHistogram

MOST_POINTS = 300


def latency_distribution(times: Sequence[OutputTimes | None]) -> go.Figure:
    """Cumulative distributions of TTFT, ITL and end-to-end over milliseconds, p50, p90 and p99 marked on each.

    The title has the percentiles that services are held to. Where no times are known there is no curve.
    """
    figure = go.Figure()
    shown = latency_distribution_traces(times)
    for number, name in enumerate(Latencies.of(times).by_name):
        curve, marks = shown[2 * number : 2 * number + 2]
        colour = rank_colour(number)
        line = {"color": colour, "width": 2, "shape": "hv"}
        figure.add_scatter(
            **curve, name=name, mode="lines", line=line, hovertemplate="%{y:.1f}% within %{text}<extra></extra>"
        )
        figure.add_scatter(
            **marks,
            name=f"{name}: p50, p90, p99",
            mode="markers",
            showlegend=False,
            marker={"color": colour, "size": 9},
            hovertemplate=f"{name} p%{{y}}: %{{text}}<extra></extra>",
        )
    figure.update_xaxes(logarithmic("milliseconds", [x for trace in shown for x in trace["x"]]))
    figure.update_yaxes(title="% of outputs (ITL: of tokens)", range=[0, 101])
    figure.update_layout(showlegend=True)
    return styled(figure, latency_distribution_title(times), height=320)


def latency_distribution_traces(times: Sequence[OutputTimes | None]) -> list[Arrays]:
    """What the traces show: of TTFT, ITL and end-to-end a curve, and its percentiles; times of 0 are not shown."""
    known = [each for each in times if each is not None]
    curves = (
        _of_outputs([each.ttft_s for each in known]),
        _of_tokens(TimeHistogram.merged(each.inter_token for each in known)),
        _of_outputs([each.end_to_end_s for each in known]),
    )
    traces = []
    for curve, own in zip(curves, Latencies.of(times).by_name.values(), strict=True):
        marks = list(zip(own.values_s, PERCENTS, strict=True)) if own else []
        traces += [_arrays(curve), _arrays(marks)]
    return traces


def latency_distribution_title(times: Sequence[OutputTimes | None]) -> str:
    """The finding: the slowest hundredth begins where."""
    told = [f"{name} {latency_text(own.p99_s)}" for name, own in Latencies.of(times).by_name.items() if own]
    return f"p99: {', '.join(told)}" if told else "No output has its times"


def _of_outputs(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Seconds, and the percent that took no longer; of many a sample, the longest among it."""
    ordered, count = sorted(seconds), len(seconds)
    every = max(1, -(-count // MOST_POINTS))
    ranks = sorted({*range(1, count + 1, every), count} if count else ())
    return [(ordered[rank - 1], 100 * rank / count) for rank in ranks]


def _of_tokens(histogram: TimeHistogram) -> list[tuple[float, float]]:
    return [(seconds, 100 * so_far / histogram.count) for seconds, so_far in histogram.steps()]


def _arrays(points: Sequence[tuple[float, float]]) -> Arrays:
    # On a logarithmic axis there is no 0: what comes at once shows as where the curve begins.
    shown = [(1000 * seconds, percent) for seconds, percent in points if seconds > 0]
    return {
        "x": [round(x, 4) for x, _ in shown],
        "y": [round(y, 2) for _, y in shown],
        "text": [latency_text(x / 1000) for x, _ in shown],
    }
