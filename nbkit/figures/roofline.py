"""Roofline: decoding against batch size, with what memory and arithmetic allow and what runs reached."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from nbkit.analysis.roofline import Limit, RunAgainstLimit, decode_limit, ridge_batch_size
from nbkit.figures.style import GREY, RANK_COLOURS, styled
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape

LIMIT_COLOUR = ROOF_COLOUR = GREY
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "star", "cross", "x", "pentagon")
LEAST_BATCHES, MOST_BATCHES = 32, 4096
"""The batch size that is always shown, and the largest to which the axis goes for the knee's sake."""


def roofline(
    shape: ModelShape,
    speed: DeviceSpeed,
    dtype: str,
    context: float,
    points: Mapping[str, RunAgainstLimit],
) -> go.Figure:
    """Tokens per second that one rank can decode at each batch size, and what runs reached.

    Parameters
    ----------
    context : float
        Positions that a token attends to, for the lines. Each point's fraction is of the
        limit at its own context.
    points : mapping of str to RunAgainstLimit
        Names to runs held against their limits; a run of several ranks is shown as their mean.

    Raises
    ------
    InputError
        The dtype or the context cannot be used.
    """
    figure = go.Figure()
    ridge = ridge_batch_size(shape, speed, dtype, context)
    sizes = _batch_sizes(ridge, points)
    limits = [decode_limit(shape, speed, dtype, size, context) for size in sizes]
    _add_roofs(figure, sizes, limits)
    if ridge <= sizes[-1]:
        _add_knee(figure, ridge, decode_limit(shape, speed, dtype, ridge, context))
    for number, (name, point) in enumerate(points.items()):
        _add_point(figure, number, name, point)
    shown = [math.log10(sizes[0]) - 0.05, math.log10(sizes[-1]) + 0.05]
    figure.update_xaxes(title="batch size", type="log", tickvals=_powers_of_two(sizes[-1]), range=shown)
    figure.update_yaxes(title="decoded tokens/s a rank", type="log", dtick="D2")
    return styled(figure, _title(points, ridge), height=380)


def _add_roofs(figure: go.Figure, sizes: list[float], limits: list[Limit]) -> None:
    roofs = (
        ("memory alone", [limit.tokens / limit.memory_s for limit in limits], "dash"),
        ("arithmetic alone", [limit.tokens / limit.arithmetic_s for limit in limits], "dot"),
    )
    for name, values, dash in roofs:
        line = {"color": ROOF_COLOUR, "width": 1.5, "dash": dash}
        figure.add_scatter(x=sizes, y=values, name=name, mode="lines", line=line, hoverinfo="skip")
    figure.add_scatter(
        x=sizes,
        y=[limit.tokens_per_second for limit in limits],
        customdata=[[limit.bound, limit.intensity] for limit in limits],
        name="limit",
        mode="lines",
        line={"color": LIMIT_COLOUR, "width": 3},
        hovertemplate="batch size %{x:.0f}: at most %{y:.4s} tokens/s<br>bound by %{customdata[0]}, "
        "%{customdata[1]:.1f} operations/byte<extra></extra>",
    )


def _add_knee(figure: go.Figure, ridge: float, limit: Limit) -> None:
    figure.add_scatter(
        x=[ridge],
        y=[limit.tokens_per_second],
        mode="markers",
        marker={"color": "#FFFFFF", "size": 10, "line": {"color": LIMIT_COLOUR, "width": 2.5}},
        showlegend=False,
        hovertemplate=f"batch size {ridge:.0f}: from here on arithmetic bounds<extra></extra>",
    )
    # plotly places annotations on a logarithmic axis by the exponent.
    figure.add_annotation(
        x=math.log10(ridge),
        y=math.log10(limit.tokens_per_second),
        text=f"knee at batch size {ridge:.0f}",
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        yshift=6,
        font={"size": 12},
    )


def _add_point(figure: go.Figure, number: int, name: str, point: RunAgainstLimit) -> None:
    figure.add_scatter(
        x=[point.batch_size],
        y=[point.tokens_per_second / point.ranks],
        name=name,
        mode="markers",
        marker={
            "color": RANK_COLOURS[number % len(RANK_COLOURS)],
            "symbol": SYMBOLS[number % len(SYMBOLS)],
            "size": 12,
            "line": {"color": "#FFFFFF", "width": 1},
        },
        hovertemplate="batch size %{x:.1f}: %{y:.4s} tokens/s a rank<br>"
        f"<b>{point.fraction:.0%}</b> of its limit ({point.limit.bound}), "
        f"context {point.context:.0f}, {point.ranks} rank(s)<extra>%{{fullData.name}}</extra>",
    )


def _batch_sizes(ridge: float, points: Mapping[str, RunAgainstLimit]) -> list[float]:
    """Batch sizes for the lines, evenly spaced on a logarithmic axis, past the knee and the last point."""
    shown = [2 * point.batch_size for point in points.values()]
    knee = [4 * ridge] if 4 * ridge <= MOST_BATCHES else []
    doublings = math.ceil(math.log2(max([LEAST_BATCHES, *shown, *knee])))
    sizes = {2 ** (step / 8) for step in range(8 * doublings + 1)}
    return sorted(sizes | {ridge} if 1 <= ridge <= 2**doublings else sizes)


def _powers_of_two(largest: float) -> list[int]:
    doublings = round(math.log2(largest))
    return [2**step for step in range(0, doublings + 1, 1 if doublings <= 8 else 2)]


def _title(points: Mapping[str, RunAgainstLimit], ridge: float) -> str:
    if points:
        best = max(points, key=lambda name: points[name].fraction)
        return f"{best}: {points[best].fraction:.0%} of what {points[best].limit.bound} allows"
    if ridge <= 1:
        return "Arithmetic bounds decoding at every batch size"
    if math.isinf(ridge):
        return "Memory bounds decoding at every batch size"
    return f"Memory bounds decoding up to batch size {ridge:.0f}"
