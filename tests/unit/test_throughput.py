from __future__ import annotations

import pytest
from example_runs import run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.records.throughput import MOST_BINS, Throughput, of_batches

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
