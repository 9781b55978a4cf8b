"""Latency: time to first token and time per output token, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.style import SINCE_BEGIN, Arrays, rank_colour, styled
from nbkit.records import BatchRecord, BatchTotals

MOST_POINTS = 200


def latency(batches: Sequence[BatchRecord], begin_s: float, world_size: int, title: str = "") -> go.Figure:
    """Of each batch, when it ended: TTFT (from the batch's begin) and TPOT (per step after the first), in ms.

    Where sequences join one by one, both are means over those that ended in a stretch of time.
    """
    figure = go.Figure()
    points = latency_points(batches, begin_s, world_size)
    for rank in range(world_size):
        ttft, tpot = points[2 * rank], points[2 * rank + 1]
        colour = rank_colour(rank)
        figure.add_scatter(**ttft, name=f"TTFT, rank {rank}", marker={"color": colour, "symbol": "circle", "size": 9})
        figure.add_scatter(
            **tpot, name=f"TPOT, rank {rank}", marker={"color": colour, "symbol": "diamond-open", "size": 9}
        )
    figure.update_traces(mode="markers", hovertemplate="%{y:.1f} ms<extra>%{fullData.name}</extra>")
    figure.update_xaxes(title=SINCE_BEGIN, rangemode="tozero")
    figure.update_yaxes(title="milliseconds", rangemode="tozero")
    return styled(figure, title, height=270)


def latency_points(batches: Sequence[BatchRecord], begin_s: float, world_size: int) -> list[Arrays]:
    """What the traces show: TTFT and TPOT of rank 0, of rank 1, and so on; of many batches a sample."""
    points: list[Arrays] = [{"x": [], "y": []} for _ in range(2 * world_size)]
    every = max(1, -(-len(batches) // MOST_POINTS))
    for batch in batches[::every]:
        ttft, tpot = points[2 * batch.rank], points[2 * batch.rank + 1]
        ended_s = round(batch.end_s - begin_s, 3)
        own = BatchTotals()
        own.add(batch)
        ttft["x"].append(ended_s)
        ttft["y"].append(round(1000 * own.mean_ttft_s, 2))
        if own.steps_after_first:
            tpot["x"].append(ended_s)
            tpot["y"].append(round(1000 * own.mean_tpot_s, 2))
    return points
