"""Wall: everyone's tokens per second by batch size, on one figure that is read from the back of a room."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.analysis.wall import Board, Learner
from nbkit.figures.style import RANK_COLOURS, styled

HEIGHT = 520
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "star", "hexagon", "x")
SYMBOL_LETTERS = ("●", "◆", "■", "▲", "✚", "★", "⬢", "✖")
"""The symbols as text has them, for a table beside the figure."""
LEAST_SIZES = 32
"""The batch size that is always shown."""
NAMED = 3
"""At most so many of the fastest have their name in the figure."""
NAME_ROOM = 0.05
"""A line of a name has this share of the fastest's height; a name needs it free, and so does one above."""


def wall(board: Board) -> go.Figure:
    """The best run of each learner for each batch size: a colour and a symbol a learner; the fastest are named."""
    figure = go.Figure()
    named = _named(board.ranked)
    many = len(board.ranked) > 10
    for learner in board.learners:
        if learner.runs:
            _add(figure, learner, many, learner in named)
    if not figure.data:
        figure.add_scatter(x=[], y=[], mode="markers")
    largest = max([LEAST_SIZES, *(run.batch_size for learner in board.learners for run in learner.runs)])
    doublings = math.ceil(math.log2(largest))
    ticks = [2**step for step in range(0, doublings + 1, 1 if doublings <= 10 else 2)]
    figure.update_xaxes(
        title="batch size", type="log", tickvals=ticks, range=[math.log10(0.8), math.log10(1.3 * 2**doublings)]
    )
    figure.update_yaxes(title="tokens/s users get", rangemode="tozero")
    styled(figure, _title(board), HEIGHT)
    figure.update_layout(font={"size": 16}, title_font_size=18, showlegend=False, margin={"l": 74, "t": 44, "b": 54})
    return figure.update_xaxes(title_font_size=16).update_yaxes(title_font_size=16)


def learner_colour(number: int) -> str:
    """The colour of a learner; from the ninth on they repeat, with another symbol."""
    return RANK_COLOURS[number % len(RANK_COLOURS)]


def learner_symbol(number: int) -> str:
    """A learner's symbol as text has it."""
    return SYMBOL_LETTERS[_symbol(number)]


def _named(ranked: Sequence[Learner]) -> list[Learner]:
    """The fastest above whose best run there is room for a name: none of another learner's dots."""
    room = NAME_ROOM * _best_speed(ranked[0]) if ranked else 0.0
    free = [learner for learner in ranked if not any(_covers(other, learner, room) for other in ranked)]
    return free[:NAMED]


def _covers(other: Learner, learner: Learner, room: float) -> bool:
    """Whether a dot of the other lies where the name would stand."""
    best = learner.best
    return best is not None and any(
        run.batch_size == best.batch_size and 0 < run.tokens_per_second - best.tokens_per_second < 2 * room
        for run in other.runs
    )


def _best_speed(learner: Learner) -> float:
    return learner.best.tokens_per_second if learner.best else 0.0


def _symbol(number: int) -> int:
    return number // len(RANK_COLOURS) % len(SYMBOLS)


def _add(figure: go.Figure, learner: Learner, many: bool, is_named: bool) -> None:
    # Of text plotly takes tags for markup: a name is shown as what it is.
    name = html.escape(learner.name, quote=False)
    best = learner.best
    labels = [name if is_named and run is best else "" for run in learner.runs]
    figure.add_scatter(
        x=[run.batch_size for run in learner.runs],
        y=[run.tokens_per_second for run in learner.runs],
        mode="lines+markers+text" if is_named else "lines+markers",
        name=name,
        text=labels,
        textposition="top center",
        textfont={"size": 16},
        cliponaxis=False,
        line={"color": learner_colour(learner.number), "width": 1 if many else 2},
        marker={
            "color": learner_colour(learner.number),
            "symbol": SYMBOLS[_symbol(learner.number)],
            "size": 11 if many else 13,
        },
        hovertext=[f"{name}: {html.escape(run.engine, quote=False)}, {run.ranks} rank(s)" for run in learner.runs],
        hovertemplate="%{hovertext}<br>batch size %{x}: %{y:,.0f} tokens/s<extra></extra>",
    )


def _title(board: Board) -> str:
    if not board.model:
        return "Tokens/s by batch size"
    return (
        f"Tokens/s by batch size: {html.escape(board.model, quote=False)} on {html.escape(board.device, quote=False)}"
    )
