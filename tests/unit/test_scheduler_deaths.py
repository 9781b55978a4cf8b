"""The scheduler where ranks cannot meet, die, or do not start: which jobs are hit, and what the next one finds."""

from __future__ import annotations

import pytest
from scheduler_play import Play

from nbkit.errors import RankDied, RankError, WorkersError
from nbkit.runtime import scheduler as limits
from nbkit.runtime import wire
from nbkit.runtime.job import Log
from nbkit.runtime.launchers.launcher import Death
from nbkit.runtime.scheduler import Phase


def test_a_cancel_while_ranks_meet_waits_for_them(play):
    job = play.submit(0, 1, heeds_cancel=True)
    job.cancel()
    play.begun(1, 0, 1)
    play.returned(1, 0, 1)
    assert job.cancelled()
    assert play.launcher.kills == 0


def test_ranks_that_cannot_meet_are_started_anew_and_the_job_tries_again(play):
    job = play.submit(0, 1)
    play.begun(1, 0)
    play.wait(limits.MEET_TIMEOUT_S)
    assert not job.done()
    assert (play.launcher.kills, play.launcher.starts) == (1, 2)
    play.come_up()
    assert play.orders() == {1: [0, 1]}
    play.begun(1, 0, 1)
    play.returned(1, 0, 1)
    assert job.result() == ["value of 0", "value of 1"]


def test_a_rank_that_raises_while_it_joins_is_a_failed_meeting_too(play):
    job = play.submit(0, 1)
    play.raised(1, 1)
    assert not job.done()
    play.come_up()
    play.raised(1, 0)
    with pytest.raises(WorkersError, match="could not form a process group: ValueError: no"):
        job.result(timeout=0)


def test_a_rank_taken_out_of_its_joining_because_another_raised_is_no_failed_meeting(play):
    job = play.submit(0, 1)
    play.begun(1, 0)
    play.raised(1, 0)
    play.raised(1, 1, aborted=True)
    assert isinstance(job.exception(), RankError)
    assert play.launcher.kills == 0


def test_a_job_beside_a_failed_meeting_is_told(play):
    play.submit(0, 1)
    beside = play.submit(2)
    play.begun(2, 2)
    play.wait(limits.MEET_TIMEOUT_S)
    with pytest.raises(WorkersError, match=r"did not meet in time on ranks 0, 1; submit it again"):
        beside.result(timeout=0)


def test_a_cancelled_job_whose_ranks_cannot_meet_is_cancelled(play):
    job = play.submit(0, 1, heeds_cancel=True)
    job.cancel()
    play.wait(limits.MEET_TIMEOUT_S)
    assert job.done()
    assert job.cancelled()


def test_a_job_cancelled_while_its_ranks_meet_is_taken_out_once_they_have_met(play):
    job = play.submit(0, 1)
    job.cancel()
    play.wait(limits.ABORT_GRACE_S)
    assert play.launcher.kills == 0, "they are still on their way"
    play.begun(1, 0, 1)
    play.raised(1, 0, aborted=True)
    play.wait(limits.ABORT_GRACE_S)
    assert play.launcher.kills == 1, "and then have as long as others"
    assert job.cancelled()


# Deaths.


def test_a_rank_that_dies_in_a_job_is_named_and_the_next_job_starts_anew(play):
    job, next_job = play.submit(), play.submit()
    play.die(1)
    with pytest.raises(RankDied, match=r"rank 1 \(process 101\) was killed \(SIGKILL\)") as caught:
        job.result(timeout=0)
    assert caught.value.rank == 1
    assert play.launcher.starts == 2
    play.come_up()
    assert play.orders() == {2: [0, 1, 2, 3]}
    assert not next_job.done()


def test_a_death_ends_the_jobs_on_other_ranks_and_tells_them_why(play):
    dead, beside = play.submit(0, 1), play.submit(2, 3)
    play.die(0)
    assert isinstance(dead.exception(), RankDied)
    with pytest.raises(RankDied, match=r"rank 0 .*notebook_launcher.*ranks 2, 3.*submit it again"):
        beside.result(timeout=0)


def test_a_death_between_jobs_is_told_to_the_next(play):
    play.die(2)
    assert play.scheduler.phase is Phase.DOWN
    job = play.submit()
    play.come_up()
    play.returned(1, 0, 1, 2, 3)
    assert any("rank 2 (process 102) was killed" in event.text for event in job.events() if isinstance(event, Log))


def test_what_others_raise_because_a_rank_vanished_is_not_blamed(play):
    job = play.submit()
    play.scheduler.vanished(3)
    play.raised(1, 0, 1, 2, in_collective=True)
    play.wait(limits.BLAME_S)
    assert not job.done()
    play.scheduler.died(Death(3, None, "ended with exit code 3"))
    with pytest.raises(RankDied, match="rank 3"):
        job.result(timeout=0)


def test_a_rank_that_answers_and_vanishes_with_all_others_answered_is_waited_for(play):
    job = play.submit(0, 1)
    play.begun(1, 0, 1)
    play.returned(1, 0)
    play.scheduler.vanished(0)
    play.returned(1, 1)
    assert not job.done()
    play.scheduler.died(Death(0, None, "ended with exit code 0"))
    assert isinstance(job.exception(), RankDied)


def test_a_job_that_ends_while_another_rank_vanishes_has_its_result(play):
    job = play.submit(2, 3)
    play.begun(1, 2, 3)
    play.scheduler.vanished(0)
    play.returned(1, 2, 3)
    assert job.result() == ["value of 2", "value of 3"]
    play.submit(2, 3)
    assert 2 not in play.orders(), "nothing is begun on ranks that are about to be ended"


def test_a_cancelled_job_whose_rank_dies_is_cancelled(play):
    job = play.submit()
    job.cancel()
    play.die(0)
    assert job.cancelled()


def test_a_death_while_ranks_meet_is_a_death(play):
    job = play.submit(0, 1)
    play.scheduler.vanished(1)
    play.raised(1, 0, in_collective=True)
    play.scheduler.died(Death(1, None, "was killed (SIGKILL)"))
    assert isinstance(job.exception(), RankDied)


def test_the_hosts_death_is_no_ranks(play):
    job = play.submit()
    play.scheduler.died(Death(None, 77, "was killed (SIGKILL)"))
    with pytest.raises(WorkersError, match=r"the host of the workers \(process 77\) was killed") as caught:
        job.result(timeout=0)
    assert not isinstance(caught.value, RankDied)


def test_a_rank_that_takes_no_messages_dies_by_name(play):
    job = play.submit()
    play.scheduler.died(Death(1, None, "took no messages for 30 s"))
    with pytest.raises(RankDied, match=r"rank 1 \(process 101\) took no messages for 30 s"):
        job.result(timeout=0)
    assert play.launcher.kills == 1


def test_a_job_submitted_while_a_rank_vanishes_waits_for_the_new_ranks(play):
    play.scheduler.vanished(1)
    job = play.submit()
    assert play.orders() == {}
    play.scheduler.died(Death(1, None, "ended"))
    play.come_up()
    assert play.orders() == {1: [0, 1, 2, 3]}
    assert not job.done()


# Starts.


def test_a_failed_start_fails_all_that_wait_and_the_next_job_tries_again():
    play = Play()
    job = play.submit()
    play.scheduler.failed_to_start("there is no torch", "a log")
    with pytest.raises(WorkersError, match=r"(?s)could not start: there is no torch.*a log"):
        job.result(timeout=0)
    assert play.scheduler.start_error is not None
    play.submit()
    assert play.launcher.starts == 2
    assert play.scheduler.start_error is None


def test_a_refusal_is_told_without_a_log():
    play = Play()
    job = play.submit()
    play.scheduler.failed_to_start("1000 workers do not make sense", "")
    with pytest.raises(WorkersError, match=r"do not make sense$"):
        job.result(timeout=0)


def test_a_start_that_takes_too_long_fails_with_the_log():
    play = Play()
    job = play.submit()
    play.scheduler.planned(wire.Plan(4, "cpu", 0, None))
    play.scheduler.received(0, wire.Ready(play.info(0)))
    play.wait(limits.START_TIMEOUT_S)
    with pytest.raises(WorkersError, match=r"(?s)took too long to start.*its last words"):
        job.result(timeout=0)
    assert play.launcher.kills == 1


def test_a_rank_that_dies_while_they_start_fails_the_start():
    play = Play()
    job = play.submit()
    play.scheduler.planned(wire.Plan(4, "cpu", 0, None))
    play.die(2)
    with pytest.raises(WorkersError, match="rank 2"):
        job.result(timeout=0)
    assert play.launcher.starts == 1, "it is not tried for ever"


def test_closing_cancels_all_and_refuses_what_comes_later(play):
    running, queued = play.submit(0), play.submit(0)
    play.scheduler.close()
    assert running.cancelled()
    assert queued.cancelled()
    with pytest.raises(WorkersError, match="closed"):
        play.submit().result(timeout=0)
    assert play.scheduler.phase is Phase.CLOSED


def test_closing_for_a_mistake_of_the_kits_own_leaves_nobody_waiting(play):
    running = play.submit()
    play.scheduler.close(WorkersError("a mistake"))
    with pytest.raises(WorkersError, match="a mistake"):
        running.result(timeout=0)
