"""The one quiet style of all figures.

A rank has the same colour everywhere: Paul Tol's "bright" scheme, which colour-blind
readers tell apart (https://personal.sron.nl/~pault/). The parts of time have no hue:
work is slate, waiting a light grey, so that what is wasted, in vermilion (Okabe and
Ito, 2008) and hatched, stands out. Warming up and compiling, done once, and the gather have hues of the
same scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

Arrays = dict[str, Any]
"""What one trace shows, by plotly's names of its attributes: lists, and whether the legend names it."""

RANK_COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#8C6D46", "#777777")
TOTAL_COLOUR = "#808080"
RUN_COLOURS = ("#808080", "#B8860B", "#9370DB", "#20A39E")
"""Mid-tones, as all colours here: they are seen on light and on dark pages."""
USEFUL_COLOUR, COMPUTED_COLOUR = "#4477AA", "#B8C9DC"
WASTE_COLOUR = "#D55E00"
PART_COLOURS = {
    "warm-up": "#E69F00",
    "tokenise": "#CBD2D9",
    "compile": "#CC79A7",
    "prefill": "#52606D",
    "padding": WASTE_COLOUR,
    "decode": "#9AA5B1",
    "after the end": WASTE_COLOUR,
    "detokenise": "#CBD2D9",
    "waiting": "#E4E7EB",
    "gather": "#009E73",
    "other": "#F0F2F4",
}
PART_PATTERNS = {"padding": "/", "after the end": "\\", "waiting": "."}
SINCE_BEGIN = "seconds since the run began"


def rank_colour(rank: int) -> str:
    """The colour of a rank; from the ninth on they repeat."""
    return RANK_COLOURS[rank % len(RANK_COLOURS)]


def part_marker(part: str) -> dict[str, object]:
    """How a part of the time is drawn: its colour, hatched if it is waste or waiting."""
    marker: dict[str, object] = {"color": PART_COLOURS[part], "line": {"width": 0}}
    if part in PART_PATTERNS:
        marker["pattern"] = {
            "shape": PART_PATTERNS[part],
            "fgcolor": "#FFFFFF" if PART_COLOURS[part] == WASTE_COLOUR else "#9AA5B1",
            "fillmode": "overlay",
            "size": 5,
            "solidity": 0.35,
        }
    return marker


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
