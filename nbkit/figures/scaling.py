"""Scaling: speed-up and efficiency against the number of ranks, and throughput over ranks and batch sizes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go

from nbkit.analysis.scaling import ScalingPoint, Spread
from nbkit.figures.style import RUN_COLOURS, styled
from nbkit.records import Run

IDEAL_COLOUR = "#9AA5B1"
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")

Series = Mapping[str, Sequence[ScalingPoint]]
"""Points of each series, by its label."""


def speed_up(points_by_series: Series) -> go.Figure:
    """How many times as fast as one rank more ranks are; bars reach from the lowest repeat to the highest."""
    figure = _lines(points_by_series, lambda point: point.speed_up)
    most = max((point.ranks for points in points_by_series.values() for point in points), default=2)
    _add_ideal(figure, [1, most], [1, most])
    figure.update_yaxes(title="speed-up, times", rangemode="tozero")
    return styled(figure, _speed_up_title(points_by_series), height=360)


def efficiency(points_by_series: Series) -> go.Figure:
    """Parallel efficiency in percent: the speed-up over the number of ranks."""
    figure = _lines(points_by_series, lambda point: point.efficiency.times(100))
    most = max((point.ranks for points in points_by_series.values() for point in points), default=2)
    _add_ideal(figure, [1, most], [100, 100])
    figure.update_yaxes(title="parallel efficiency, %", rangemode="tozero")
    return styled(figure, _efficiency_title(points_by_series), height=360)


def heat_map(runs: Sequence[Run]) -> go.Figure:
    """Tokens per second that users get, by ranks and batch size: medians over repeats of runs of one kind."""
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run in runs:
        cells[run.world_size, run.settings.prompts_a_batch].append(run.tokens_per_second)
    rates = {cell: statistics.median(values) for cell, values in cells.items()}
    ranks, sizes = (sorted({cell[axis] for cell in rates}) for axis in (0, 1))
    figure = go.Figure()
    figure.add_heatmap(
        x=[str(size) for size in sizes],
        y=[str(count) for count in ranks],
        z=[[rates.get((count, size)) for size in sizes] for count in ranks],
        colorscale="Cividis",
        colorbar={"title": {"text": "tokens/s", "side": "right"}, "thickness": 14},
        texttemplate="%{z:.0f}",
        textfont={"size": 14},
        hovertemplate="%{y} ranks, batch size %{x}: %{z:.1f} tokens/s<extra></extra>",
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(title="batch size", type="category")
    figure.update_yaxes(title="ranks", type="category")
    return styled(figure, _heat_title(rates), height=200 + 60 * min(8, max(2, len(ranks))))


def _lines(points_by_series: Series, value: Callable[[ScalingPoint], Spread]) -> go.Figure:
    figure = go.Figure()
    for number, (label, points) in enumerate(points_by_series.items()):
        spreads = [value(point) for point in points]
        colour = RUN_COLOURS[number % len(RUN_COLOURS)]
        figure.add_scatter(
            x=[point.ranks for point in points],
            y=[spread.median for spread in spreads],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [spread.high - spread.median for spread in spreads],
                "arrayminus": [spread.median - spread.low for spread in spreads],
                "color": colour,
            },
            name=label,
            mode="lines+markers",
            line={"color": colour, "width": 2.5, "dash": DASHES[number % len(DASHES)]},
            marker={"size": 9, "symbol": SYMBOLS[number % len(SYMBOLS)]},
            hovertemplate="%{x} ranks: %{y:.2f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title="ranks", dtick=1 if _most_ranks(points_by_series) <= 12 else None)
    figure.update_layout(showlegend=True)
    return figure


def _add_ideal(figure: go.Figure, x: Sequence[float], y: Sequence[float]) -> None:
    line = {"color": IDEAL_COLOUR, "dash": "dash", "width": 1.5}
    figure.add_scatter(x=list(x), y=list(y), name="ideal", mode="lines", line=line, hoverinfo="skip")


def _most_ranks(points_by_series: Series) -> int:
    return max((point.ranks for points in points_by_series.values() for point in points), default=1)


def _ends(points_by_series: Series) -> list[ScalingPoint]:
    """The most ranks of each series that has several."""
    return [points[-1] for points in points_by_series.values() if len(points) > 1]


def _speed_up_title(points_by_series: Series) -> str:
    if not (ends := _ends(points_by_series)):
        return "Speed-up"
    best = max(ends, key=lambda point: point.speed_up.median)
    return f"At best {best.speed_up.median:.2f} times as fast on {best.ranks} ranks"


def _efficiency_title(points_by_series: Series) -> str:
    if not (ends := _ends(points_by_series)):
        return "Parallel efficiency"
    worst = min(ends, key=lambda point: point.efficiency.median)
    return f"At worst {100 * worst.efficiency.median:.0f}% efficiency on {worst.ranks} ranks"


def _heat_title(rates: Mapping[tuple[int, int], float]) -> str:
    if not rates:
        return "Throughput by ranks and batch size"
    ranks, size = max(rates, key=lambda cell: rates[cell])
    return f"Most tokens/s, {rates[ranks, size]:.0f}: {ranks} rank{'s' if ranks > 1 else ''}, batch size {size}"
