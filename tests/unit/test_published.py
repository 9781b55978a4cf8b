from __future__ import annotations

from dataclasses import replace

import pytest
from example_runs import article
from hypothesis import given
from hypothesis import strategies as st

from nbkit.analysis import published
from nbkit.analysis.what_if import Workload, simulate
from nbkit.errors import InputError
from nbkit.inference.schedule import batches, static_share

COUNTS = st.integers(1, 300)


@pytest.mark.parametrize("row", published.PUBLISHED)
def test_the_two_columns_of_the_table_agree(row):
    tokens = published.PROMPTS * published.NEW_TOKENS
    # Both columns are rounded, and not every prompt need have used up its new tokens.
    assert row.tokens_per_second * row.wall_s == pytest.approx(tokens, rel=0.02)


@given(prompts=COUNTS, gpus=st.integers(1, 20), batch_size=st.integers(1, 40))
def test_rounds_are_the_batches_of_the_busiest_rank_in_the_static_split(prompts, gpus, batch_size):
    by_rank = [len(batches(static_share(prompts, gpus, rank), batch_size)) for rank in range(gpus)]
    assert published.batch_rounds(prompts, gpus, batch_size) == max(by_rank)


@given(prompts=COUNTS, gpus=st.integers(1, 20), batch_size=st.integers(1, 40))
def test_more_gpus_or_larger_batches_never_make_more_rounds(prompts, gpus, batch_size):
    rounds = published.batch_rounds(prompts, gpus, batch_size)
    assert published.batch_rounds(prompts, gpus + 1, batch_size) <= rounds
    assert published.batch_rounds(prompts, gpus, batch_size + 1) <= rounds


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_rounds_of_nothing_are_refused(wrong):
    with pytest.raises(InputError, match="must be at least 1, not 0"):
        published.batch_rounds(*wrong)


def test_the_first_row_predicts_all_batched_rows_within_10_percent():
    predictions = published.predict_from_first_row()
    assert [each.rounds for each in predictions] == [7, 4, 3, 2, 2]
    assert predictions[0].relative_error == 0
    assert all(abs(each.relative_error) < 0.1 for each in predictions)


def test_from_four_gpus_on_a_prompt_takes_longer_on_each_rank():
    seconds = published.seconds_per_prompt()
    assert [each.share for each in seconds] == [100, 50, 34, 25, 20]
    assert [each.seconds for each in seconds] == pytest.approx([2.26, 2.26, 2.28, 2.91, 4.19], abs=0.01)
    assert [each.ratio for each in seconds] == pytest.approx([1, 1, 1.01, 1.29, 1.86], abs=0.01)
    assert "cannot be known" in published.UNKNOWABLE


@pytest.mark.parametrize("engine", ["simple", "batched"])
def test_speed_up_is_efficiency_times_gpus(engine):
    speed_ups, efficiencies = published.speed_ups(engine), published.efficiencies(engine)
    assert speed_ups[1] == efficiencies[1] == 1
    assert list(speed_ups) == [1, 2, 3, 4, 5]
    for gpus, speed_up in speed_ups.items():
        assert speed_up == pytest.approx(gpus * efficiencies[gpus])


def test_speed_ups_are_the_published_ones():
    assert published.speed_ups("simple")[5] == pytest.approx(225.5 / 83.8)
    assert published.efficiencies("batched")[4] == pytest.approx(0.8)


def test_the_published_machine_simulates_the_rounds():
    model = published.published_cost_model()
    for predicted in published.predict_from_first_row():
        work = Workload.drawn(published.PROMPTS, 16, published.NEW_TOKENS)
        forecast = simulate(model, work, article(batch_size=16), predicted.gpus)
        rounds = replace(model, hardware=None, gather_rank_s=0.0, gather_prompt_s=0.0)
        alone = simulate(rounds, work, article(batch_size=16), predicted.gpus)
        assert alone.wall_s == pytest.approx(predicted.predicted_s)
        # Beside the rounds: the prefill, which no RTX 3090 makes in the time of a step, and the gather.
        assert predicted.predicted_s < forecast.wall_s < 1.01 * predicted.predicted_s
        assert forecast.wall_s == pytest.approx(predicted.published_s, rel=0.1)
