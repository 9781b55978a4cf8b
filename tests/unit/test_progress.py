from __future__ import annotations

import dataclasses

import pytest
from example_runs import article, batch, outputs

from nbkit.engines import BatchDone
from nbkit.inference.generation import Progress, ShareBegun, ShareDone
from nbkit.inference.progress import RunProgress, follow
from nbkit.runtime import Emitted, Log, Started

BATCH = 2


def test_progress_counts_batches_done_and_the_one_under_way():
    progress = RunProgress(article(batch_size=2, max_new_tokens=10), prompts=8)
    assert not progress.has_begun
    assert progress.fraction_done == 0
    for rank in (0, 1):
        progress.take(rank, ShareBegun(4, 0.0, 1.0 + rank, BATCH))
    assert progress.begin_s == 1.0

    progress.take(0, Progress(1.5, 10))
    assert progress.fraction_of(0) == pytest.approx(1 / 4)
    progress.take(0, BatchDone(batch(0, (0, 1)), tuple(outputs((0, 1)))))
    assert progress.fraction_of(0) == pytest.approx(2 / 4)
    assert progress.fraction_done == pytest.approx(2 / 8)
    assert progress.prompts_done == 2
    assert progress.tokens == 20


def test_all_batches_are_all_of_the_work():
    progress = RunProgress(article(batch_size=3), prompts=4)
    progress.take(0, ShareBegun(4, 0.0, 1.0, 3))
    for share in ((0, 1, 2), (3,)):
        progress.take(0, BatchDone(batch(0, share), tuple(outputs(share))))
    assert progress.fraction_done == 1


def test_where_ranks_take_batches_as_they_get_free_a_rank_is_as_far_as_all_are():
    progress = RunProgress(article(batch_size=2, max_new_tokens=10, split="dynamic"), prompts=8)
    for rank in (0, 1):
        progress.take(rank, ShareBegun(None, 0.0, 1.0, BATCH))
    progress.take(0, BatchDone(batch(0, (0, 1)), tuple(outputs((0, 1)))))
    progress.take(1, Progress(1.5, 10))
    assert progress.fraction_done == pytest.approx(3 / 8)
    assert [progress.fraction_of(rank) for rank in (0, 1)] == pytest.approx([3 / 8, 3 / 8])


def test_a_rank_that_is_done_holds_up_no_figure():
    progress = RunProgress(article(batch_size=2, max_new_tokens=10), prompts=4)
    for rank in (0, 1):
        progress.take(rank, ShareBegun(2, 0.0, 1.0, BATCH))
    progress.take(0, BatchDone(batch(0, (0, 1)), tuple(outputs((0, 1)))))
    progress.take(0, ShareDone())
    progress.take(1, Progress(9.0, 10))
    assert progress.ranks[0].is_done
    assert progress.throughput.of_all()[-1][0] == pytest.approx(7.9, abs=0.2)


def test_throughput_counts_every_token_and_not_twice():
    progress = RunProgress(article(batch_size=2, max_new_tokens=10), prompts=4)
    for rank in (0, 1):
        progress.take(rank, ShareBegun(2, 0.0, 1.0, BATCH))
    progress.take(0, Progress(1.4, 6))
    for rank in (0, 1):
        indices = (2 * rank, 2 * rank + 1)
        progress.take(rank, BatchDone(batch(rank, indices), tuple(outputs(indices))))

    width_s = progress.throughput.width_s
    assert sum(rate for _, rate in progress.throughput.of_all()[:-1]) * width_s <= progress.tokens == 40
    assert progress.tokens_per_second == pytest.approx(40 / 1.3)


def test_where_sequences_join_one_by_one_the_others_stay_under_way():
    progress = RunProgress(article(engine="compiled", max_new_tokens=10), prompts=8)
    progress.take(0, ShareBegun(None, 0.0, 1.0, 4))
    progress.take(0, Progress(1.5, 32))
    done = batch(0, (0, 1))
    progress.take(0, BatchDone(done, tuple(outputs((0, 1)))))
    assert done.computed_tokens == 20
    assert progress.ranks[0].tokens_under_way == 12
    assert progress.tokens == 32
    assert progress.fraction_done == pytest.approx((2 + 1.2) / 8)


def test_where_sequences_join_one_by_one_tokens_count_when_they_were_reported():
    """Eight side by side at 750 tokens/s, told every 0.2 s; all eight end in windows of their own."""
    progress = RunProgress(article(engine="compiled", max_new_tokens=100), prompts=24)
    progress.take(0, ShareBegun(None, 0.0, 1.0, 8))
    tokens, told, ended = 0, 0, 0
    for step in range(1, 31):
        at_s, tokens = 1.0 + 0.1 * step, round(75 * step)
        if step % 2:
            progress.take(0, Progress(at_s, tokens - told))
        elif tokens - told >= 800:
            indices = tuple(range(8 * ended, 8 * ended + 8))
            done = dataclasses.replace(batch(0, indices), new_tokens=800, computed_tokens=800, end_s=at_s + 0.01)
            progress.take(0, BatchDone(done, tuple(outputs(indices))))
            told, ended = told + 800, ended + 1
    assert ended == 2
    rates = [rate for _, rate in progress.throughput.of_all()]
    assert rates == pytest.approx([750] * len(rates))


def test_tokens_that_no_report_told_count_when_a_rank_is_done():
    progress = RunProgress(article(engine="compiled", max_new_tokens=10), prompts=2)
    progress.take(0, ShareBegun(None, 0.0, 1.0, 2))
    progress.take(0, BatchDone(batch(0, (0, 1)), tuple(outputs((0, 1)))))
    progress.take(0, ShareDone())
    assert sum(rate for _, rate in progress.throughput.of_all()[:-1]) > 0
    assert progress.throughput.of_all()[-1][0] == pytest.approx(1.275)


def test_sequences_that_begin_anew_for_want_of_memory_make_no_rate_below_0():
    progress = RunProgress(article(engine="compiled", max_new_tokens=100), prompts=24)
    progress.take(0, ShareBegun(None, 0.0, 1.0, 8))
    for at_s, tokens in ((1.5, 300), (2.0, 20), (2.5, 400)):
        progress.take(0, Progress(at_s, tokens))
    assert min(rate for _, rate in progress.throughput.of_all()) >= 0


class FakeJob:
    """A job whose events have come."""

    def __init__(self, *events):
        self._events = events

    def events(self, timeout):
        assert timeout == 0.5
        return iter(self._events)


def test_a_run_is_followed_line_by_line_and_beat_by_beat():
    line = Log(0, "stdout", "loading")
    events = (Started(), line, None, Emitted(0, ShareBegun(4, 0.0, 1.0, BATCH)), Emitted(0, Progress(1.5, 10)))
    progress = RunProgress(article(batch_size=2, max_new_tokens=10), prompts=4)
    told = [(each, progress.tokens) for each in follow(FakeJob(*events), progress, 0.5)]
    assert told == [(progress, 0), (line, 0), (progress, 0), (progress, 0), (progress, 10)]
