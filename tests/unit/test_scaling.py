from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline, varied_runs

from nbkit.analysis.scaling import Spread, best_model, explain, explain_all, points_by_series, scaling, series
from nbkit.errors import InputError
from nbkit.figures import pareto
from nbkit.figures.html.sweep_report import sweep_figures
from nbkit.records.settings import FIELDS, Settings

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


def test_a_label_names_whatever_differs():
    [made] = runs_on((1,), engine="compiled")
    one = made.settings
    changes = {
        "batch_size": ("auto", "batch size auto"),
        "quantization": ("int8", "int8"),
        "token_budget": (512, "token budget 512"),
        "temperature": (0.7, "temperature 0.7, top-p 1, top-k 0, seed 0"),
        "stop": (("\n",), r"stop at '\n'"),
        "tokenize_first": (True, "tokenised first"),
        "ignore_eos": (not one.ignore_eos, "to the end" if one.ignore_eos else "past the end"),
    }
    for field, (value, said) in changes.items():
        other = dataclasses.replace(made, settings=dataclasses.replace(one, **{field: value}))
        labels = list(series([made, other]))
        assert len(labels) == 2, field
        assert any(said in label for label in labels), field
        with pytest.raises(InputError, match="differ in more"):
            scaling([made, other])


def test_what_has_no_effect_makes_no_series():
    [made] = runs_on((1,))
    other = dataclasses.replace(made, settings=dataclasses.replace(made.settings, seed=1, top_k=5))
    [points] = points_by_series([made, other]).values()
    assert points[0].repeats == 2


def test_ranks_that_find_their_batch_sizes_are_one_series():
    runs = runs_on((1, 2), engine="compiled")
    sizes = (96, 48)
    for run, size in zip(runs, sizes, strict=True):
        run.ranks[:] = [dataclasses.replace(rank, batch_size=size) for rank in run.ranks]
    found = [dataclasses.replace(run, settings=dataclasses.replace(run.settings, batch_size="auto")) for run in runs]
    assert [run.batch_size for run in found] == list(sizes)
    measured = points_by_series([*found, *runs])
    assert list(measured) == ["compiled, batch size 8", "compiled, batch size auto"]
    assert [len(points) for points in measured.values()] == [2, 2]


def test_without_a_cost_model_there_is_all_but_the_account():
    measured = points_by_series(runs_on((1, 2), engine="continuous") + runs_on((1, 2)))
    joined, batched = measured["continuous, batch size 8"], measured["batched, batch size 8"]
    assert all(point.lost is None and point.gap is None for point in joined)
    assert joined[1].speed_up == batched[1].speed_up
    assert batched[1].lost is not None
    assert batched[1].why_no_account is None
    speed_up, reason = explain_all(joined)
    assert speed_up == f"2 ranks are {joined[1].speed_up.median:.2f} times as fast."
    assert "continuous reads prompts in the same steps" in reason
    assert explain_all(joined[:1]) == [reason]


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


@given(
    st.lists(st.floats(0.2, 5), min_size=1, max_size=5),
    st.sampled_from([(1, 2), (2, 4), (1,)]),
    st.floats(0.2, 5),
)
def test_the_run_that_others_are_held_against_has_no_loss_below_0_and_no_more_than_its_time(drift, ranks, off):
    """One of the repeats that took longer made of the others' useful work 135% before."""
    lengths = [3 + 7 * (i % 5) for i in range(50)]
    runs = [timeline(lengths, [20] * 50, n, slower=lambda _, s=s: s, batch_size=8) for s in drift for n in ranks]
    fewest = scaling(runs, dataclasses.replace(MODEL, step_fixed_s=off * MODEL.step_fixed_s))[0].lost
    assert all(loss >= -1e-9 for loss in fewest.losses.values())
    assert fewest.useful_s <= fewest.wall_s


def test_ranks_that_are_faster_than_one_are_explained():
    runs = [timeline(*WORK, n, slower=lambda _, n=n: 1 if n == 1 else 0.6, batch_size=8) for n in (1, 2)]
    points = scaling(runs, MODEL)
    useful, gained = (
        100 * s / points[1].lost.wall_s for s in (points[1].lost.useful_s, -points[1].lost.losses["slower ranks"])
    )
    assert useful > 100
    _, sentence = explain_all(points)
    assert sentence.startswith(f"2 ranks: slower ranks is -{gained:.0f}%, below 0, for batches took less time than")
    assert f"they do on 1 rank; so useful work, {useful:.0f}%" in sentence
    assert explain_all(scaling(runs_on((1, 2)), MODEL))[1:] == []


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=9), st.floats(0, 10))
def test_a_spread_holds_its_values(values, factor):
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert spread.times(factor).high == spread.high * factor
    assert Spread.of([2.0]).in_words() == "2.00"
    assert Spread(2, 1, 3).in_words(1) == "2.0 (1.0–3.0)"


OTHER_VALUES = {
    "model": "m/n",
    "engine": "simple",
    "batch_size": 16,
    "max_new_tokens": 7,
    "split": "dynamic",
    "order": "by_length",
    "temperature": 0.7,
    "token_budget": 512,
    "special_tokens": "none",
    "pad_to_multiple_of": 2,
    "ignore_eos": True,
    "tokenize_first": True,
    "warm_up": False,
    "stop": ("END",),
}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_runs_that_differ_in_any_setting_are_no_repeats(name):
    made = runs_on((1, 2))
    other = [
        dataclasses.replace(run, settings=Settings.of(run.settings, **{name: OTHER_VALUES[name]})) for run in made
    ]
    assert OTHER_VALUES[name] != getattr(made[0].settings, name)
    assert [len(own) for own in series([*made, *other]).values()] == [2, 2]
    with pytest.raises(InputError, match="differ in more"):
        scaling([made[0], other[1]])
    maps = [key for key in sweep_figures([*made, *other]) if key.startswith("ranks and batch size")]
    assert len(maps) == (1 if name == "batch_size" else 2)
    trades = [text for shown in pareto([*made, *other]).data for text in shown.text]
    assert len(set(trades)) == 4


def test_all_but_what_a_run_tells_itself_is_tried_and_draws_need_a_temperature():
    told_by_ranks, need_others = {"dtype"}, {"top_p", "top_k", "seed", "quantization"}
    assert set(FIELDS) == set(OTHER_VALUES) | told_by_ranks | need_others
    [made] = runs_on((1,), temperature=0.5)
    for name, value in {"top_p": 0.5, "top_k": 3, "seed": 9}.items():
        other = dataclasses.replace(made, settings=Settings.of(made.settings, **{name: value}))
        assert len(series([made, other])) == 2, name


def test_series_that_differ_in_any_setting_have_an_order_of_their_own():
    [made] = runs_on((1,))
    budgets = [
        dataclasses.replace(made, settings=Settings.of(made.settings, token_budget=budget))
        for budget in (512, None, 64)
    ]
    assert list(series(budgets)) == ["token budget 64", "token budget 512", "no token budget"]
    assert list(series(budgets[::-1])) == list(series(budgets))
