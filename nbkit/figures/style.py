"""The one quiet style of all figures.

The colours are those of Okabe and Ito ('Color Universal Design', 2008, https://jfly.uni-koeln.de/color/), which
colour-blind readers tell apart. Orange, sky blue and vermilion are darker here, and violet and a grey stand for
yellow and black, so that each is seen on a light page and on a dark one: a contrast of 3:1 at least, as WCAG 2.2
asks of graphics (1.4.11). What is wasted is vermilion and hatched; what is not computing has no hue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

Arrays = dict[str, Any]
"""What one trace shows, by plotly's names of its attributes: lists, and whether the legend names it."""

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#C08800", "#009E73", "#CC79A7"
SKY, VIOLET, VERMILION, GREY = "#459BD0", "#A22DF6", "#C65300", "#6E6E6E"
RANK_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VIOLET, VERMILION, GREY)
TOTAL_COLOUR = GREY
RUN_COLOURS = (GREY, VERMILION, VIOLET, SKY)
USEFUL_COLOUR, COMPUTED_COLOUR = BLUE, GREY
WASTE_COLOUR = VERMILION
PART_COLOURS = {
    "warm-up": ORANGE,
    "tokenise": GREY,
    "compile": PURPLE,
    "prefill": BLUE,
    "padding": WASTE_COLOUR,
    "decode": GREEN,
    "after the end": WASTE_COLOUR,
    "detokenise": GREY,
    "waiting": GREY,
    "gather": SKY,
    "other": GREY,
}
PART_PATTERNS = {"padding": "/", "after the end": "\\", "waiting": ".", "other": "x"}
SINCE_BEGIN = "seconds since the run began"


def rank_colour(rank: int) -> str:
    """The colour of a rank; from the ninth on they repeat."""
    return RANK_COLOURS[rank % len(RANK_COLOURS)]


def part_marker(part: str) -> dict[str, object]:
    """How a part of the time is drawn: its colour; waste hatched, and what is no work an outline with a pattern."""
    colour = PART_COLOURS[part]
    marker: dict[str, object] = {"color": colour, "line": {"width": 0}}
    if part not in PART_PATTERNS:
        return marker
    pattern = {"shape": PART_PATTERNS[part], "size": 5, "solidity": 0.35}
    if colour == WASTE_COLOUR:
        return {**marker, "pattern": {**pattern, "fgcolor": "#FFFFFF", "fillmode": "overlay"}}
    return {
        "color": colour,
        "line": {"width": 1, "color": colour},
        "pattern": {**pattern, "fgcolor": colour, "fillmode": "replace"},
    }


def rank_rows(ranks: Sequence[int]) -> list[str]:
    """The rows of a figure with one a rank, from the top, named by its number among the workers."""
    return [f"rank {rank}" for rank in ranks]


def styled(figure: go.Figure, title: str, height: int) -> go.Figure:
    """The figure in the common style, with its title; it takes the width it is given."""
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "font": {"size": 16}, "x": 0, "xref": "paper", "xanchor": "left", "y": 0.98},
        title_yanchor="top",
        font={"size": 13},
        height=height,
        autosize=True,
        margin={"l": 58, "r": 14, "t": 64, "b": 42},
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "yanchor": "bottom",
            "y": 1.0,
            "xanchor": "left",
            "x": 0.0,
            "font": {"size": 12},
        },
    )
    axis_title = {"title_font_size": 13, "title_standoff": 6}
    return figure.update_xaxes(axis_title).update_yaxes(axis_title)


def logarithmic(title: str, values: Sequence[float]) -> dict[str, object]:
    """A logarithmic axis over some values, its ticks at 1, 2, 5, 10, ... written out in full."""
    positive = [value for value in values if value > 0] or [1.0]
    decades = range(math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive))) + 1)
    ticks = [mantissa * 10.0**decade for decade in decades for mantissa in (1, 2, 5)]
    return {"title": title, "type": "log", "tickvals": ticks, "ticktext": [f"{tick:,.10g}" for tick in ticks]}


def show_rows(figure: go.Figure, rows: Sequence[str]) -> None:
    """Horizontal bars in these rows, the first on top, all rows there even while they are empty."""
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=rows[::-1], range=[-0.6, len(rows) - 0.4]
    )
