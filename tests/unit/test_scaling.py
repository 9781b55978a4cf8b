from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline, varied_runs

from nbkit.analysis.scaling import Spread, best_model, explain, scaling, series
from nbkit.errors import InputError

WORK = ([8] * 96, [20] * 96)


def runs_on(ranks, **settings):
    return [timeline(*WORK, n, **{"batch_size": 8, **settings}) for n in ranks]


def test_speed_up_and_efficiency_are_against_one_rank():
    points = scaling(runs_on((1, 2, 3, 4)), MODEL)
    assert [point.ranks for point in points] == [1, 2, 3, 4]
    assert points[0].speed_up == Spread(1, 1, 1)
    for point in points:
        assert point.speed_up.median == pytest.approx(points[0].wall_s.median / point.wall_s.median)
        assert point.efficiency.median == pytest.approx(point.speed_up.median / point.ranks)
        assert sum(point.gap.losses.values()) == pytest.approx(point.gap.wall_s)
        assert point.gap.wall_s == pytest.approx(point.wall_s.median - points[0].wall_s.median / point.ranks)


def test_without_one_rank_the_fewest_stand_for_it():
    points = scaling(runs_on((2, 4)), MODEL)
    assert points[0].speed_up.median == 2
    assert points[0].efficiency.median == 1
    assert 3.8 < points[1].speed_up.median <= 4


def test_a_machine_that_drifts_is_in_both_halves_of_a_ratio():
    runs = [timeline(*WORK, n, slower=lambda rank, s=s: s, batch_size=8) for s in (1.0, 2.0, 3.0) for n in (2, 1)]
    points = scaling(runs, MODEL)
    assert points[1].repeats == 3
    assert points[1].wall_s.high > 2.5 * points[1].wall_s.low
    assert points[1].speed_up.high - points[1].speed_up.low < 0.02


def test_runs_are_grouped_by_what_they_have_in_common():
    runs = runs_on((1, 2)) + runs_on((1, 2), batch_size=16) + runs_on((1,), engine="simple")
    grouped = series(runs)
    assert list(grouped) == ["simple", "batched, batch size 8", "batched, batch size 16"]
    assert [len(own) for own in grouped.values()] == [1, 2, 2]
    assert list(series(runs[::-1])) == list(grouped), "labels have their own order"
    assert list(series(runs_on((1, 2)))) == ["batched, batch size 8"]
    mixed = series(runs_on((1,)) + runs_on((1,), split="dynamic"))
    assert list(mixed) == ["static, as given", "dynamic, as given"]


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="differ in more than the number of ranks"):
        scaling(runs_on((1,)) + runs_on((2,), batch_size=16))
    with pytest.raises(InputError, match="no runs"):
        scaling([])
    [made] = runs_on((1,))
    stopped = dataclasses.replace(made, outputs=[None, *made.outputs[1:]])
    with pytest.raises(InputError, match="1 of these runs were stopped"):
        scaling([stopped])
    assert series([stopped]) == {}


def test_the_best_model_knows_all_batch_sizes_of_its_kind():
    runs = varied_runs()
    simple = timeline([5] * 4, [3] * 4, 1, engine="simple")
    assert best_model([*runs, simple], runs[0]).quality.shapes > 10
    assert best_model([*runs, simple], simple).engine == "simple"


def test_a_point_is_explained_in_words():
    one, five = (timeline([16] * 100, [100] * 100, n, FLAT, batch_size=16) for n in (1, 5))
    _, point = scaling([one, five], FLAT)
    assert explain(point).startswith(
        "5 ranks are 3.50 times as fast: 2.98 s slower than 5 times would be, for batch qu"
    )
    ideal = scaling(runs_on((1, 2), batch_size=16), MODEL)[1]
    assert "what 2 ranks can be" in explain(ideal)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9), st.floats(0, 10))
def test_a_spread_holds_its_values(values, factor):
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert spread.times(factor).high == spread.high * factor
    assert Spread.of([2.0]).in_words() == "2.00"
    assert Spread(2, 1, 3).in_words(1) == "2.0 (1.0–3.0)"
