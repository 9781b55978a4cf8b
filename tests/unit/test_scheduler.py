"""The scheduler's states and races, on a launcher that starts nothing and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import InputError, JobCancelled, RankDied, RankError, WorkersError
from nbkit.runtime import scheduler as limits
from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment, Stage
from nbkit.runtime.deadlines import Deadlines
from nbkit.runtime.job import Emitted, Job, Log, Started
from nbkit.runtime.launchers.launcher import Death
from nbkit.runtime.pickling import dump
from nbkit.runtime.scheduler import Phase, Scheduler


class FakeLauncher:
    """Starts nothing; remembers what it was told to do."""

    def __init__(self) -> None:
        self.starts = 0
        self.kills = 0
        self.sent: list[tuple[int, object]] = []

    def start(self, events: object) -> None:
        self.starts += 1
        self.sent.clear()

    def send(self, message: object, ranks: Iterable[int]) -> None:
        self.sent += [(rank, message) for rank in ranks]

    def kill(self) -> None:
        self.kills += 1

    def log_tail(self) -> str:
        return "its last words"


class Play:
    """A scheduler with its fake launcher; the test plays the ranks, the user and the time."""

    def __init__(self, world_size: int = 4) -> None:
        self.now = 0.0
        self.launcher = FakeLauncher()
        self.deadlines = Deadlines(lambda: self.now)
        self.scheduler = Scheduler(self.launcher, self.deadlines)
        self.world_size = world_size
        self.numbers = 0
        self.scheduler.start()

    def come_up(self) -> Play:
        self.scheduler.planned(wire.Plan(self.world_size, "cpu", 0, None))
        for rank in range(self.world_size):
            self.scheduler.received(rank, wire.Ready(self.info(rank)))
        return self

    def info(self, rank: int) -> wire.RankInfo:
        return wire.RankInfo(rank, rank, self.world_size, "node", 100 + rank, "cpu", "a processor", "gloo")

    def submit(self, *ranks: int, heeds_cancel: bool = False) -> Job:
        self.numbers += 1
        job = Job(f"job {self.numbers}", lambda job, values, is_partial: values, self.scheduler.cancel)
        self.scheduler.submit(
            Assignment(
                job, self.numbers, b"", ranks or None, heeds_cancel, wire.Surroundings(None, ()), modules_known=0
            )
        )
        return job

    def orders(self) -> dict[int, list[int]]:
        """The jobs that ranks have been given since the last start: number to ranks."""
        given: dict[int, list[int]] = {}
        for rank, message in self.launcher.sent:
            if isinstance(message, wire.RunJob):
                given.setdefault(message.job, []).append(rank)
        return given

    def groups(self) -> list[wire.Group]:
        return [message.group for _, message in self.launcher.sent if isinstance(message, wire.RunJob)]

    def told(self, kind: type, number: int) -> list[int]:
        return [rank for rank, message in self.launcher.sent if isinstance(message, kind) and message.job == number]

    def begun(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            self.scheduler.received(rank, wire.Begun(number))

    def returned(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            self.scheduler.received(rank, wire.Returned(number, dump(f"value of {rank}")))

    def raised(self, number: int, *ranks: int, in_collective: bool = False, aborted: bool = False) -> None:
        for rank in ranks:
            word = "JobAborted" if aborted else "ValueError: no"
            self.scheduler.received(rank, wire.Raised(number, word, (), "", None, aborted, in_collective))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.deadlines.meet()

    def die(self, rank: int) -> None:
        self.scheduler.vanished(rank)
        self.scheduler.died(Death(rank, None, "was killed (SIGKILL)"))


@pytest.fixture
def play() -> Play:
    return Play().come_up()


def test_a_job_runs_on_all_ranks_and_has_their_values_in_rank_order(play):
    job = play.submit()
    assert play.orders() == {1: [0, 1, 2, 3]}
    play.returned(1, 3, 1, 0, 2)
    assert job.result() == ["value of 0", "value of 1", "value of 2", "value of 3"]
    assert [type(event) for event in job.events()] == [Started]


def test_jobs_submitted_before_the_ranks_are_up_wait_for_them():
    play = Play()
    job = play.submit()
    assert play.orders() == {}
    assert job.status == "queued"
    play.come_up()
    assert play.orders() == {1: [0, 1, 2, 3]}


def test_jobs_on_other_ranks_run_at_the_same_time(play):
    first, second = play.submit(0, 1), play.submit(2, 3)
    assert play.orders() == {1: [0, 1], 2: [2, 3]}
    play.begun(2, 2, 3)
    play.returned(2, 2, 3)
    assert second.done()
    assert not first.done()


def test_where_ranks_overlap_first_come_is_first_served_and_nobody_overtakes(play):
    play.submit(0, 1)
    play.submit(1, 2)  # waits for rank 1
    play.submit(2, 3)  # could run, but would overtake the second on rank 2
    play.submit(3)  # would overtake the third
    assert play.orders() == {1: [0, 1]}
    play.begun(1, 0, 1)
    play.returned(1, 0, 1)
    assert play.orders() == {1: [0, 1], 2: [1, 2]}
    play.begun(2, 1, 2)
    play.returned(2, 1, 2)
    assert play.orders() == {1: [0, 1], 2: [1, 2], 3: [2, 3]}


def test_a_cancelled_job_in_the_queue_lets_those_behind_it_go_on(play):
    play.submit(0)
    second, _ = play.submit(), play.submit(1)
    assert play.orders() == {1: [0]}
    second.cancel()
    assert second.cancelled()
    assert play.orders() == {1: [0], 3: [1]}


def test_the_group_is_kept_while_the_ranks_are_the_same_and_new_for_others(play):
    for number, ranks in enumerate([(), (), (0, 1), (0, 1), (1, 2), (0, 1)], start=1):
        play.submit(*ranks)
        play.begun(number, *(ranks or range(4)))
        play.returned(number, *(ranks or range(4)))
    numbers = [group.number for group in dict.fromkeys(play.groups())]
    assert numbers == [0, 1, 2, 3]
    assert [group.ranks for group in dict.fromkeys(play.groups())] == [(0, 1, 2, 3), (0, 1), (1, 2), (0, 1)]


def test_ranks_that_are_not_there_are_refused_and_hold_up_nobody():
    play = Play(2)
    job, next_job = play.submit(2, 5), play.submit()
    play.come_up()
    with pytest.raises(InputError, match=r"rank 5 is asked for, but only 2 are started; resize\(6\)"):
        job.result()
    assert play.orders() == {2: [0, 1]}
    assert not next_job.done()


# What functions raise.


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
    assert [event.text for event in list(next_job._events) if isinstance(event, Log)] == [
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


# Meetings.


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


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_whatever_ranks_jobs_ask_for_each_runs_once_alone_on_its_ranks_and_in_order(sets, dice):
    play = Play().come_up()
    jobs = [play.submit(*sorted(ranks)) for ranks in sets]
    ended: list[int] = []
    while running := [each for each in play.scheduler._running if each.stage is not Stage.ENDED]:
        taken = [rank for each in running for rank in each.ranks]
        assert len(taken) == len(set(taken))
        chosen = dice.choice(running)
        play.begun(chosen.number, *chosen.ranks)
        play.returned(chosen.number, *chosen.ranks)
        ended.append(chosen.number)
    assert sorted(ended) == list(range(1, len(sets) + 1))
    for later in range(len(sets)):
        for earlier in range(later):
            if sets[earlier] & sets[later]:
                assert ended.index(earlier + 1) < ended.index(later + 1)
    assert all(job.status == "finished" for job in jobs)


def test_a_queued_job_cancelled_before_any_rank_is_up():
    play = Play()
    job = play.submit()
    job.cancel()
    with pytest.raises(JobCancelled):
        job.result(timeout=0)
    play.come_up()
    assert play.orders() == {}
