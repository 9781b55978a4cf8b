"""Jobs on some of the ranks: each set of ranks is a group of its own, and the others are free."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import nbkit
from nbkit.runtime import Emitted, Log


@pytest.fixture(scope="module")
def four() -> Iterator[nbkit.Workers]:
    """Four ranks, shared by the tests of this file."""
    with nbkit.Workers(4) as live:
        live.wait_until_ready()
        yield live


def who_is_there():
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    accelerator, job = Accelerator(), nbkit.current_job()
    accelerator.wait_for_everyone()
    gathered = gather_object([job.rank])
    return gathered, accelerator.process_index, accelerator.num_processes, os.environ["RANK"]


def meet_through_files(folder: str, own: str, other: str) -> bool:
    """Come back only once the other job is running, too."""
    Path(folder, own).touch()
    deadline = time.monotonic() + 20
    while not Path(folder, other).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return Path(folder, other).exists()


def fail():
    raise ValueError("no")


def sleep():
    time.sleep(60)


@pytest.mark.parametrize("ranks", [(2, 3), (3,), (3, 0, 1)])
def test_some_ranks_are_a_group_of_their_own(four, ranks):
    ascending = sorted(ranks)
    found = four.on(*ranks).run(who_is_there)
    assert found == [(ascending, place, len(ranks), str(place)) for place in range(len(ranks))]
    assert four.run(who_is_there)[3] == ([0, 1, 2, 3], 3, 4, "3")


def test_jobs_on_other_ranks_run_at_the_same_time(four, tmp_path):
    first = four.on(0, 1).submit(meet_through_files, str(tmp_path), "first", "second")
    second = four.on(2, 3).submit(meet_through_files, str(tmp_path), "second", "first")
    assert first.result(timeout=30) == second.result(timeout=30) == [True, True]


def test_each_survives_the_others_error_and_cancel(four):
    pids = [info.pid for info in four.wait_until_ready()]

    def add_up(seconds):
        from accelerate import Accelerator
        from accelerate.utils import gather_object

        Accelerator()
        end, rounds, goes_on = time.monotonic() + seconds, 0, True
        while goes_on:
            assert gather_object([rounds]) == [rounds] * 2
            rounds += 1
            goes_on = gather_object([time.monotonic() < end])[0]  # the first rank's word: both stop together
        return rounds

    steady = four.on(2, 3).submit(add_up, 1.5)
    with pytest.raises(nbkit.RankError, match="no"):
        four.on(0, 1).run(fail)
    stuck = four.on(0, 1).submit(sleep)
    time.sleep(0.2)
    stuck.cancel()
    with pytest.raises(nbkit.JobCancelled):
        stuck.result(timeout=10)
    assert four.on(0, 1).run(who_is_there)[0][0] == [0, 1]
    assert not steady.done(), "all that happened beside it"
    assert steady.result(timeout=20)[0] > 10
    assert [info.pid for info in four.wait_until_ready()] == pids


def test_jobs_that_run_or_wait_are_known(four):
    jobs = [four.on(0).submit(time.sleep, 0.5), four.on(1).submit(int), four.on(0).submit(int)]
    jobs[1].result(timeout=10)
    assert four.unfinished_jobs == [jobs[0], jobs[2]]
    jobs[2].result(timeout=10)
    assert four.unfinished_jobs == []


def test_where_ranks_overlap_jobs_come_one_after_the_other(four):
    def span():
        begin = time.monotonic()
        time.sleep(0.2)
        return begin, time.monotonic()

    jobs = [four.on(0, 1).submit(span), four.on(1, 2).submit(span), four.submit(span)]
    spans = [job.result(timeout=20) for job in jobs]
    for earlier, later in itertools.pairwise(spans):
        assert max(end for _, end in earlier) <= min(begin for begin, _ in later)


def test_a_generation_on_one_rank_leaves_the_others_idle(four):
    pids = [info.pid for info in four.wait_until_ready()]
    four.run(int)
    job = four.submit_generate(
        nbkit.first_lines(400), model="tiny-random", max_new_tokens=60, batch_size=4, engine="batched", ranks=1
    )
    while not any(isinstance(event, Emitted) for event in job.events(timeout=0.05)):
        assert not job.done()
    before = [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]
    time.sleep(1.0)
    busy = [sum(psutil.Process(pid).cpu_times()[:2]) - start for pid, start in zip(pids, before, strict=True)]
    assert not job.done(), "it worked all the time"
    job.cancel()
    assert busy[0] > 0.2
    # Sums of ticks of 0.01 s, which a float may miss by a hair.
    assert max(round(seconds, 6) for seconds in busy[1:]) <= 0.02, f"seconds of a core in one second: {busy}"


def test_a_run_on_some_ranks_carries_their_numbers(four):
    run = four.on(1, 3).generate(nbkit.first_lines(6), model="tiny-random", max_new_tokens=4)
    assert [record.rank for record in run.ranks] == [1, 3]
    assert {batch.rank for batch in run.batches} <= {1, 3}
    assert (run.world_size, run.idle_ranks) == (2, 2)
    assert run.outputs == four.generate(nbkit.first_lines(6), model="tiny-random", max_new_tokens=4).outputs


def test_runs_of_two_models_side_by_side(four):
    jobs = [
        four.on(0, 1).submit_generate(nbkit.first_lines(8), model="tiny-random", max_new_tokens=8, seed=1),
        four.on(2, 3).submit_generate(nbkit.first_lines(8), model="tiny-random", max_new_tokens=8, engine="simple"),
    ]
    runs = [job.result(timeout=60) for job in jobs]
    assert [run.is_complete for run in runs] == [True, True]
    assert runs[0].outputs == runs[1].outputs


def test_hello_on_some_ranks(four):
    assert [greeting.rank for greeting in four.on(1, 2).hello().greetings] == [1, 2]


@pytest.mark.parametrize("ranks", [(), (-1,), (True,), (0.5,), ("0",)])
def test_numbers_that_are_none_of_a_rank_are_refused(four, ranks):
    with pytest.raises(nbkit.InputError, match=r"whole number of at least 0|at least one rank"):
        four.on(*ranks)


def test_ranks_that_are_not_there_are_refused_by_number(four):
    with pytest.raises(nbkit.InputError, match=r"rank 7 is asked for, but only 4 are started; resize\(8\)"):
        four.on(7, 0).submit(int)
    with pytest.raises(nbkit.InputError, match="ranks=3, but these are 2: 1, 2"):
        four.on(1, 2).submit_generate(["x"], ranks=3)


def test_asking_for_the_number_of_ranks_runs_nothing_and_does_not_wait_for_them():
    with nbkit.Workers(2) as starting:
        assert starting.world_size == 2
        assert not starting.is_ready
        assert starting.last_job is None


# What a function can learn and tell of its job.


def test_a_function_emits_and_sees_a_cancel(four):
    def count():
        job, seen = nbkit.current_job(), 0
        while not job.cancelled:
            job.emit(seen)
            seen += 1
            time.sleep(0.01)
        return seen

    job = four.on(0, 3).submit(count)
    for event in job.events(timeout=0.05):
        if isinstance(event, Emitted) and event.value == 3:
            job.cancel()
    with pytest.raises(nbkit.JobCancelled) as caught:
        job.result(timeout=10)
    assert len(caught.value.partial) == 2
    assert {event.rank for event in job.emitted()} == {0, 3}
    assert [event.value for event in job.emitted() if event.rank == 3][:3] == [0, 1, 2]


def test_a_function_knows_its_rank_its_job_and_what_was_kept(four):
    def facts():
        job = nbkit.current_job()
        job.kept["jobs"] = job.kept.get("jobs", 0) + 1
        return (
            job.rank,
            job.ranks,
            job.world_size,
            job.info.pid == os.getpid(),
            0 < job.elapsed_s < 60,
            job.kept["jobs"],
        )

    assert four.on(1, 2).run(facts) == [(1, (1, 2), 2, True, True, 1), (2, (1, 2), 2, True, True, 1)]
    assert [seen[-1] for seen in four.run(facts)] == [1, 2, 2, 1]


def test_work_is_counted_over_the_ranks_of_one_job(four):
    def take_some():
        taken = []
        for number in nbkit.current_job().work_counter():
            if number >= 20:
                break
            taken.append(number)
            time.sleep(0.001)
        return taken

    for _ in range(2):
        taken = four.on(0, 2, 3).run(take_some)
        assert sorted(number for each in taken for number in each) == list(range(20))


def test_threads_of_a_function_may_emit_and_forked_children_are_refused(four):
    def emit_from_elsewhere():
        import multiprocessing
        import threading

        job = nbkit.current_job()
        thread = threading.Thread(target=job.emit, args=("from a thread",))
        thread.start()
        thread.join()

        def in_child(queue):
            try:
                nbkit.current_job().emit("from a child")
            except nbkit.WorkersError as error:
                queue.put(str(error))

        fork = multiprocessing.get_context("fork")
        queue = fork.SimpleQueue()
        child = fork.Process(target=in_child, args=(queue,))
        child.start()
        child.join(10)
        return queue.get()

    job = four.on(0).submit(emit_from_elsewhere)
    assert "forked cannot send to the notebook" in job.result(timeout=20)[0]
    assert [event.value for event in job.emitted()] == ["from a thread"]


def test_there_is_no_job_in_the_notebook_and_none_between_jobs(four):
    with pytest.raises(nbkit.WorkersError, match="there is no job here"):
        nbkit.current_job()

    def ask_later():
        import threading

        def ask():
            time.sleep(0.3)
            try:
                nbkit.current_job()
            except nbkit.WorkersError:
                late.append("no job")

        late = nbkit.current_job().kept.setdefault("late", [])
        threading.Thread(target=ask).start()

    four.on(0).run(ask_later)
    time.sleep(0.6)
    assert four.on(0).run(lambda: nbkit.current_job().kept["late"]) == [["no job"]]


def test_a_death_ends_the_job_beside_it_and_tells_it_why(four):
    pids = [info.pid for info in four.wait_until_ready()]
    dead, beside = four.on(0, 1).submit(sleep), four.on(2, 3).submit(sleep)
    time.sleep(0.3)
    os.kill(pids[0], signal.SIGKILL)
    with pytest.raises(nbkit.RankDied, match=r"rank 0 .*SIGKILL"):
        dead.result(timeout=5)
    with pytest.raises(nbkit.RankDied, match=r"rank 0 .*SIGKILL.*notebook_launcher.*ranks 2, 3.*submit it again"):
        beside.result(timeout=5)
    after = four.submit(who_is_there)
    assert after.result()[0][0] == [0, 1, 2, 3]
    assert not [event for event in after.events() if isinstance(event, Log) and "ended" in event.text]
