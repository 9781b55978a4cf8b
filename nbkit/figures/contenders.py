"""Contenders: what ``benchmarks/compare.py`` measured, as bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from nbkit.figures.style import USEFUL_COLOUR, show_rows, styled

USEFUL = "useful tokens/s"


def contenders(result: Mapping[str, Any]) -> go.Figure:
    """Useful tokens per second of each contender, the fastest on top, with the machine that they were measured on.

    Parameters
    ----------
    result : mapping
        What ``benchmarks/compare.py`` wrote: its ``table``, ``machine`` and ``options``.
    """
    table = sorted(result["table"], key=lambda row: row[USEFUL], reverse=True)
    rows = [f"{row['contender']} ({row['where']})" for row in table]
    figure = go.Figure()
    figure.add_bar(
        x=[row[USEFUL] for row in table],
        y=rows,
        text=[_text(row) for row in table],
        orientation="h",
        marker_color=USEFUL_COLOUR,
        hovertemplate="%{y}: %{x:.0f} useful tokens/s<extra></extra>",
    )
    show_rows(figure, rows)
    machine = result["machine"]
    on = f"{machine['processor']}, {machine['cores']} cores, {result['options']['dtype']}"
    figure.update_xaxes(title=f"useful tokens/s ({on})", rangemode="tozero")
    figure.update_yaxes(automargin=True)
    slowest, fastest = table[-1], table[0]
    times = fastest[USEFUL] / slowest[USEFUL]
    title = f"{fastest['contender']}: {times:.1f} times {slowest['contender']}"
    return styled(figure, title, height=130 + 32 * len(rows))


def _text(row: Mapping[str, Any]) -> str:
    share = row["% of the roofline"]
    return f"{row[USEFUL]:.0f}" + (f", {share:.0f}% of the roofline" if share is not None else "")
