"""Figures: plotly figures drawn from records by pure functions.

Each that is also drawn live comes in two parts: the figure, and the arrays that its
traces show, so that a dashboard sends only what has changed.
"""

from nbkit.figures.comparison import comparison, overlaid_throughput, time_parts
from nbkit.figures.headline import headline
from nbkit.figures.latency import latency, latency_points
from nbkit.figures.load import load_over_time, load_traces
from nbkit.figures.machine_picture import machine_picture
from nbkit.figures.published import published_rounds, published_seconds_per_prompt
from nbkit.figures.roofline import roofline
from nbkit.figures.style import PART_COLOURS, rank_colour
from nbkit.figures.throughput import throughput_lines, throughput_over_time
from nbkit.figures.timeline import TIMELINE_PARTS, run_timeline, timeline, timeline_bars
from nbkit.figures.token_histogram import histogram_bars, token_histogram

__all__ = [
    "PART_COLOURS",
    "TIMELINE_PARTS",
    "comparison",
    "headline",
    "histogram_bars",
    "latency",
    "latency_points",
    "load_over_time",
    "load_traces",
    "machine_picture",
    "overlaid_throughput",
    "published_rounds",
    "published_seconds_per_prompt",
    "rank_colour",
    "roofline",
    "run_timeline",
    "throughput_lines",
    "throughput_over_time",
    "time_parts",
    "timeline",
    "timeline_bars",
    "token_histogram",
]
