"""The published times, and what the batches and prompts of the busiest rank say of them."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from nbkit.analysis.published import (
    DTYPE,
    GPU,
    MODEL,
    PROMPTS,
    batch_rounds,
    predict_from_first_row,
    predicted_seconds,
    rows,
    seconds_per_prompt,
)
from nbkit.figures.style import RANK_COLOURS, TOTAL_COLOUR, WASTE_COLOUR, styled

MOST_GPUS = 8
POINT_COLOUR = RANK_COLOURS[0]
SLOWER_FROM = 1.1
"""Times one GPU's seconds from which a rank counts as slower."""


def published_rounds() -> go.Figure:
    """Published seconds of the batched demo, and those foretold from the batches that the busiest rank runs."""
    figure = go.Figure()
    gpus = list(range(1, MOST_GPUS + 1))
    batch_size = rows("batched")[0].batch_size
    rounds = [batch_rounds(PROMPTS, n, batch_size) for n in gpus]
    figure.add_scatter(
        x=gpus,
        y=[predicted_seconds(n) for n in gpus],
        customdata=rounds,
        name="foretold: batches of the busiest rank",
        mode="lines",
        line={"color": TOTAL_COLOUR, "width": 2, "shape": "hvh"},
        hovertemplate="%{x} GPUs: %{customdata} batches, %{y:.1f} s<extra>foretold</extra>",
    )
    for n, count in zip(gpus, rounds, strict=True):
        text, font = f"{count} {'batch' if count == 1 else 'batches'}", {"color": TOTAL_COLOUR, "size": 12}
        figure.add_annotation(
            x=n, y=predicted_seconds(n), text=text, font=font, showarrow=False, yanchor="top", yshift=-6
        )
    foretold = predict_from_first_row()
    figure.add_scatter(
        x=[row.gpus for row in foretold],
        y=[row.published_s for row in foretold],
        customdata=[row.relative_error for row in foretold],
        name="published",
        mode="markers",
        marker={"color": POINT_COLOUR, "size": 11},
        hovertemplate="%{x} GPUs: %{y:.1f} s, foretold %{customdata:+.1%}<extra>published</extra>",
    )
    _gpu_axis(figure, MOST_GPUS)
    figure.update_yaxes(title=f"seconds for {PROMPTS} prompts", rangemode="tozero")
    worst = math.ceil(100 * max(abs(row.relative_error) for row in foretold))
    return styled(figure, f"Batches a rank predict the published times within {worst}%", height=340)


def published_seconds_per_prompt() -> go.Figure:
    """Seconds that the busiest rank of the simple demo took for each prompt: alike, were ranks independent."""
    figure = go.Figure()
    seconds = seconds_per_prompt()
    one = seconds[0].seconds
    figure.add_scatter(
        x=[row.gpus for row in seconds],
        y=[row.seconds for row in seconds],
        customdata=[[row.share, row.ratio] for row in seconds],
        text=[f"{row.seconds:.1f} s" for row in seconds],
        textposition="top center",
        name="published",
        mode="lines+markers+text",
        line={"color": POINT_COLOUR, "width": 2},
        marker={"size": 11, "color": [WASTE_COLOUR if row.ratio > SLOWER_FROM else POINT_COLOUR for row in seconds]},
        cliponaxis=False,
        showlegend=False,
        hovertemplate="%{x} GPUs: %{customdata[0]} prompts on the busiest rank, %{y:.2f} s each, "
        "%{customdata[1]:.2f} times one GPU's<extra></extra>",
    )
    line = {"color": TOTAL_COLOUR, "dash": "dash", "width": 1.5}
    figure.add_hline(y=one, line=line, annotation_text="as fast as one GPU", annotation_position="bottom right")
    _gpu_axis(figure, seconds[-1].gpus)
    figure.update_yaxes(title="seconds a prompt", range=[0, 1.2 * max(row.seconds for row in seconds)])
    slower = next(row for row in seconds if row.ratio > SLOWER_FROM)
    most = max(row.ratio for row in seconds)
    title = f"From {slower.gpus} GPUs on each rank is slower: up to {most:.1f} times one GPU's time a prompt"
    return styled(figure, title, height=320)


def _gpu_axis(figure: go.Figure, most: int) -> None:
    title = f"GPUs ({GPU}; {MODEL}, {DTYPE}; Geronimo, 2023)"
    figure.update_xaxes(title=title, dtick=1, range=[0.5, most + 0.5], zeroline=False)
