"""Throughput over time: each rank's line and the sum."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.style import SINCE_BEGIN, TOTAL_COLOUR, Arrays, rank_colour, styled
from nbkit.records.throughput import Throughput

ALL_RANKS = "all ranks"


def throughput_over_time(throughput: Throughput, ranks: Sequence[int], title: str = "") -> go.Figure:
    """Tokens computed per second over the time of a run: all ranks together, and each of these."""
    figure = go.Figure()
    lines = throughput_lines(throughput, ranks)
    figure.add_scatter(**lines[0], name=ALL_RANKS, line={"color": TOTAL_COLOUR, "width": 3})
    for rank, line in zip(ranks, lines[1:], strict=True):
        figure.add_scatter(**line, name=f"rank {rank}", line={"color": rank_colour(rank), "width": 1.5})
    # A single point, the first of a run, is no line yet.
    figure.update_traces(mode="lines+markers", marker_size=4)
    figure.update_xaxes(title=SINCE_BEGIN, rangemode="tozero")
    figure.update_yaxes(title="computed tokens/s", rangemode="tozero")
    return styled(figure, title, height=270)


def throughput_lines(throughput: Throughput, ranks: Sequence[int]) -> list[Arrays]:
    """What the lines show: all ranks together first, then each of these ranks."""
    points = [throughput.of_all()]
    points += [throughput.of_rank(rank) if rank in throughput.ranks else [] for rank in ranks]
    return [{"x": [round(x, 3) for x, _ in line], "y": [round(y, 2) for _, y in line]} for line in points]
