"""How long prompts are: what padding will cost is seen before a run."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.style import USEFUL_COLOUR, Arrays, styled

MOST_BINS = 30


def token_histogram(lengths: Sequence[int], title: str = "") -> go.Figure:
    """How many prompts have how many tokens."""
    figure = go.Figure()
    figure.add_bar(**histogram_bars(lengths), marker_color=USEFUL_COLOUR)
    figure.update_traces(hovertemplate="%{customdata} tokens: %{y} prompt(s)<extra></extra>")
    figure.update_layout(bargap=0.05, showlegend=False)
    figure.update_xaxes(title="tokens a prompt")
    figure.update_yaxes(title="prompts", rangemode="tozero")
    return styled(figure, title, height=220).update_layout(margin_t=40)


def histogram_bars(lengths: Sequence[int]) -> Arrays:
    """What the bars show: the middle of each bin, prompts in it, its width, and its range in words."""
    if not lengths:
        return {"x": [], "y": [], "width": [], "customdata": []}
    first, last = min(lengths), max(lengths)
    width = max(1, -(-(last + 1 - first) // MOST_BINS))
    begins = range(first, last + 1, width)
    counts = [0] * len(begins)
    for length in lengths:
        counts[(length - first) // width] += 1
    return {
        "x": [begin + (width - 1) / 2 for begin in begins],
        "y": list(counts),
        "width": [width] * len(begins),
        "customdata": [f"{begin}" if width == 1 else f"{begin} to {begin + width - 1}" for begin in begins],
    }
