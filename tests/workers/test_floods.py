"""Ranks that print or emit faster than the notebook takes: they wait, nothing grows, and all else goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

import nbkit
from nbkit.runtime import Log, job_events
from nbkit.runtime.pool import Pool

KERNEL = """
import sys, time
from nbkit.runtime.pool import Pool

def chatter():
    while True:
        print("a line")

if __name__ == "__main__":
    pool = Pool(2)
    pids = [info.pid for info in pool.wait_until_ready()]
    job = pool.submit(chatter)
    next(event for event in job.events() if event)
    print(*pids, flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(2) as live:
        live.wait_until_ready()
        yield live


def chatter():
    while True:
        print("a line", end="\n")


def test_of_very_many_lines_the_latest_are_kept_and_the_others_counted(pool):
    count = job_events.MOST_LINES

    def run():
        for number in range(count):
            print(number)

    job = pool.submit(run)
    while not job.done():
        time.sleep(0.05)
    logs = [event for event in job.events() if isinstance(event, Log)]
    said, *kept = logs
    assert said.text == f"{count} lines were left out: more came than are kept."
    assert len(kept) == count
    last = {event.rank: event.text for event in kept}
    assert last == {0: str(count - 1), 1: str(count - 1)}


def test_every_emitted_value_comes_however_fast_and_of_passing_ones_the_last(pool):
    def run():
        job = nbkit.current_job()
        for number in range(20_000):
            job.emit(number)
            job.emit(("passing", number), passing=True)

    job = pool.submit(run)
    job.result(timeout=60)
    for rank in range(2):
        values = [event.value for event in job.emitted() if event.rank == rank]
        assert [value for value in values if isinstance(value, int)] == list(range(20_000))
        passing = [value for value in values if not isinstance(value, int)]
        assert passing[-1] == ("passing", 19_999)
        assert len(passing) == job_events.MOST_PASSING


@pytest.mark.parametrize("cancels_at_s", [0.0, 0.7])
def test_ranks_that_print_without_end_are_taken_out_and_kept(pool, cancels_at_s):
    pids = [info.pid for info in pool.wait_until_ready()]
    for _ in range(3):
        job = pool.submit(chatter)
        time.sleep(cancels_at_s)
        job.cancel()
        with pytest.raises(nbkit.JobCancelled):
            job.result(timeout=20)
    assert pool.run(int) == [0, 0]
    assert [info.pid for info in pool.wait_until_ready()] == pids


def test_an_error_of_one_rank_ends_the_flood_of_the_other(pool):
    def run():
        if nbkit.current_job().rank == 0:
            time.sleep(0.5)
            raise ValueError("enough")
        while True:
            print("a line")

    with pytest.raises(nbkit.RankError, match="enough"):
        pool.submit(run).result(timeout=20)
    assert pool.run(int) == [0, 0]


def test_children_that_write_without_end_wait_too_and_end_when_they_are_told_to(pool):
    def run():
        with subprocess.Popen(["yes", "y" * 200], stdout=sys.stdout) as other:
            if (child := os.fork()) == 0:
                while True:
                    print("of a child")
            for number in range(20):
                print("between", number)
            time.sleep(0.5)
            other.kill()
            time.sleep(0.2)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    job = pool.submit(run)
    job.result(timeout=60)
    assert "of a child" in {event.text for event in job.events() if isinstance(event, Log)}
    assert pool.run(int) == [0, 0]


def test_what_waits_in_a_rank_is_bounded_while_the_notebook_takes_nothing(tmp_path, gone_within):
    kernel, pids = start_kernel(tmp_path)
    try:
        kernel.send_signal(signal.SIGSTOP)
        time.sleep(0.5)  # until its sockets are full
        before = sum(psutil.Process(pid).memory_info().rss for pid in pids)
        time.sleep(2)
        grown = sum(psutil.Process(pid).memory_info().rss for pid in pids) - before
        assert grown < 50e6
        assert all(psutil.Process(pid).is_running() for pid in pids)
    finally:
        kernel.kill()
        kernel.communicate()
    assert gone_within(pids, 5)


def start_kernel(tmp_path) -> tuple[subprocess.Popen[str], list[int]]:
    """A Python process whose ranks print without end, like a notebook's kernel."""
    script = tmp_path / "kernel.py"
    script.write_text(KERNEL)
    kernel = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert kernel.stdout is not None
    return kernel, [int(pid) for pid in kernel.stdout.readline().split()]
