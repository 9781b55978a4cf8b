from __future__ import annotations

import pytest
from example_runs import run

from nbkit import figures
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.records.throughput import Throughput


@pytest.mark.parametrize(
    "figure",
    [
        figures.throughput_over_time(Throughput(), [0, 1]),
        figures.timeline([], 0.0, [0, 1]),
        figures.latency([], 0.0, [0, 1]),
        figures.load_over_time([], 0.0, ["rank 0"]),
        figures.load_over_time([], 0.0, []),
        figures.comparison({}),
        figures.overlaid_throughput({}),
        figures.speed_up({}),
        figures.efficiency({}),
        figures.lost_time([]),
        figures.gap([]),
        figures.heat_map([]),
        figures.pareto([]),
    ],
)
def test_before_there_is_anything_to_draw_a_figure_is_empty(figure):
    assert LiveFigure(figure).is_empty


def test_a_figure_is_empty_no_longer_than_its_traces_are():
    drawn = LiveFigure(figures.throughput_over_time(Throughput(), [0]))
    drawn.show([{"x": [1.0], "y": [5.0]}, {"x": [], "y": []}])
    assert not drawn.is_empty
    drawn.show([{"x": [], "y": []}] * 2)
    assert drawn.is_empty
    drawn.begin(figures.comparison({"one": run()}))
    assert not drawn.is_empty
    drawn.begin(figures.heat_map([run()]))
    assert not drawn.is_empty
