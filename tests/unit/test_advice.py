from __future__ import annotations

import pytest
from example_runs import article
from timelines import FLAT, MODEL

from nbkit.analysis.advice import advise, doublings, where_ranks_stop_paying
from nbkit.analysis.what_if import Workload
from nbkit.errors import InputError

WORK = Workload.drawn(512, 20, 50)
CHOICE = {"ranks": [1, 2, 4, 8], "batch_sizes": [1, 8, 64]}


def test_the_most_tokens_per_second_come_from_all_ranks_and_full_batches():
    advice = advise(MODEL, WORK, article(), goal="throughput", **CHOICE)
    assert advice.best.ranks == 8
    assert advice.best is advice.forecasts[0]
    assert advice.best.tokens_per_second == max(f.tokens_per_second for f in advice.forecasts)
    assert "8 ranks at batch size 64: " in advice.because
    assert "tokens/s" in advice.because


def test_the_first_token_comes_soonest_where_no_prompt_waits():
    advice = advise(MODEL, WORK, article(), goal="first token", **CHOICE)
    assert advice.best.mean_first_token_s <= min(f.mean_first_token_s for f in advice.forecasts) * 1.01


def test_the_cheapest_is_the_fewest_ranks_unless_there_is_a_deadline():
    cheap = advise(MODEL, WORK, article(), goal="cost", price_per_gpu_hour=2.5, **CHOICE)
    assert cheap.best.ranks == 1
    deadline_s = cheap.best.wall_s / 3
    hurried = advise(MODEL, WORK, article(), goal="cost", deadline_s=deadline_s, **CHOICE)
    assert hurried.best.ranks == 4
    assert hurried.best.wall_s <= deadline_s
    assert all(forecast.wall_s <= deadline_s for forecast in hurried.forecasts)


def test_what_cannot_be_had_says_what_comes_closest():
    with pytest.raises(InputError, match="nothing ends within 1 s; the fastest is 8 ranks at batch size 64"):
        advise(MODEL, WORK, article(), goal="cost", deadline_s=1, **CHOICE)
    with pytest.raises(InputError, match="goal must be one of"):
        advise(MODEL, WORK, article(), goal="fame", **CHOICE)
    with pytest.raises(InputError, match="at least one number of ranks"):
        advise(MODEL, WORK, article(), ranks=[], batch_sizes=[1])
    with pytest.raises(InputError, match="price"):
        advise(MODEL, WORK, article(), price_per_gpu_hour=0, **CHOICE)


def test_ranks_stop_paying_where_there_are_no_batches_for_them():
    assert where_ranks_stop_paying(FLAT, WORK, article(batch_size=64), 1024) == 8
    small = Workload.drawn(4, 20, 50)
    assert where_ranks_stop_paying(MODEL, small, article(batch_size=1), 1024) == 4
    assert where_ranks_stop_paying(MODEL, Workload.drawn(1, 20, 50), article(), 1024) == 1


def test_doublings_end_with_the_most():
    assert doublings(1) == [1]
    assert doublings(8) == [1, 2, 4, 8]
    assert doublings(1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]
