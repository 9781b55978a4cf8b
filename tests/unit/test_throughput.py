from __future__ import annotations

import dataclasses

import pytest
from example_runs import MACHINE, article, batch, rank_record, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.records import OutputTimes
from nbkit.records.columns import Column
from nbkit.records.run import Run
from nbkit.records.throughput import MOST_BINS, Throughput, of_batches, of_run

# Tokens take time: a report that comes in no time after the last has no rate.
REPORTS = st.lists(st.tuples(st.integers(0, 3), st.floats(0.001, 20), st.integers(0, 1000)), max_size=60)


def area(points, width_s):
    """Tokens under the points: the middle of a bin lies half of what is known of it after its begin."""
    return sum(rate * 2 * (at_s - int(at_s / width_s) * width_s) for at_s, rate in points)


@given(REPORTS)
def test_no_token_is_lost_or_counted_twice_whatever_the_reports(steps):
    throughput, clocks, counted = Throughput(), dict.fromkeys(range(4), 0.0), dict.fromkeys(range(4), 0)
    for rank, seconds, tokens in steps:
        clocks[rank] += seconds
        first = rank not in throughput.ranks
        throughput.count(rank, clocks[rank], 0 if first else tokens)
        counted[rank] += 0 if first else tokens
    for rank in throughput.ranks:
        assert area(throughput.of_rank(rank), throughput.width_s) == pytest.approx(counted[rank], abs=1e-6)
        throughput.finish(rank)
    assert area(throughput.of_all(), throughput.width_s) == pytest.approx(sum(counted.values()), abs=1e-6)
    assert len(throughput.of_all()) <= MOST_BINS


@given(rate=st.floats(1, 1000), every_s=st.floats(0.05, 2), reports=st.integers(2, 80))
def test_a_steady_rate_is_a_level_line_however_rarely_it_is_reported(rate, every_s, reports):
    throughput = Throughput()
    throughput.count(0, 0.0, 0)
    for number in range(1, reports + 1):
        throughput.count(0, number * every_s, rate * every_s)
    values = [value for _, value in throughput.of_rank(0)]
    assert values == pytest.approx([rate] * len(values), rel=1e-3)


def test_the_first_report_of_tokens_is_a_point_at_once():
    throughput = Throughput()
    throughput.count(0, 0.0, 0)
    throughput.count(0, 0.1, 5)
    assert throughput.of_rank(0) == [(0.05, pytest.approx(50))]


def test_the_sum_waits_for_ranks_at_work_but_not_for_those_that_have_finished():
    throughput = Throughput()
    for rank in (0, 1):
        throughput.count(rank, 0.0, 0)
    throughput.count(0, 2.0, 200)
    assert throughput.of_all() == []
    throughput.count(1, 1.0, 50)
    assert [rate for _, rate in throughput.of_all()] == pytest.approx([150] * 4)
    throughput.finish(1)
    assert [rate for _, rate in throughput.of_all()] == pytest.approx([150] * 4 + [100] * 4)


def test_a_night_takes_no_more_room_than_a_minute():
    throughput = Throughput()
    for second in range(30_000):
        throughput.count(0, float(second), 10)
    points = throughput.of_rank(0)
    assert MOST_BINS / 2 <= len(points) <= MOST_BINS
    assert points[len(points) // 2][1] == pytest.approx(10)


def test_finished_batches_have_the_throughput_of_their_records():
    made = run(prompts=12)
    throughput = of_batches(made.batches, made.begin_s)
    assert throughput.ranks == [0, 1]
    assert area(throughput.of_all(), throughput.width_s) == pytest.approx(made.total_computed_tokens)


SLOTS, TOKENS, RATE = 8, 100, 750


def in_flight(rounds: int = 3, discarded: int = 0) -> Run:
    """Eight sequences side by side on one rank, 750 tokens/s all the time; they end together, eight in a window."""
    step_s = SLOTS / RATE
    windows, times = [], []
    for number in range(rounds):
        taken_s = 1.0 + number * TOKENS * step_s
        moments = [taken_s + (step + 1) * step_s for step in range(TOKENS)]
        times += [OutputTimes.of(taken_s, moments)] * SLOTS
        indices = tuple(range(number * SLOTS, (number + 1) * SLOTS))
        window = dataclasses.replace(
            batch(0, indices),
            begin_s=moments[-1] - 0.5,
            end_s=moments[-1],
            tokenize_s=0.0,
            prefill_s=0.1,
            decode_s=0.4,
            detokenize_s=0.0,
            new_tokens=SLOTS * TOKENS,
            computed_tokens=SLOTS * TOKENS + discarded,
            decode_steps=47,
            first_token_s=0.1,
            after_first_s=8.0,
        )
        windows.append(window)
    prompts = rounds * SLOTS
    return Run(
        settings=article(engine="compiled", batch_size=SLOTS, max_new_tokens=TOKENS),
        prompts=["prompt"] * prompts,
        outputs=["output"] * prompts,
        prompt_tokens=[5] * prompts,
        new_tokens=[TOKENS] * prompts,
        finish_reasons=["length"] * prompts,
        batches=windows,
        ranks=[rank_record(0, 1, prompts, end_s=windows[-1].end_s)],
        world_size=1,
        machine=MACHINE,
        times=times,
    )


def test_sequences_that_join_one_by_one_count_when_their_tokens_were_made():
    made = in_flight()
    throughput = of_run(made)
    rates = [rate for _, rate in throughput.of_all()]
    assert not throughput.counts_at_end
    assert max(rates) < 1.05 * RATE
    assert max(rate for _, rate in of_batches(made.batches, made.begin_s).of_all()) > 1.9 * RATE
    assert area(throughput.of_all(), throughput.width_s) == pytest.approx(made.total_computed_tokens)


def test_what_was_computed_after_the_ends_counts_in_its_window():
    made = in_flight(discarded=16)
    throughput = of_run(made)
    assert area(throughput.of_all(), throughput.width_s) == pytest.approx(made.total_computed_tokens)
    assert made.total_computed_tokens == 3 * (SLOTS * TOKENS + 16)


def test_where_a_sequence_lacks_its_times_all_count_at_their_ends_and_it_is_known():
    made = in_flight()
    old = dataclasses.replace(made, times=[None, *made.times[1:]])
    throughput = of_run(old)
    assert throughput.counts_at_end
    assert throughput.of_all() == of_batches(old.batches, old.begin_s).of_all()
    assert not of_run(run()).counts_at_end


def test_a_sequence_of_one_token_counts_at_its_moment():
    made = in_flight(rounds=1)
    first = made.batches[0]
    one = dataclasses.replace(
        made,
        new_tokens=[1] * SLOTS,
        batches=[dataclasses.replace(first, new_tokens=SLOTS, computed_tokens=SLOTS)],
        times=[OutputTimes.of(1.0, [1.5])] * SLOTS,
    )
    throughput = of_run(one)
    assert [at for at, rate in throughput.of_all() if rate] == [0.625]
    assert area(throughput.of_all(), throughput.width_s) == pytest.approx(SLOTS)


class Once(Column):
    """A column that tells how often it was gone through."""

    def __init__(self, values):
        self.values, self.read = values, 0

    def __len__(self):
        return len(self.values)

    def _each(self, indices):
        self.read += 1
        return (self.values[index] for index in indices)


def test_a_hundred_thousand_sequences_take_no_more_bins_and_columns_in_files_are_read_once():
    made = in_flight(rounds=12_500)
    columns = {name: Once(getattr(made, name)) for name in ("new_tokens", "batches", "times")}
    stored = dataclasses.replace(made, **columns)
    begin_s = stored.begin_s
    read = {name: column.read for name, column in columns.items()}
    throughput = of_run(stored)
    assert {name: column.read - read[name] for name, column in columns.items()} == dict.fromkeys(columns, 1)
    points = throughput.of_all()
    assert MOST_BINS / 2 <= len(points) <= MOST_BINS and begin_s == 1.0
    assert points[len(points) // 2][1] == pytest.approx(RATE, rel=0.01)
