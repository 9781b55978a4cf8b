"""Messages between notebook and ranks that cannot be read, are large, or are not taken."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

import nbkit
from nbkit.runtime import Emitted, outgoing


class Raises:
    """A value that raises what it is told when it is read."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self):
        def on_reading(error):
            raise error("on reading")

        return on_reading, (self.error,)


@pytest.mark.parametrize("error", [ValueError, SystemExit])
@pytest.mark.parametrize("then", [0, 60])
def test_an_emitted_value_that_cannot_be_read_is_the_jobs_error(workers, error, then):
    def emit(value, seconds):
        nbkit.current_job().emit("good")
        if os.environ["RANK"] == "1":
            nbkit.current_job().emit(value)
        time.sleep(seconds)

    pids = [info.pid for info in workers.wait_until_ready()]
    job = workers.submit(lambda: emit(Raises(error), then))
    with pytest.raises(
        nbkit.WorkersError, match=rf"rank 1 emitted cannot be read here: {error.__name__}: on reading"
    ):
        job.result(timeout=20)
    assert any(event.value == "good" for event in job.events() if isinstance(event, Emitted))
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_returned_value_that_cannot_be_read_is_the_jobs_error(workers, error):
    with pytest.raises(nbkit.WorkersError, match=f"return value cannot be read here: {error.__name__}: on reading"):
        workers.submit(lambda: Raises(error)).result(timeout=20)
    assert workers.run(int) == [0, 0]


def test_an_error_that_cannot_be_read_is_told_all_the_same(workers):
    def fail():
        class Odd(Exception):
            def __reduce__(self):
                return exit, ("on reading",)

        raise Odd("what was wrong")

    with pytest.raises(nbkit.RankError, match="Odd: what was wrong"):
        workers.submit(fail).result(timeout=20)
    assert workers.run(int) == [0, 0]


def test_large_arguments_and_values_travel(workers):
    data = os.urandom(100_000_000)
    assert workers.run(lambda given: given[-10:], data) == [data[-10:]] * 2
    assert workers.run(lambda: bytes(100_000_000))[1] == bytes(100_000_000)


def test_a_job_cancelled_while_its_arguments_are_on_their_way_keeps_the_ranks(workers):
    pids = [info.pid for info in workers.wait_until_ready()]
    for _ in range(3):
        job = workers.submit(len, bytes(50_000_000))
        job.cancel()
        with pytest.raises(nbkit.JobCancelled):
            job.result(timeout=20)
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_a_rank_that_takes_no_messages_is_lost_and_named_and_holds_up_no_other(own_pool, gone_within, monkeypatch):
    monkeypatch.setattr(outgoing, "SEND_TIMEOUT_S", 1.0)
    pids = [info.pid for info in own_pool.wait_until_ready()]
    os.kill(pids[1], signal.SIGSTOP)
    job = own_pool.submit(lambda data: print("taken"), bytes(20_000_000))
    with pytest.raises(nbkit.RankDied, match=rf"rank 1 \(process {pids[1]}\) took no messages for 1 s") as caught:
        job.result(timeout=20)
    assert caught.value.rank == 1
    assert any(getattr(event, "text", None) == "taken" for event in job.events()), "rank 0 ran"
    assert gone_within(pids, 5)
    assert own_pool.run(int) == [0, 0]


def test_ranks_that_do_not_stop_after_such_a_value_are_ended_and_the_next_job_runs(own_pool):
    def never_stops():
        nbkit.current_job().emit(Raises(ValueError))
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)

    job = own_pool.submit(never_stops)
    with pytest.raises(nbkit.WorkersError, match="cannot be read here"):
        job.result(timeout=20)
    assert own_pool.submit(int).result(timeout=60) == [0, 0]
