from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from example_runs import article
from hypothesis import given, settings
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline

from nbkit.analysis.cost_model import Correction
from nbkit.analysis.what_if import Workload, simulate
from nbkit.errors import InputError
from nbkit.records.settings import ORDERS, SPLITS

EXACT = replace(MODEL, tokenize_s=(1e-3, 0.0), detokenize_s=(1e-3, 0.0), gather_rank_s=0.0, gather_prompt_s=0.0)


def workload(prompt_tokens, new_tokens):
    return Workload(np.array(prompt_tokens), np.array(new_tokens))


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=80),
    st.integers(1, 9),
    st.sampled_from([1, 3, 16, 100]),
    st.sampled_from([1, 8]),
)
def test_a_simulation_is_the_run_that_the_same_model_and_schedule_make(lengths, ranks, batch_size, multiple):
    prompt_tokens, new_tokens = ([pair[i] for pair in lengths] for i in (0, 1))
    asked = {"batch_size": batch_size, "pad_to_multiple_of": multiple}
    made = timeline(prompt_tokens, new_tokens, ranks, EXACT, gather_s=0.0, **asked)
    forecast = simulate(EXACT, Workload.of(made), article(**asked), ranks)
    assert forecast.wall_s == pytest.approx(made.wall_s)
    assert forecast.tokens_per_second == pytest.approx(made.tokens_per_second)
    assert forecast.mean_ttft_s == pytest.approx(made.mean_ttft_s)
    assert forecast.mean_tpot_s == pytest.approx(made.mean_tpot_s)
    assert forecast.batches == len(made.batches)
    waits = [(b.begin_s + b.tokenize_s + b.prefill_s - made.begin_s) * len(b.indices) for b in made.batches]
    assert forecast.mean_first_token_s == pytest.approx(sum(waits) / len(lengths))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=60),
    st.integers(1, 9),
    st.sampled_from(SPLITS),
    st.sampled_from(ORDERS),
)
def test_no_schedule_loses_work_or_beats_what_all_ranks_can_do(lengths, ranks, split, order):
    prompt_tokens, new_tokens = ([pair[i] for pair in lengths] for i in (0, 1))
    asked = article(batch_size=4, split=split, order=order)
    forecast = simulate(EXACT, workload(prompt_tokens, new_tokens), asked, ranks)
    assert 0 < forecast.busy <= 1 + 1e-9
    assert forecast.tokens_per_second * forecast.wall_s == pytest.approx(sum(new_tokens))


def test_ranks_that_take_batches_as_they_get_free_wait_less_for_long_work():
    new = [10] * 96 + [200] * 32
    work = workload([8] * 128, new)
    static, dynamic = (simulate(EXACT, work, article(batch_size=8, split=split), 4) for split in SPLITS)
    assert dynamic.wall_s < 0.5 * static.wall_s


def test_more_ranks_never_take_longer_until_the_gather_does():
    work = Workload.drawn(500, 30, 50, "lognormal", "lognormal")
    walls = [simulate(EXACT, work, article(split="dynamic"), n).wall_s for n in (1, 2, 4, 8, 16)]
    assert all(later < earlier for earlier, later in itertools.pairwise(walls))
    slow_gather = replace(EXACT, gather_rank_s=1.0)
    assert simulate(slow_gather, work, article(), 1000).wall_s > 999


def test_the_published_plateau_comes_out_of_the_schedule():
    work = workload([16] * 100, [100] * 100)
    walls = [simulate(FLAT, work, article(batch_size=16), n).wall_s for n in (1, 2, 3, 4, 5)]
    rounds = [wall / walls[-1] * 2 for wall in walls]
    assert rounds == pytest.approx([7, 4, 3, 2, 2], rel=0.01)


def test_slower_neighbours_slow_the_forecast():
    crowded = replace(EXACT, corrections=(Correction(2, (1.0, 16.0), (2.0, 2.0), (2.0, 2.0)),))
    work = workload([8] * 64, [20] * 64)
    alone, beside = (simulate(model, work, article(), 2).wall_s for model in (EXACT, crowded))
    assert beside == pytest.approx(2 * alone, rel=0.02)


def test_a_million_prompts_on_a_thousand_ranks_are_dealt_whole():
    work = Workload.drawn(1_000_000, 30, 100, "lognormal", "lognormal")
    forecast = simulate(EXACT, work, article(batch_size=16, split="dynamic", order="by_length"), 1000)
    assert forecast.batches == 62_500
    assert forecast.prompts == len(work) == 1_000_000
    assert forecast.gpu_hours == pytest.approx(1000 * forecast.wall_s / 3600)


def test_what_cannot_be_simulated_is_named():
    work = Workload.drawn(4, 5, 5)
    with pytest.raises(InputError, match="ranks must be a whole number"):
        simulate(EXACT, work, article(), 0)
    with pytest.raises(InputError, match="fitted to the engine batched, not simple"):
        simulate(EXACT, work, article(engine="simple"), 1)
    with pytest.raises(InputError, match="at least one prompt"):
        simulate(EXACT, workload([], []), article(), 1)
    with pytest.raises(InputError, match="distribution must be one of"):
        Workload.drawn(4, 5, 5, "normal")
    with pytest.raises(InputError, match="number of prompts"):
        Workload.drawn(0, 5, 5)
