"""Load: how busy ranks and GPUs were, and the memory they held."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.figures.style import Arrays, rank_colour, styled
from nbkit.records import LoadSample

MOST_POINTS = 240


def load_over_time(
    samples: Sequence[LoadSample], begin_s: float, names: Sequence[str], title: str = "", xaxis: str = ""
) -> go.Figure:
    """Busy % and memory in GB over time of the named ranks and GPUs (``LoadSample.of``), side by side.

    A GPU has the colour of the rank of its number, and a dashed line.
    """
    figure = make_subplots(cols=2, horizontal_spacing=0.14)
    lines = load_lines(samples, begin_s)
    for name in names:
        own = lines.get(name, _no_line())
        dash = "dash" if name.startswith("GPU") else "solid"
        line = {"color": rank_colour(int(name.split()[1])), "width": 2, "dash": dash}
        for column, what in ((1, "busy"), (2, "memory")):
            figure.add_scatter(
                x=own[f"{what}_x"],
                y=own[f"{what}_y"],
                name=name,
                mode="lines",
                line=line,
                showlegend=column == 1,
                col=column,
                row=1,
            )
    figure.update_xaxes(title=xaxis)
    figure.update_yaxes(title="busy, % of a core or GPU", rangemode="tozero", col=1)
    figure.update_yaxes(title="memory, GB", rangemode="tozero", col=2)
    return styled(figure, title, height=270)


def load_lines(samples: Sequence[LoadSample], begin_s: float) -> dict[str, Arrays]:
    """By name: ``busy_x`` and ``memory_x`` in seconds since ``begin_s``, ``busy_y`` in %, ``memory_y`` in GB."""
    by_name: dict[str, list[LoadSample]] = {}
    for sample in samples:
        by_name.setdefault(sample.of, []).append(sample)
    return {name: _line(own[:: max(1, -(-len(own) // MOST_POINTS))], begin_s) for name, own in by_name.items()}


def load_traces(samples: Sequence[LoadSample], begin_s: float, names: Sequence[str]) -> list[Arrays]:
    """What the traces of ``load_over_time`` show, in their order: busy and memory of each name."""
    lines = load_lines(samples, begin_s)
    owns = [lines.get(name, _no_line()) for name in names]
    return [{"x": own[f"{what}_x"], "y": own[f"{what}_y"]} for own in owns for what in ("busy", "memory")]


def _line(samples: Sequence[LoadSample], begin_s: float) -> Arrays:
    at_s: list[object] = [round(sample.at_s - begin_s, 2) for sample in samples]
    return {
        "busy_x": at_s,
        "busy_y": [round(sample.busy_percent, 1) for sample in samples],
        "memory_x": at_s,
        "memory_y": [round(sample.memory_bytes / 1e9, 3) for sample in samples],
    }


def _no_line() -> Arrays:
    return {"busy_x": [], "busy_y": [], "memory_x": [], "memory_y": []}
