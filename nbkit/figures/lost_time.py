"""Lost time: where the wall time went on each number of ranks, and what keeps more ranks from being faster."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.analysis.lost_time import LOSSES, LostTime
from nbkit.analysis.scaling import GAIN, ScalingPoint
from nbkit.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, VIOLET, styled

USEFUL_COLOUR = BLUE
LOSS_COLOURS = dict(zip(LOSSES, (VERMILION, ORANGE, VIOLET, PURPLE, SKY, GREEN, GREY), strict=True))


def lost_time(points: Sequence[ScalingPoint]) -> go.Figure:
    """Useful work and each loss in percent of the wall time, a bar for each number of ranks.

    A loss below 0, as of ranks faster than expected, is drawn below 0, where the axis says what it means; all of a
    bar is 100%. Points
    without an account have no bar.
    """
    figure = go.Figure()
    accounts = [point.lost for point in points if point.lost is not None]
    _add_bars(figure, accounts, "useful work", USEFUL_COLOUR, [account.useful_s for account in accounts])
    for name, colour in LOSS_COLOURS.items():
        _add_bars(figure, accounts, name, colour, [account.losses[name] for account in accounts])
    figure.update_layout(barmode="relative", bargap=0.3)
    figure.update_yaxes(title="% of the wall time")
    gains = any(loss < -GAIN * account.wall_s for account in accounts for loss in account.losses.values())
    faster = f" (below 0: faster than on {_in_words(accounts[0].ranks)})" if gains else ""
    figure.update_xaxes(title=f"ranks{faster}", type="category")
    return _with_legend_beside(styled(figure, _lost_title(accounts), height=400))


def gap(points: Sequence[ScalingPoint]) -> go.Figure:
    """Seconds of wall time beyond what n ranks could be, by cause; held against the fewest ranks.

    Points without an account have no bar.
    """
    figure = go.Figure()
    gaps = [gap for gap, _ in _told(points)]
    for name, colour in LOSS_COLOURS.items():
        figure.add_bar(
            x=[str(gap.ranks) for gap in gaps],
            y=[gap.losses[name] for gap in gaps],
            name=name,
            marker_color=colour,
            hovertemplate="%{x} ranks: %{y:.3f} s<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="relative", bargap=0.3)
    figure.update_yaxes(title="seconds beyond the ideal")
    less = any(loss < -GAIN * point.wall_s.median for gap, point in _told(points) for loss in gap.losses.values())
    below = f" (below 0: less lost than on {_in_words(points[0].ranks)})" if less else ""
    figure.update_xaxes(title=f"ranks{below}", type="category")
    return _with_legend_beside(styled(figure, _gap_title(gaps), height=400))


def _told(points: Sequence[ScalingPoint]) -> list[tuple[LostTime, ScalingPoint]]:
    return [(point.gap, point) for point in points[1:] if point.gap is not None]


def _add_bars(
    figure: go.Figure, accounts: Sequence[LostTime], name: str, colour: str, seconds: Sequence[float]
) -> None:
    walls = [account.wall_s for account in accounts]
    figure.add_bar(
        x=[str(account.ranks) for account in accounts],
        y=[100 * part / wall if wall else 0.0 for part, wall in zip(seconds, walls, strict=True)],
        customdata=[[part] for part in seconds],
        name=name,
        marker_color=colour,
        hovertemplate="%{x} ranks: %{y:.1f}%, %{customdata[0]:.3f} s<extra>%{fullData.name}</extra>",
    )


def _with_legend_beside(figure: go.Figure) -> go.Figure:
    """Eight names do not fit above a figure of half a page."""
    figure.update_layout(
        legend={"orientation": "v", "x": 1.02, "y": 1.0, "yanchor": "top", "font": {"size": 12}},
        showlegend=True,
        margin_t=46,
    )
    return figure


def _in_words(ranks: int) -> str:
    return f"{ranks} rank{'s' if ranks > 1 else ''}"


def _lost_title(accounts: Sequence[LostTime]) -> str:
    if not accounts:
        return "Where the wall time went"
    last = accounts[-1]
    share = 100 * last.losses[last.largest] / last.wall_s if last.wall_s else 0.0
    return f"{_in_words(last.ranks)}: {share:.0f}% lost to {last.largest}"


def _gap_title(gaps: Sequence[LostTime]) -> str:
    if not gaps:
        return "What keeps more ranks from being faster"
    last = gaps[-1]
    if last.wall_s <= 0:
        return f"{_in_words(last.ranks)}: as fast as can be"
    return f"{_in_words(last.ranks)}: {last.wall_s:.2f} s slower than ideal"
