"""Latency: time to first token and time per output token, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.style import SINCE_BEGIN, Arrays, rank_colour, styled
from nbkit.records import BatchRecord, BatchTotals
from nbkit.records.latency import latency_text

MOST_POINTS = 200


def latency(batches: Sequence[BatchRecord], begin_s: float, ranks: Sequence[int], title: str = "") -> go.Figure:
    """Of each batch, when it ended: TTFT (from the batch's begin) and TPOT (per step after the first), in ms.

    A colour a rank. Where sequences join one by one, both are means over those that ended in a window of time.
    """
    figure = go.Figure()
    points = latency_points(batches, begin_s, ranks)
    for rank, ttft, tpot in zip(ranks, points[::2], points[1::2], strict=True):
        colour = rank_colour(rank)
        figure.add_scatter(**ttft, name=f"TTFT, rank {rank}", marker={"color": colour, "symbol": "circle", "size": 9})
        figure.add_scatter(
            **tpot, name=f"TPOT, rank {rank}", marker={"color": colour, "symbol": "diamond-open", "size": 9}
        )
    figure.update_traces(mode="markers", hovertemplate="%{text}<extra>%{fullData.name}</extra>")
    figure.update_xaxes(title=SINCE_BEGIN, rangemode="tozero")
    figure.update_yaxes(title="milliseconds", rangemode="tozero")
    return styled(figure, title, height=270)


def latency_points(batches: Sequence[BatchRecord], begin_s: float, ranks: Sequence[int]) -> list[Arrays]:
    """What the traces show: TTFT and TPOT of the first of the ranks, of the next, ...; of many batches a sample."""
    points: dict[int, tuple[Arrays, Arrays]] = {rank: (_no_points(), _no_points()) for rank in ranks}
    own_batches = [batch for batch in batches if batch.rank in points]
    every = max(1, -(-len(own_batches) // MOST_POINTS))
    for batch in own_batches[::every]:
        ttft, tpot = points[batch.rank]
        ended_s = round(batch.end_s - begin_s, 3)
        own = BatchTotals()
        own.add(batch)
        _add(ttft, ended_s, own.mean_ttft_s)
        if own.steps_after_first:
            _add(tpot, ended_s, own.mean_tpot_s)
    return [trace for pair in points.values() for trace in pair]


def _no_points() -> Arrays:
    return {"x": [], "y": [], "text": []}


def _add(points: Arrays, at_s: float, seconds: float) -> None:
    points["x"].append(at_s)
    points["y"].append(round(1000 * seconds, 2))
    points["text"].append(latency_text(seconds))
