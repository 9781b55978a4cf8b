"""The scheduler: which job gets which ranks, in which group, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduler_play import Play

from nbkit.errors import InputError, JobCancelled
from nbkit.runtime.assignment import Stage
from nbkit.runtime.job import Started


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
