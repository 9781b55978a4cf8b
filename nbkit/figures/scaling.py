"""Scaling: speed-up and efficiency against the number of ranks, and throughput over ranks and batch sizes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import plotly.graph_objects as go

from nbkit.analysis.scaling import ScalingPoint, Spread
from nbkit.figures.style import GREY, RUN_COLOURS, styled
from nbkit.records.run import Run

IDEAL_COLOUR = GREY
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")

NARROW_PX, TITLE_PX, LEGEND_ROW_PX = 480, 46, 19
"""Of the narrowest figure in which a legend has to keep clear of the title."""
LONGEST_TITLE = 46
"""Characters that fit above a figure of 430 px: half a page."""
HEAT_COLOURS = ("#DEEBF7", "#C6DBEF", "#9ECAE1", "#6BAED6", "#4292C6")
"""The light part of ColorBrewer's Blues (Brewer, 2003): black numbers are readable on all of it."""

Series = Mapping[str, Sequence[ScalingPoint]]
"""Points of each series, by its label."""


def speed_up(points_by_series: Series) -> go.Figure:
    """How many times as fast as one rank more ranks are; bars reach from the lowest repeat to the highest."""
    most = _most_ranks(points_by_series)
    figure = _lines(points_by_series, lambda point: point.speed_up, ideal=[1, most])
    figure.update_yaxes(title="speed-up, times", rangemode="tozero")
    figure = styled(figure, _speed_up_title(points_by_series), height=360)
    return with_room_for_legend(figure, [*points_by_series, "ideal"])


def efficiency(points_by_series: Series) -> go.Figure:
    """Parallel efficiency in percent: the speed-up over the number of ranks."""
    figure = _lines(points_by_series, lambda point: point.efficiency.times(100), ideal=[100, 100])
    figure.update_yaxes(title="parallel efficiency, %", rangemode="tozero")
    figure = styled(figure, _efficiency_title(points_by_series), height=360)
    return with_room_for_legend(figure, [*points_by_series, "ideal"])


def heat_map(runs: Sequence[Run]) -> go.Figure:
    """Tokens per second that users get, by ranks and batch size; what was not measured is blank.

    Parameters
    ----------
    runs : sequence of Run
        Complete ones that differ in ranks and batch size only: of runs with the same two, whatever
        else they differ in, a cell has the median.
    """
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for run in runs:
        cells[run.world_size, run.batch_size].append(run.tokens_per_second)
    rates = {cell: statistics.median(values) for cell, values in cells.items()}
    ranks, sizes = (sorted({cell[axis] for cell in rates}) for axis in (0, 1))
    figure = go.Figure()
    figure.add_heatmap(
        x=[str(size) for size in sizes],
        y=[str(count) for count in ranks],
        z=[[rates.get((count, size)) for size in sizes] for count in ranks],
        # From 0 on: a single cell, or cells that hardly differ, then look it.
        zmin=0,
        zmax=max(rates.values(), default=0.0) or 1.0,
        colorscale=list(HEAT_COLOURS),
        colorbar={"title": {"text": "tokens/s", "side": "right", "font": {"size": 13}}, "thickness": 14},
        texttemplate="%{z:.0f}",
        textfont={"size": 16, "color": "#111111"},
        hoverongaps=False,
        hovertemplate="%{y} ranks, batch size %{x}: %{z:.1f} tokens/s<extra></extra>",
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(title="batch size", type="category")
    figure.update_yaxes(title="ranks", type="category")
    return styled(figure, _heat_title(rates), height=200 + 60 * min(8, max(2, len(ranks))))


def with_room_for_legend(figure: go.Figure, names: Iterable[str]) -> go.Figure:
    """Make a styled figure taller by the rows of legend that a narrow page needs beyond one."""
    lengths = [len(name) for name in names]
    # Plotly gives all entries the width of the longest: its mark, and some 6 px a character.
    beside = max(1, (NARROW_PX - 72) // (45 + 6 * max(lengths, default=1)))
    rows = max(1, -(-len(lengths) // beside))
    return figure.update_layout(
        height=figure.layout.height + (rows - 1) * LEGEND_ROW_PX, margin_t=TITLE_PX + rows * LEGEND_ROW_PX
    )


def _lines(points_by_series: Series, value: Callable[[ScalingPoint], Spread], ideal: Sequence[float]) -> go.Figure:
    """The ideal, from one rank to the most, beneath a line for each series."""
    figure = go.Figure()
    line = {"color": IDEAL_COLOUR, "dash": "dash", "width": 2}
    x = [1, _most_ranks(points_by_series)]
    if points_by_series:
        figure.add_scatter(x=x, y=list(ideal), name="ideal", mode="lines", line=line, hoverinfo="skip")
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


def _most_ranks(points_by_series: Series) -> int:
    return max((point.ranks for points in points_by_series.values() for point in points), default=2)


def _ends(points_by_series: Series) -> dict[str, ScalingPoint]:
    """The most ranks of each series that has several."""
    return {label: points[-1] for label, points in points_by_series.items() if len(points) > 1}


def _title(best_or_worst: str, finding: str, label: str, ends: Mapping[str, ScalingPoint]) -> str:
    """The finding, with the name of its series where that fits."""
    if len(ends) > 1:
        titles = f"At {best_or_worst} {finding}: {label}", f"At {best_or_worst} {finding}"
    else:
        titles = f"{label}: {finding}", finding
    return titles[0] if len(titles[0]) <= LONGEST_TITLE else titles[1]


def _speed_up_title(points_by_series: Series) -> str:
    if not (ends := _ends(points_by_series)):
        return "Speed-up"
    label, best = max(ends.items(), key=lambda end: end[1].speed_up.median)
    return _title("best", f"{best.speed_up.median:.2f} times as fast on {best.ranks} ranks", label, ends)


def _efficiency_title(points_by_series: Series) -> str:
    if not (ends := _ends(points_by_series)):
        return "Parallel efficiency"
    label, worst = min(ends.items(), key=lambda end: end[1].efficiency.median)
    return _title("worst", f"{100 * worst.efficiency.median:.0f}% efficiency on {worst.ranks} ranks", label, ends)


def _heat_title(rates: Mapping[tuple[int, int], float]) -> str:
    if not rates:
        return "Throughput by ranks and batch size"
    ranks, size = max(rates, key=lambda cell: rates[cell])
    return f"Most tokens/s, {rates[ranks, size]:.0f}: {ranks} rank{'s' if ranks > 1 else ''}, batch size {size}"
