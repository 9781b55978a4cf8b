"""Jobs: futures with live events, that can be cancelled."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time

import pytest

import nbkit
from nbkit.runtime import Log, Started
from nbkit.runtime.pool import Pool


def wait_in_barrier():
    from accelerate import Accelerator

    accelerator = Accelerator()
    if accelerator.is_main_process:
        accelerator.wait_for_everyone()
    time.sleep(60)


def sleep():
    time.sleep(60)


def test_submit_returns_at_once_and_result_waits(workers):
    def slow():
        time.sleep(0.5)
        return "done"

    job = workers.submit(slow)
    assert not job.done()
    with pytest.raises(TimeoutError, match="goes on"):
        job.result(timeout=0.05)
    assert job.result() == ["done", "done"]
    assert job.status == "finished"


def test_events_come_in_order_from_the_first(workers):
    def count():
        for number in range(5):
            print(number)

    events = list(workers.submit(count).events())

    assert isinstance(events[0], Started)
    for rank in (0, 1):
        assert [e.text for e in events if isinstance(e, Log) and e.rank == rank] == list("01234")


def test_lines_seen_in_events_are_not_printed_again(workers, capsys):
    job = workers.submit(print, "once")
    list(job.events())
    job.result()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stuck", [sleep, wait_in_barrier])
def test_a_cancelled_job_frees_the_same_ranks(workers, stuck):
    pids = [info.pid for info in workers.wait_until_ready()]
    job = workers.submit(stuck)
    time.sleep(0.3)

    assert job.cancel()

    with pytest.raises(nbkit.JobCancelled):
        job.result(timeout=10)
    assert job.cancelled()
    assert job.status == "cancelled"
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_a_cancelled_job_frees_a_rank_that_waits_for_one_that_has_finished(workers):
    def wait_alone():
        from accelerate import Accelerator

        # A learner's usual mistake: a collective on one rank only.
        accelerator = Accelerator()
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()

    pids = [info.pid for info in workers.wait_until_ready()]
    job = workers.submit(wait_alone)
    time.sleep(0.3)
    job.cancel()
    with pytest.raises(nbkit.JobCancelled):
        job.result(timeout=10)
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids, "ranks, and their models, are kept"


def test_a_job_is_cancelled_before_its_workers_are_up():
    with Pool(1) as starting:
        with pytest.raises(nbkit.WorkersError, match="not ready after 0"):
            starting.wait_until_ready(timeout=0)
        job = starting.submit(sleep)
        assert job.status == "queued"
        assert job.cancel()
        with pytest.raises(nbkit.JobCancelled):
            job.result(timeout=5)
        assert starting.run(int) == [0]


def test_a_queued_job_runs_after_one_that_failed(workers):
    first, second = workers.submit(int, "no number"), workers.submit(int, "7")
    with pytest.raises(nbkit.RankError, match="no number"):
        first.result(timeout=10)
    assert second.result(timeout=10) == [7, 7]
    assert (first.status, second.status) == ("failed", "finished")


def test_events_end_when_a_job_fails_or_is_cancelled(workers):
    failed = workers.submit(int, "no number")
    assert isinstance(next(iter(failed.events())), Started)
    list(failed.events())
    assert failed.done()

    cancelled = workers.submit(sleep)
    for event in cancelled.events(timeout=0.05):
        if event is None:
            cancelled.cancel()
    assert cancelled.status == "cancelled"


def test_events_can_be_watched_from_the_first_again(workers):
    job = workers.submit(print, "line")
    first, second = list(job.events()), list(job.events())
    assert first == second
    assert len(first) == 3


def test_a_job_is_a_future_for_the_standard_library(workers):
    job = workers.submit(int, "3")
    done, _ = concurrent.futures.wait([job], timeout=10)
    assert done == {job}
    assert job.exception() is None

    async def from_a_cell():
        return await asyncio.wrap_future(workers.submit(int, "4"))

    # In a thread of its own: the browser tests leave a running event loop in this one.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert pool.submit(lambda: asyncio.run(from_a_cell())).result(timeout=10) == [4, 4]


def test_a_callback_may_submit_the_next_job(workers):
    following: list[nbkit.Job] = []
    first = workers.submit(time.sleep, 0.2)
    first.add_done_callback(lambda _: following.append(workers.submit(int, "5")))
    first.result(timeout=5)
    assert workers.run(int) == [0, 0]
    assert following[0].result(timeout=5) == [5, 5]


def test_twenty_cancels_keep_the_same_ranks(workers):
    pids = [info.pid for info in workers.wait_until_ready()]
    for _ in range(20):
        job = workers.submit(sleep)
        job.cancel()
        with pytest.raises(nbkit.JobCancelled):
            job.result(timeout=10)
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_a_queued_job_is_cancelled_without_running(workers):
    first, second = workers.submit(time.sleep, 0.5), workers.submit(sleep)

    assert second.cancel()

    with pytest.raises(nbkit.JobCancelled):
        second.result(timeout=5)
    assert first.result(timeout=5) == [None, None]


def test_an_ended_job_cannot_be_cancelled(workers):
    job = workers.submit(int)
    job.result()
    assert not job.cancel()
    assert job.status == "finished"


def test_a_function_that_catches_everything_is_ended_with_its_process(own_pool):
    def stubborn():
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)

    pids = [info.pid for info in own_pool.wait_until_ready()]
    job = own_pool.submit(stubborn)
    time.sleep(0.3)
    job.cancel()
    with pytest.raises(nbkit.JobCancelled):
        job.result(timeout=15)
    assert own_pool.run(int) == [0, 0]
    assert [info.pid for info in own_pool.wait_until_ready()] != pids


def test_jobs_run_in_the_order_of_their_submission(workers):
    jobs = [workers.submit(int, str(number)) for number in range(20)]
    assert [job.result() for job in jobs] == [[number, number] for number in range(20)]
