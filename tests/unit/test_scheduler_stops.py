"""The scheduler where functions raise and jobs are cancelled: who is told, who is freed, who goes on."""

from __future__ import annotations

import pytest

from nbkit.errors import RankError, WorkersError
from nbkit.runtime import scheduler as limits
from nbkit.runtime import wire
from nbkit.runtime.job import Emitted, Log, Started
from nbkit.runtime.pickling import dump
from nbkit.runtime.scheduler import Phase


def test_an_error_is_told_at_once_and_frees_the_others(play):
    job = play.submit()
    play.raised(1, 2)
    with pytest.raises(RankError, match="rank 2 raised ValueError: no"):
        job.result(timeout=0)
    assert play.told(wire.Abort, 1) == [0, 1, 2, 3], "also to the one that has answered"
    play.submit()
    assert 2 not in play.orders(), "its ranks are not free yet"
    play.raised(1, 0, 1, 3, aborted=True)
    assert play.orders()[2] == [0, 1, 2, 3]
    assert play.groups()[-1].number == 1, "they meet in a new group"


def test_an_error_on_some_ranks_leaves_the_others_alone(play):
    first, second = play.submit(0, 1), play.submit(2, 3)
    play.begun(1, 0, 1)
    play.begun(2, 2, 3)
    play.raised(1, 0)
    play.raised(1, 1, aborted=True)
    assert isinstance(first.exception(), RankError)
    assert play.told(wire.Abort, 2) == []
    play.returned(2, 2, 3)
    assert second.result() == ["value of 2", "value of 3"]


def test_an_error_in_a_collective_waits_for_the_one_that_caused_it(play):
    job = play.submit()
    play.raised(1, 0, in_collective=True)
    assert not job.done()
    play.raised(1, 3)
    with pytest.raises(RankError, match="rank 3"):
        job.result(timeout=0)


def test_an_error_in_a_collective_that_nobody_else_explains_is_told_after_a_moment(play):
    job = play.submit()
    play.raised(1, 0, in_collective=True)
    play.wait(limits.BLAME_S)
    with pytest.raises(RankError, match="rank 0"):
        job.result(timeout=0)


def test_errors_in_collectives_on_all_ranks_blame_the_first(play):
    job = play.submit()
    play.raised(1, 1, 0, 2, 3, in_collective=True)
    with pytest.raises(RankError, match="rank 1"):
        job.result(timeout=0)


def test_a_late_answer_of_an_ended_job_is_ignored(play):
    first = play.submit(0, 1)
    play.begun(1, 0, 1)
    play.returned(1, 0, 1)
    second = play.submit(0, 1)
    play.returned(1, 0)
    play.raised(1, 1)
    play.scheduler.received(0, wire.RankLog(1, "stdout", "late"))
    assert first.result() == ["value of 0", "value of 1"]
    assert not second.done()
    assert play.scheduler.phase is Phase.UP


def test_an_answer_of_a_rank_that_is_not_the_jobs_is_ignored(play):
    job = play.submit(0)
    play.begun(1, 0)
    play.returned(1, 3)
    assert not job.done()


def test_a_value_that_cannot_be_read_fails_the_job_and_frees_its_ranks(play):
    job = play.submit(0, 1)
    play.begun(1, 0, 1)
    play.scheduler.received(0, wire.RankEvent(1, b"no pickle"))
    with pytest.raises(WorkersError, match="rank 0 emitted cannot be read here"):
        job.result(timeout=0)
    assert play.told(wire.Abort, 1) == [0, 1]
    play.raised(1, 0, 1, aborted=True)
    play.submit(0, 1)
    assert play.orders()[2] == [0, 1]


def test_events_reach_the_job_with_their_rank(play):
    job = play.submit(2, 3)
    play.scheduler.received(3, wire.RankLog(1, "stdout", "a line"))
    play.scheduler.received(2, wire.RankEvent(1, dump(7)))
    play.begun(1, 2, 3)
    play.returned(1, 2, 3)
    assert list(job.events()) == [Started(), Log(3, "stdout", "a line"), Emitted(2, 7)]


# Cancels.


def test_a_cancelled_function_is_taken_out_at_once(play):
    job = play.submit()
    job.cancel()
    assert play.told(wire.Cancel, 1) == []
    assert play.told(wire.Abort, 1) == [0, 1, 2, 3]
    assert not job.done(), "its ranks are still in it"
    play.raised(1, 0, 1, 2, 3, aborted=True)
    assert job.cancelled()


def test_one_that_heeds_a_cancel_stops_by_itself_and_keeps_its_group(play):
    job = play.submit(heeds_cancel=True)
    job.cancel()
    job.cancel()
    assert play.told(wire.Cancel, 1) == [0, 1, 2, 3]
    assert play.told(wire.Abort, 1) == []
    play.returned(1, 0, 1, 2, 3)
    assert job.cancelled()
    assert job.exception().partial == [f"value of {rank}" for rank in range(4)]
    play.submit()
    assert play.groups()[-1].number == 0


def test_a_function_that_has_looked_once_heeds_a_cancel(play):
    job = play.submit()
    play.scheduler.received(1, wire.HeedsCancel(1))
    job.cancel()
    assert play.told(wire.Abort, 1) == []
    assert play.told(wire.Cancel, 1) == [0, 1, 2, 3]


def test_one_that_does_not_stop_by_itself_is_taken_out(play):
    job = play.submit(heeds_cancel=True)
    job.cancel()
    play.wait(limits.CANCEL_GRACE_S)
    assert play.told(wire.Abort, 1) == [0, 1, 2, 3]
    play.raised(1, 0, 1, 2, 3, aborted=True)
    assert job.cancelled()


def test_a_cancel_concerns_its_own_ranks_alone(play):
    first, second = play.submit(0, 1), play.submit(2, 3)
    first.cancel()
    assert {rank for rank, message in play.launcher.sent if isinstance(message, wire.Abort)} == {0, 1}
    play.raised(1, 0, 1, aborted=True)
    play.begun(2, 2, 3)
    play.returned(2, 2, 3)
    assert first.cancelled()
    assert second.result() == ["value of 2", "value of 3"]


def test_ranks_that_do_not_answer_an_abort_are_ended_and_the_next_job_says_so(play):
    job = play.submit()
    next_job = play.submit()
    job.cancel()
    play.raised(1, 0, 1, 2, aborted=True)
    play.wait(limits.ABORT_GRACE_S)
    assert job.cancelled()
    assert (play.launcher.kills, play.launcher.starts) == (1, 2)
    play.come_up()
    assert play.orders() == {2: [0, 1, 2, 3]}
    assert [event.text for event in next_job._events.since(0) if isinstance(event, Log)] == [
        "the workers did not stop in time, so they were ended and started anew."
    ]


def test_a_job_beside_one_that_does_not_stop_is_told_that_it_was_ended_with_it(play):
    stubborn, beside = play.submit(0), play.submit(2, 3)
    play.begun(1, 0)
    stubborn.cancel()
    play.wait(limits.ABORT_GRACE_S)
    assert stubborn.cancelled()
    with pytest.raises(WorkersError, match=r"did not stop in time on rank 0; submit it again"):
        beside.result(timeout=0)


def test_a_cancel_after_an_error_changes_nothing(play):
    job = play.submit()
    play.raised(1, 0)
    assert not job.cancel()
    play.raised(1, 1, 2, 3, aborted=True)
    assert isinstance(job.exception(), RankError)


def test_a_cancel_while_another_is_blamed_cancels(play):
    job = play.submit()
    play.raised(1, 0, in_collective=True)
    job.cancel()
    play.wait(limits.BLAME_S)
    assert not job.done()
    play.raised(1, 1, 2, 3, aborted=True)
    assert job.cancelled()


def test_a_job_that_returns_as_it_is_cancelled_is_cancelled_with_its_values(play):
    job = play.submit(0)
    play.begun(1, 0)
    job.cancel()
    play.returned(1, 0)
    assert job.cancelled()
    assert job.exception().partial == ["value of 0"]
    play.submit(0)
    assert play.groups()[-1].number == 2, "it may have left its group: the abort was on its way"
