"""In words: what a wall shows beside its figure, as HTML in which every text of a learner's is text."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator

from nbkit.analysis.wall import Board, Learner
from nbkit.figures.wall import learner_colour, learner_symbol

COLUMNS = ("", "name", "tokens/s", "batch", "engine × ranks", "runs", "last seen")
MANY = 14
"""From so many rows on they are set closer."""


def headline_html(board: Board) -> str:
    """The best so far, and how many are there."""
    return (
        f"<div class='nbkit-wall-best' role='status'>{html.escape(board.headline)}</div>"
        f"<div class='nbkit-wall-presence'>{html.escape(board.presence)}</div>"
    )


def table_html(board: Board, now_s: float | None = None) -> str:
    """A row a learner, the fastest first; then who has not started and who is not there; then what was left out."""
    now_s = time.time() if now_s is None else now_s
    rows = "".join(_row(place, learner, now_s) for place, learner in enumerate(board.ranked, 1))
    closer = " nbkit-wall-many" if len(board.ranked) > MANY else ""
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    table = f"<table class='nbkit-wall-rows{closer}'><tr>{head}</tr>{rows}</table>" if rows else ""
    return table + "".join(_lines(board, now_s))


def ago(seconds: float) -> str:
    """How long ago, in the largest whole unit."""
    seconds = max(0, round(seconds))
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _row(place: int, learner: Learner, now_s: float) -> str:
    assert learner.best is not None
    best = learner.best
    workers = f" × {best.ranks}" if best.ranks > 1 else ""
    return (
        f"<tr><td class='nbkit-wall-mark' style='color:{learner_colour(learner.number)}' aria-hidden='true'>"
        f"{learner_symbol(learner.number)}</td>"
        f"<td class='nbkit-wall-name' dir='auto'>{html.escape(learner.name)}</td>"
        f"<td>{best.tokens_per_second:,.0f}</td><td>{best.batch_size}</td>"
        f"<td class='nbkit-wall-text'>{html.escape(best.engine)}{workers}</td>"
        f"<td>{learner.runs_done}</td><td>{ago(now_s - learner.seen_s)} ago</td></tr>"
    )


def _lines(board: Board, now_s: float) -> Iterator[str]:
    waiting = [f"{learner.name} (joined {ago(now_s - learner.seen_s)} ago)" for learner in board.waiting]
    elsewhere = [learner.name for learner in board.learners if learner.has_started and not learner.best]
    for title, names in (
        ("Not started yet", waiting),
        ("Not here yet", board.missing),
        ("With another model only", elsewhere),
    ):
        if names:
            listed = ", ".join(f"<span dir='auto'>{html.escape(name)}</span>" for name in names)
            yield f"<p><b>{title} ({len(names)})</b>: {listed}</p>"
    for note in board.notes:
        yield f"<p class='nbkit-wall-note'>{html.escape(note)}.</p>"
