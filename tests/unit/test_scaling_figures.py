from __future__ import annotations

import dataclasses

import pytest
from example_runs import article
from hypothesis import given
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline

from nbkit import figures
from nbkit.analysis.advice import advise, doublings
from nbkit.analysis.lost_time import LOSSES
from nbkit.analysis.published import published_cost_model
from nbkit.analysis.scaling import points_by_series, scaling
from nbkit.analysis.what_if import Workload, simulate
from nbkit.figures.pareto import Trade, pareto_front
from nbkit.figures.what_if import what_if_time_title, what_if_time_traces, what_if_title, what_if_traces

ARTICLE = published_cost_model()
LENGTHS = [8 + 3 * (i % 7) for i in range(60)]


@pytest.fixture(scope="module")
def runs():
    return [
        timeline(LENGTHS, [20] * 60, n, batch_size=size, slower=lambda rank, s=s: s)
        for s in (1.0, 1.2)
        for n in (1, 2, 5)
        for size in (4, 16)
    ]


@pytest.fixture(scope="module")
def points(runs):
    return points_by_series(runs)


def trace(figure, name):
    [found] = [trace for trace in figure.data if trace.name == name]
    return found


def test_speed_up_and_efficiency_show_the_points_with_their_spread(points):
    label, own = next(iter(points.items()))
    shown = trace(figures.speed_up(points), label)
    assert list(shown.y) == [point.speed_up.median for point in own]
    assert list(shown.error_y.array) == [point.speed_up.high - point.speed_up.median for point in own]
    assert list(trace(figures.speed_up(points), "ideal").y) == [1, 5]
    efficiency = figures.efficiency(points)
    assert list(trace(efficiency, label).y) == pytest.approx([100 * point.efficiency.median for point in own])
    assert "%" in efficiency.layout.yaxis.title.text
    assert "times as fast on 5 ranks" in figures.speed_up(points).layout.title.text
    assert "% efficiency on 5 ranks" in efficiency.layout.title.text
    assert "times" in figures.speed_up(points).layout.yaxis.title.text


def test_a_title_names_the_series_where_there_is_room(points):
    own = list(points.values())[1]
    times = f"{own[-1].speed_up.median:.2f} times as fast on 5 ranks"
    assert figures.speed_up({"simple": own}).layout.title.text == f"simple: {times}"
    assert figures.speed_up({"a label that takes half a line": own}).layout.title.text == times
    assert figures.speed_up(points).layout.title.text.startswith("At best ")


def test_a_figure_grows_by_the_rows_of_its_legend_and_the_ideal_is_beneath(points):
    own = next(iter(points.values()))
    short, long = (figures.speed_up({f"{name}{n}": own for n in range(6)}) for name in ("a", "long name " * 5))
    # Seven rows, one a name, where short names need two.
    assert long.layout.height - short.layout.height == long.layout.margin.t - short.layout.margin.t == 5 * 19
    assert long.data[0].name == "ideal"
    looks = {(line.line.color, line.line.dash) for line in long.data[1:]}
    assert len(looks) == 6


def test_lost_time_is_all_of_the_wall_time(points):
    own = list(points.values())[1]
    figure = figures.lost_time(own)
    assert [trace.name for trace in figure.data] == ["useful work", *LOSSES]
    for number in range(len(own)):
        assert sum(trace.y[number] for trace in figure.data) == pytest.approx(100)
    largest = own[-1].lost.largest
    share = 100 * own[-1].lost.losses[largest] / own[-1].lost.wall_s
    assert figure.layout.title.text == f"5 ranks: {share:.0f}% lost to {largest}"
    assert trace(figure, largest).customdata[-1][0] == own[-1].lost.losses[largest]
    assert "%" in figure.layout.yaxis.title.text
    assert len({bars.marker.color for bars in figure.data}) == 8


def test_ranks_faster_than_expected_are_below_zero_and_the_rest_still_adds_up():
    runs = [timeline(LENGTHS, [20] * 60, n, slower=lambda _, n=n: 1 if n == 1 else 0.8) for n in (1, 2)]
    figure = figures.lost_time(scaling(runs, MODEL))
    assert figure.layout.barmode == "relative"
    assert trace(figure, "slower ranks").y[1] < -5
    assert sum(bars.y[1] for bars in figure.data) == pytest.approx(100)


def test_what_is_below_zero_is_explained_at_the_axis(points):
    runs = [timeline(LENGTHS, [20] * 60, n, slower=lambda _, n=n: 1 if n == 1 else 0.8) for n in (1, 2)]
    faster = scaling(runs, MODEL)
    assert figures.lost_time(faster).layout.xaxis.title.text == "ranks (below 0: faster than on 1 rank)"
    assert figures.gap(faster).layout.xaxis.title.text == "ranks (below 0: less lost than on 1 rank)"
    assert figures.lost_time(list(points.values())[1]).layout.xaxis.title.text == "ranks"


def test_the_gap_is_the_seconds_beyond_ideal(points):
    own = list(points.values())[1]
    figure = figures.gap(own)
    for number, point in enumerate(own[1:]):
        assert sum(trace.y[number] for trace in figure.data) == pytest.approx(point.gap.wall_s)
    assert "seconds" in figure.layout.yaxis.title.text
    last = own[-1].gap
    assert figure.layout.title.text == f"5 ranks: {last.wall_s:.2f} s slower than ideal"


def test_the_heat_map_has_a_cell_for_ranks_and_batch_size(runs):
    [heat] = figures.heat_map(runs).data
    assert list(heat.x) == ["4", "16"] and list(heat.y) == ["1", "2", "5"]
    rates = sorted(r.tokens_per_second for r in runs if r.world_size == 2 and r.settings.batch_size == 16)
    assert heat.z[1][1] == pytest.approx(sum(rates) / 2)
    [lonely] = figures.heat_map(runs[:1] + runs[3:4]).data
    assert lonely.z[0][1] is None, "what was not measured is blank"
    [single] = figures.heat_map(runs[:1]).data
    assert (single.zmin, single.zmax) == (0, single.z[0][0])


def test_pareto_shows_every_setting_once(runs):
    figure = figures.pareto(runs)
    shown = [name for trace in figure.data for name in trace.text]
    assert sorted(shown) == sorted(f"{n}×{size}" for n in (1, 2, 5) for size in (4, 16))
    assert "ms" in figure.layout.xaxis.title.text
    assert "tokens/s" in figure.layout.yaxis.title.text


def test_pareto_takes_for_repeats_only_what_are_repeats(runs):
    one = runs[0]
    other = dataclasses.replace(one, ranks=[dataclasses.replace(rank, dtype="bfloat16") for rank in one.ranks])
    longer = dataclasses.replace(one, settings=dataclasses.replace(one.settings, max_new_tokens=9))
    names = [name for shown in figures.pareto([one, one, other]).data for name in shown.text]
    assert sorted(names) == ["1×4 bfloat16", "1×4 float32"]
    names = [name for shown in figures.pareto([one, longer]).data for name in shown.text]
    assert sorted(names) == [f"1×4 {one.settings.max_new_tokens} new tokens", "1×4 9 new tokens"]


def test_batches_of_one_token_have_no_pace():
    assert not any(shown.x for shown in figures.pareto([timeline([8] * 4, [1] * 4, 1)]).data)


trades = st.lists(st.builds(Trade, st.just("x"), st.floats(1, 100), st.floats(1, 100)), max_size=30)


@given(trades)
def test_no_trade_of_the_front_is_beaten_and_every_other_is(all_trades):
    def beats(one, other):
        no_worse = one.tpot_ms <= other.tpot_ms and one.tokens_per_second >= other.tokens_per_second
        return no_worse and one != other

    front = pareto_front(all_trades)
    assert not any(beats(one, other) for one in front for other in front)
    for trade in all_trades:
        assert trade in front or any(beats(one, trade) for one in front)


WORK, ASKED = Workload.drawn(1000, 20, 50), article(batch_size=16)


@pytest.fixture(scope="module")
def forecasts():
    return [simulate(FLAT, WORK, ASKED, n) for n in doublings(1000)]


def test_what_if_shows_the_forecasts_and_the_chosen_one(forecasts):
    chosen = simulate(FLAT, WORK, ASKED, 64)
    figure = figures.what_if(forecasts, chosen)
    assert list(trace(figure, "simulated").y) == [forecast.tokens_per_second for forecast in forecasts]
    assert list(trace(figure, "chosen").y) == [chosen.tokens_per_second]
    times = chosen.tokens_per_second / forecasts[0].tokens_per_second
    share = 100 * times / 64
    assert figure.layout.title.text == f"64 ranks: {times:.1f} times one, {share:.0f}% efficiency"
    assert "tokens/s" in figure.layout.yaxis.title.text
    time = figures.what_if_time(forecasts, chosen)
    for number in range(len(forecasts)):
        assert sum(trace.y[number] for trace in time.data) == pytest.approx(100)


@pytest.mark.parametrize("is_chosen", [True, False])
def test_live_arrays_are_what_the_figures_show_trace_by_trace(forecasts, is_chosen):
    chosen = forecasts[3] if is_chosen else None
    for figure, arrays, title in (
        (
            figures.what_if(forecasts, chosen),
            what_if_traces(forecasts, chosen),
            what_if_title(forecasts, chosen),
        ),
        (figures.what_if_time(forecasts, chosen), what_if_time_traces(forecasts), what_if_time_title(chosen)),
    ):
        assert [{"x": list(shown.x), "y": list(shown.y)} for shown in figure.data] == arrays
        assert figure.layout.title.text == title
    assert len(what_if_traces([])) == len(what_if_traces(forecasts, chosen))


def test_what_lies_beyond_the_measured_is_dotted_and_said():
    forecasts = [simulate(ARTICLE, WORK, ASKED, n) for n in (1, 2, 4, 8)]
    known = [dataclasses.replace(forecast, beyond=()) for forecast in forecasts[:2]]
    figure = figures.what_if([*known, *forecasts[2:]], forecasts[3])
    rates = [forecast.tokens_per_second for forecast in forecasts]
    assert list(trace(figure, "simulated").y) == [*rates[:2], None, None]
    assert list(trace(figure, "extrapolated").y) == [None, *rates[1:]]
    assert trace(figure, "extrapolated").line.dash == "dot"
    assert figure.layout.title.text.endswith("% efficiency, extrapolated")
    assert figures.what_if_time(forecasts, forecasts[3]).layout.title.text.endswith("of the time, extrapolated")
    advised = figures.cost_and_time(advise(ARTICLE, WORK, ASKED, [1, 8], [16]), 2.0)
    assert set(trace(advised, "batch size 16").marker.symbol) == {"circle-open"}
    assert "open marks: extrapolated" in advised.layout.xaxis.title.text
    assert advised.layout.title.text.endswith("batch size 16, extrapolated")


def test_one_rank_is_one_rank(forecasts):
    assert what_if_title(forecasts, forecasts[0]).startswith("1 rank: 1.0 times")
    assert what_if_time_title(forecasts[0]).startswith("1 rank: ")


def test_cost_and_time_marks_what_is_advised():
    advice = advise(MODEL, Workload.drawn(200, 20, 50), article(), [1, 2, 4], [1, 16], goal="cost")
    figure = figures.cost_and_time(advice, 3.0)
    assert list(trace(figure, "advised").y) == [advice.best.gpu_hours * 3.0]
    assert len(figure.data) == 3
    assert "seconds" in figure.layout.xaxis.title.text


@pytest.mark.parametrize(
    "empty",
    [
        lambda: figures.speed_up({}),
        lambda: figures.efficiency({}),
        lambda: figures.lost_time([]),
        lambda: figures.gap([]),
        lambda: figures.heat_map([]),
        lambda: figures.pareto([]),
        lambda: figures.what_if([]),
        lambda: figures.what_if_time([]),
        lambda: figures.cost_and_time(None, 1.0),
    ],
)
def test_nothing_yet_is_a_figure_with_a_title_and_axes(empty):
    figure = empty()
    assert figure.layout.title.text
    assert figure.layout.yaxis.title.text
