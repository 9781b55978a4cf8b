from __future__ import annotations

import pytest
from example_runs import batch, outputs
from hypothesis import given
from hypothesis import strategies as st

from nbkit.engines import BatchDone
from nbkit.generation import Progress, ShareBegun
from nbkit.progress import RunProgress, throughput
from nbkit.settings import Settings


def test_progress_counts_batches_done_and_the_one_under_way():
    progress = RunProgress(Settings(batch_size=2, max_new_tokens=10), prompts=8)
    assert not progress.has_begun
    assert progress.fraction_done == 0
    for rank in (0, 1):
        progress.take(rank, ShareBegun(4, 0.0, 1.0 + rank))
    assert progress.begin_s == 1.0

    progress.take(0, Progress(1.5, 10))
    assert progress.ranks[0].fraction_done(progress.settings) == pytest.approx(1 / 4)
    progress.take(0, BatchDone(batch(0, (0, 1)), tuple(outputs((0, 1)))))
    assert progress.ranks[0].fraction_done(progress.settings) == pytest.approx(2 / 4)
    assert progress.fraction_done == pytest.approx(2 / 8)
    assert progress.prompts_done == 2
    assert progress.tokens == 20


def test_all_batches_are_all_of_the_work():
    progress = RunProgress(Settings(batch_size=3), prompts=4)
    progress.take(0, ShareBegun(4, 0.0, 1.0))
    for share in ((0, 1, 2), (3,)):
        progress.take(0, BatchDone(batch(0, share), tuple(outputs(share))))
    assert progress.fraction_done == 1


@given(rate=st.integers(1, 1000), samples=st.integers(3, 60), step=st.floats(0.05, 2))
def test_a_steady_rate_comes_out_as_that_rate(rate, samples, step):
    points = [(i * step, i * rate) for i in range(samples)]
    assert [value for _, value in throughput(points)] == pytest.approx([rate / step] * (samples - 1))


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 1000)), max_size=40))
def test_throughput_is_never_negative_whatever_the_order(samples):
    assert all(rate >= 0 for _, rate in throughput(samples))
