"""Figures: plotly figures drawn from records by pure functions.

Each that is also drawn live comes in two parts: the figure, and the arrays that its
traces show, so that a dashboard sends only what has changed.
"""

from nbkit.errors import MissingExtra

try:
    import plotly  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("lab", error.name) from None

from nbkit.figures.batch_curve import batch_curve, latency_by_throughput, running_dot
from nbkit.figures.bulk_throughput import bulk_throughput, bulk_throughput_line
from nbkit.figures.comparison import comparison, overlaid_throughput, time_parts
from nbkit.figures.contenders import contenders
from nbkit.figures.latency import latency, latency_points
from nbkit.figures.latency_distribution import latency_distribution
from nbkit.figures.load import load_over_time, load_traces
from nbkit.figures.lost_time import gap, lost_time
from nbkit.figures.machine_picture import machine_picture
from nbkit.figures.pareto import pareto
from nbkit.figures.published import published_rounds, published_seconds_per_prompt
from nbkit.figures.roofline import roofline
from nbkit.figures.scaling import efficiency, heat_map, speed_up
from nbkit.figures.style import PART_COLOURS, rank_colour
from nbkit.figures.throughput import throughput_lines, throughput_over_time
from nbkit.figures.timeline import TIMELINE_PARTS, run_timeline, timeline, timeline_bars
from nbkit.figures.token_histogram import histogram_bars, token_histogram
from nbkit.figures.wall import learner_colour, learner_symbol, wall
from nbkit.figures.what_if import (
    cost_and_time,
    what_if,
    what_if_time,
    what_if_time_title,
    what_if_time_traces,
    what_if_title,
    what_if_traces,
)
from nbkit.records.headline import headline, headline_with_note, run_note

__all__ = [
    "PART_COLOURS",
    "TIMELINE_PARTS",
    "batch_curve",
    "bulk_throughput",
    "bulk_throughput_line",
    "comparison",
    "contenders",
    "cost_and_time",
    "efficiency",
    "gap",
    "headline",
    "headline_with_note",
    "heat_map",
    "histogram_bars",
    "latency",
    "latency_by_throughput",
    "latency_distribution",
    "latency_points",
    "learner_colour",
    "learner_symbol",
    "load_over_time",
    "load_traces",
    "lost_time",
    "machine_picture",
    "overlaid_throughput",
    "pareto",
    "published_rounds",
    "published_seconds_per_prompt",
    "rank_colour",
    "roofline",
    "run_note",
    "run_timeline",
    "running_dot",
    "speed_up",
    "throughput_lines",
    "throughput_over_time",
    "time_parts",
    "timeline",
    "timeline_bars",
    "token_histogram",
    "wall",
    "what_if",
    "what_if_time",
    "what_if_time_title",
    "what_if_time_traces",
    "what_if_title",
    "what_if_traces",
]
