"""Engines in flight, foretold: the simulation against the default engine's own scheduling, and what bounds it."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from example_runs import article
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_flight_timelines import IN_FLIGHT, in_flight_run

from nbkit.analysis import in_flight_forecast, published
from nbkit.analysis.advice import advise
from nbkit.analysis.cost_model import DECODE_COEFFICIENTS, PREFILL_COEFFICIENTS, CostModel
from nbkit.analysis.hardware import Hardware
from nbkit.analysis.lost_time import LOSSES, lost_time
from nbkit.analysis.roofline import RTX_3090, decode_limit
from nbkit.analysis.scaling import points_by_series
from nbkit.analysis.what_if import Workload, simulate
from nbkit.analysis.work import Stretches
from nbkit.app.dashboards.scaling import what_if_panel
from nbkit.errors import InputError
from nbkit.models.model_arithmetic import LLAMA_2_7B
from nbkit.prompts import LENGTH_DISTRIBUTIONS
from nbkit.records.run import Run
from nbkit.records.settings import ORDERS, SPLITS

CARD = published.published_cost_model().hardware
NEVER_NEGATIVE = [name for name in LOSSES if name not in ("slower ranks", "rest")]
FREE = dict.fromkeys((*PREFILL_COEFFICIENTS, *DECODE_COEFFICIENTS), 1e-12)
ON_A_CARD = replace(IN_FLIGHT, **FREE, hardware=CARD, captures=True)
"""A fit that knows no cost at all: what it foretells is the hardware's limit."""


def texts(lengths):
    return ["ab " * length for length in lengths]


def varied(tiny, ranks=1, **options):
    lengths = [2 + 5 * (i % 7) for i in range(30)]
    new = [3 + 4 * (i % 5) for i in range(30)]
    return [in_flight_run(tiny, texts(lengths), new, ranks, batch_size=size, **options) for size in (1, 3, 8)]


prompts = st.lists(st.tuples(st.integers(1, 25), st.integers(1, 12)), min_size=1, max_size=24)


@settings(max_examples=25)
@given(prompts, st.integers(1, 3), st.sampled_from([1, 3, 8, 16]), st.sampled_from(ORDERS), st.booleans())
def test_a_simulation_is_the_run_that_the_engine_itself_makes(tiny, drawn, ranks, size, order, has_budget):
    asked = {"batch_size": size, "order": order, "token_budget": 150 if has_budget else None}
    made = in_flight_run(tiny, texts(length for length, _ in drawn), [new for _, new in drawn], ranks, **asked)
    forecast = simulate(IN_FLIGHT, Workload.of(made), made.settings, ranks)
    assert forecast.wall_s == pytest.approx(made.wall_s)
    assert forecast.tokens_per_second == pytest.approx(made.tokens_per_second)
    assert forecast.mean_ttft_s == pytest.approx(made.mean_ttft_s)
    assert forecast.mean_tpot_s == pytest.approx(made.mean_tpot_s)
    assert forecast.batches == sum(window.work.prefills for window in made.batches)
    first = [times.first_token_s - made.begin_s for times in made.times]
    assert forecast.mean_first_token_s == pytest.approx(sum(first) / len(first), abs=2e-6), "kept to the microsecond"


def test_the_coefficients_that_made_the_windows_are_found_again(tiny):
    model = CostModel.fit(varied(tiny))
    for name in (*PREFILL_COEFFICIENTS, *DECODE_COEFFICIENTS):
        assert getattr(model, name) == pytest.approx(getattr(IN_FLIGHT, name), rel=1e-6), name
    assert model.quality.largest_error < 1e-9
    assert model.between_s == pytest.approx(0, abs=1e-9)
    [correction] = model.corrections
    assert (correction.decode, correction.prefill) == (pytest.approx([1] * len(correction.decode)),) * 2
    assert model.measured.sequences[1] == 8
    assert model.measured.steps == (3, 19)


def test_what_is_told_of_windows_outlives_the_session(tiny, tmp_path):
    made = varied(tiny)[1]
    loaded = Run.load(made.save(tmp_path / "run.json"))
    assert [window.work for window in loaded.batches] == [window.work for window in made.batches]


def test_ranks_that_slow_each_other_down_are_measured_and_foretold(tiny):
    crowded = varied(tiny, ranks=2, slower=lambda rank: 1.4)
    model = CostModel.fit(varied(tiny) + crowded)
    assert model.correction("decode", 2, np.array([2.0])) == pytest.approx(1.4)
    assert model.correction("prefill", 2, np.array([2.0])) == pytest.approx(1.4)
    made = crowded[1]
    assert simulate(model, Workload.of(made), made.settings, 2).wall_s == pytest.approx(made.wall_s, rel=0.01)


@settings(max_examples=20)
@given(prompts, st.integers(1, 4), st.sampled_from([1, 4, 16]), st.floats(0.5, 3))
def test_every_account_adds_up(tiny, drawn, ranks, size, slower):
    made, one = (
        in_flight_run(
            tiny,
            texts(length for length, _ in drawn),
            [new for _, new in drawn],
            n,
            slower=lambda rank: slower if rank % 2 else 1.0,
            batch_size=size,
            gather_s=0.01,
        )
        for n in (ranks, 1)
    )
    for run in (made, one):
        lost = lost_time(run, IN_FLIGHT)
        assert list(lost.losses) == list(LOSSES)
        assert lost.useful_s + sum(lost.losses.values()) == pytest.approx(run.wall_s, abs=1e-9)
        assert all(lost.losses[name] >= 0 for name in NEVER_NEGATIVE)
        assert lost.losses["rest"] == pytest.approx(0, abs=1e-6)
    assert lost_time(one, IN_FLIGHT).useful_s <= one.wall_s + 1e-9


def test_places_that_stay_empty_at_the_end_are_batch_quantisation(tiny):
    model = replace(IN_FLIGHT, **FREE | {"step_fixed_s": 0.05})
    made = in_flight_run(tiny, texts([4] * 9), [20] * 9, model=model, batch_size=8)
    lost = lost_time(made, model)
    assert lost.largest == "batch quantisation"
    assert lost.losses["batch quantisation"] == pytest.approx(20 * 0.05 * 7 / 8, rel=1e-3)
    assert lost.useful_s == pytest.approx(9 * 20 * 0.05 / 8, rel=1e-3)


def test_one_slow_rank_is_named(tiny):
    made = in_flight_run(tiny, texts([4] * 16), [20] * 16, 2, slower=lambda rank: 1 + rank, batch_size=8)
    assert lost_time(made, IN_FLIGHT).largest == "slower ranks"


def test_what_was_computed_for_nobody_counts_as_padding(tiny):
    made = in_flight_run(tiny, texts([4] * 8), [10, *[60] * 7], batch_size=8)
    [first, _] = made.batches
    assert first.indices == (0,)
    new = [10, *[0] * 7]
    stopped = dataclasses.replace(made, batches=[first], finish_reasons=["stop", *[None] * 7], new_tokens=new)
    lost = lost_time(stopped, IN_FLIGHT)
    assert lost.useful_s + sum(lost.losses.values()) == pytest.approx(stopped.wall_s)
    whole = float(IN_FLIGHT.decode_s(Stretches.of([first]))[0])
    assert lost.losses["padding"] == pytest.approx(7 / 8 * whole, rel=0.2)


def test_series_of_it_have_an_account(tiny):
    runs = [run for ranks in (1, 2) for run in varied(tiny, ranks)]
    for points in points_by_series(runs).values():
        assert [point.lost is not None for point in points] == [True, True]
        assert points[0].lost.losses["slower ranks"] == pytest.approx(0, abs=1e-9)


def test_files_that_do_not_tell_the_work_give_the_sentence(tiny):
    made = varied(tiny)[1]
    data = made.to_dict() | {"schema_version": 8}
    for window in data["batches"]:
        del window["work"]
    old = Run.from_dict(data)
    for refused in (lambda: CostModel.fit([old]), lambda: lost_time(old, IN_FLIGHT)):
        with pytest.raises(InputError, match=r"schema version 8 or before.* measure them again"):
            refused()
    [points] = points_by_series([old]).values()
    assert "measure them again" in points[0].why_no_account


@pytest.mark.parametrize("engine", ["continuous", "vllm", "openvino"])
def test_engines_that_read_while_they_decode_are_refused_with_the_reason(tiny, engine):
    made = varied(tiny)[1]
    windows = [dataclasses.replace(window, work=None) for window in made.batches]
    other = dataclasses.replace(made, settings=replace(made.settings, engine=engine), batches=windows)
    with pytest.raises(InputError, match=f"{engine} reads prompts in the same steps .* Take runs of compiled"):
        CostModel.fit([other])


def test_quantised_weights_are_another_model(tiny):
    runs = varied(tiny)[:2]
    int8 = dataclasses.replace(runs[0], settings=replace(runs[0].settings, quantization="int8"))
    with pytest.raises(InputError, match=r"not of several: .*float32, int8; .*float32"):
        CostModel.fit([runs[1], int8])


def bounds(forecast, work):
    """That the card can do the work in that time, however it is dealt: its operations, weights read for each step."""
    ranks_s = forecast.wall_s * forecast.ranks
    assert forecast.memory_bytes <= CARD.memory_bytes
    # What its last token would add is not kept.
    longest = float(work.prompt_tokens.max() + work.new_tokens.max() - 1)
    held = forecast.largest_batch * longest * LLAMA_2_7B.kv_bytes_per_position("bfloat16")
    assert CARD.weight_bytes + held <= CARD.memory_bytes
    new = float(work.new_tokens.sum())
    flops = 2 * LLAMA_2_7B.layer_parameters * (float((work.prompt_tokens - 1).sum()) + new)
    assert ranks_s * RTX_3090.flops_per_s >= flops * (1 - 1e-9)
    steps = new / forecast.largest_batch
    assert ranks_s * RTX_3090.bytes_per_s >= steps * LLAMA_2_7B.weight_bytes("bfloat16") * (1 - 1e-9)


@settings(max_examples=120)
@given(
    ranks=st.sampled_from(what_if_panel.RANKS),
    batch_size=st.sampled_from(what_if_panel.BATCH_SIZES),
    count=st.sampled_from([count for count in what_if_panel.PROMPTS if count <= 20_000]),
    prompt_tokens=st.sampled_from(what_if_panel.TOKENS),
    new_tokens=st.sampled_from(what_if_panel.TOKENS),
    split=st.sampled_from(SPLITS),
    order=st.sampled_from(ORDERS),
    lengths=st.sampled_from(LENGTH_DISTRIBUTIONS),
    new_lengths=st.sampled_from(LENGTH_DISTRIBUTIONS),
)
@example(4, 256, 1000, 20, 100, "static", "as_given", "constant", "constant")
@example(1000, 256, 1_000_000, 20, 100, "dynamic", "by_length", "lognormal", "lognormal")
@example(1, 256, 1_000_000, 200, 200, "static", "as_given", "constant", "constant")
def test_no_slider_takes_an_engine_in_flight_beyond_roofline_or_memory(
    ranks, batch_size, count, prompt_tokens, new_tokens, split, order, lengths, new_lengths
):
    work = Workload.drawn(count, prompt_tokens, new_tokens, lengths, new_lengths)
    asked = article(engine="compiled", batch_size=batch_size, split=split, order=order)
    try:
        forecast = simulate(ON_A_CARD, work, asked, ranks)
    except InputError as error:
        assert "do not fit into the memory" in str(error)
        return
    bounds(forecast, work)
    assert 0 < forecast.busy <= 1
    assert 1 <= forecast.largest_batch <= batch_size
    assert forecast.tokens_per_second * forecast.wall_s == pytest.approx(float(work.new_tokens.sum()))
    if lengths == new_lengths == "constant":
        at_once = forecast.largest_batch
        step = decode_limit(LLAMA_2_7B, RTX_3090, "bfloat16", at_once, prompt_tokens)
        assert forecast.tokens_per_second <= ranks * at_once / step.seconds * (1 + 1e-9)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 16), (8, 16), (40, 4)])
def test_a_part_of_a_large_run_stands_for_the_whole(monkeypatch, split, order, ranks, batch_size):
    work = Workload.drawn(20_000, 30, 60, "lognormal", "lognormal")
    asked = article(engine="compiled", batch_size=batch_size, split=split, order=order)
    part = simulate(IN_FLIGHT, work, asked, ranks)
    assert any("Simulated with" in limit for limit in part.limits)
    monkeypatch.setattr(in_flight_forecast, "MOST_PROMPTS", 20_000)
    whole = simulate(IN_FLIGHT, work, asked, ranks)
    assert not any("Simulated with" in limit for limit in whole.limits)
    assert part.wall_s == pytest.approx(whole.wall_s, rel=0.06)
    assert part.mean_first_token_s == pytest.approx(whole.mean_first_token_s, rel=0.06)
    assert part.mean_tpot_s == pytest.approx(whole.mean_tpot_s, rel=0.06)


def test_what_does_not_fit_is_taken_fewer_at_a_time_and_that_is_said():
    asked = article(engine="compiled", batch_size=256)
    forecast = simulate(ON_A_CARD, Workload.drawn(1024, 20, 100), asked, 4)
    assert not forecast.fits
    assert forecast.largest_batch < 256
    assert any(limit.startswith("Batches of 256 do not fit into 24 GiB") for limit in forecast.limits)
    with pytest.raises(InputError, match=r"30,000 tokens .* do not fit into the memory of an RTX 3090"):
        simulate(ON_A_CARD, Workload.drawn(4, 30_000, 10), asked, 1)


@pytest.mark.parametrize("model", [ON_A_CARD, published.published_cost_model()])
def test_texts_longer_than_the_models_context_are_said(model):
    asked = article(engine=model.engine, batch_size=4)
    said = simulate(model, Workload.drawn(8, 3000, 1500), asked, 1).limits
    assert any("are up to 4,500, more than the model's context of 4,096" in limit for limit in said)
    assert not any("context" in limit for limit in simulate(model, Workload.drawn(8, 300, 150), asked, 1).limits)


def test_advice_is_given_of_it():
    work = Workload.drawn(500, 20, 50, "lognormal", "lognormal")
    advice = advise(IN_FLIGHT, work, article(engine="compiled"), ranks=(1, 2, 4), batch_sizes=(1, 4, 16))
    assert (advice.best.ranks, advice.best.settings.batch_size) == (4, 16)
    blind = replace(IN_FLIGHT, hardware=Hardware("this machine", LLAMA_2_7B, "bfloat16", (), None))
    assert "is not known" in advise(blind, work, article(engine="compiled"), (1,), (4,)).because
