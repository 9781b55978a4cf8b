"""Throughput of a bulk by the clock, over all processes that were at it."""

from __future__ import annotations

import itertools
from datetime import datetime

import plotly.graph_objects as go

from nbkit.figures.style import TOTAL_COLOUR, Arrays, styled
from nbkit.inference.bulk.history import History, Sample

MOST_POINTS = 200
"""About so many, whatever time it takes; each session has one at least."""
MOST_SESSIONS = 200
LEAST_S = 1.0


def bulk_throughput(history: History, title: str = "") -> go.Figure:
    """New tokens per second by the clock of this machine; the line is broken where no process was at it."""
    figure = go.Figure()
    figure.add_scatter(**bulk_throughput_line(history), line={"color": TOTAL_COLOUR, "width": 2})
    figure.update_traces(mode="lines+markers", marker_size=4, connectgaps=False)
    figure.update_xaxes(title="time of day", type="date")
    figure.update_yaxes(title="new tokens/s", rangemode="tozero")
    return styled(figure, title, height=220).update_layout(margin_t=36, margin_b=54)


def bulk_throughput_line(history: History) -> Arrays:
    """What the line shows: at the end of each interval the tokens per second in it."""
    every_s = max(LEAST_S, history.seconds / MOST_POINTS)
    times: list[str | None] = []
    rates: list[float | None] = []
    for session in history.sessions[-MOST_SESSIONS:]:
        for before, after in _intervals(session.samples, every_s):
            times.append(datetime.fromtimestamp(after.at).isoformat(timespec="seconds"))
            rates.append(round((after.new_tokens - before.new_tokens) / (after.seconds - before.seconds), 1))
        times.append(None)
        rates.append(None)
    return {"x": times[:-1], "y": rates[:-1]}


def _intervals(samples: list[Sample], every_s: float) -> list[tuple[Sample, Sample]]:
    """Neighbouring samples at least so many seconds apart; the whole where it is shorter."""
    chosen = samples[:1]
    for sample in samples[1:]:
        if sample.seconds - chosen[-1].seconds >= every_s:
            chosen.append(sample)
    if len(chosen) == 1 and samples[-1].seconds > samples[0].seconds:
        chosen.append(samples[-1])
    return list(itertools.pairwise(chosen))
