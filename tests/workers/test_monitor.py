"""The monitor on real ranks: what it samples, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

import nbkit
from nbkit.runtime.pool import Pool


def spin(seconds):
    """Keep busy; the percent of a processor that the system gave for it."""
    import time

    began_s, cpu_began_s = time.monotonic(), time.process_time()
    while time.monotonic() < began_s + seconds:
        pass
    return 100 * (time.process_time() - cpu_began_s) / (time.monotonic() - began_s)


def wait_for(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def samplers():
    return [p for p in psutil.Process().children() if "nbkit.measure.load.sampler" in " ".join(p.cmdline())]


def test_a_busy_rank_is_seen_to_be_busy(workers):
    with nbkit.Monitor(period_s=0.1) as monitor:
        monitor.watch(workers)
        wait_for(lambda: monitor.samples)
        job = workers.submit(spin, 2)
        given_percent = job.result()
        samples = monitor.during(job)
    assert {sample.of for sample in samples} >= {"rank 0", "rank 1"}
    assert all(sample.at_s >= 0 for sample in samples)
    for rank in (0, 1):
        own = [sample for sample in samples if sample.rank == rank]
        # The others on this machine may have left it little: it is seen to use what it got.
        assert max(sample.busy_percent for sample in own) > 0.8 * given_percent[rank] > 0
        assert min(sample.memory_bytes for sample in own) > 10_000_000


def test_the_samples_are_saved_with_the_run(workers, tmp_path):
    with nbkit.Monitor(period_s=0.05) as monitor:
        monitor.watch(workers)
        wait_for(lambda: monitor.samples)
        job = workers.submit_generate(nbkit.first_lines(20), model="tiny-random", max_new_tokens=100, batch_size=2)
        run = monitor.attach(job.result(), job)
    assert run.load_samples
    assert all(0 <= sample.at_s <= run.end_s for sample in run.load_samples)
    assert nbkit.Run.load(run.save(tmp_path / "run.json")).load_samples == run.load_samples


def test_a_rank_that_ends_is_dropped_and_its_successor_watched():
    with Pool(2) as workers, nbkit.Monitor(period_s=0.05) as monitor:
        monitor.watch(workers)
        wait_for(lambda: len({sample.rank for sample in monitor.samples}) == 2)
        os.kill(workers.wait_until_ready()[1].pid, signal.SIGKILL)
        time.sleep(0.5)
        assert {sample.rank for sample in monitor.since(time.monotonic() - 0.2)} <= {0}
        workers.resize(2)
        monitor.watch(workers)
        wait_for(lambda: {s.rank for s in monitor.since(time.monotonic() - 0.2)} == {0, 1})
        assert monitor.error is None


def test_closing_leaves_no_process_and_no_thread():
    threads = threading.active_count()
    monitor = nbkit.Monitor()
    wait_for(lambda: len(samplers()) == 1)  # its process has another name at first
    monitor.close()
    monitor.close()
    assert samplers() == []
    wait_for(lambda: threading.active_count() == threads)
    assert monitor.error is None


def test_a_forgotten_monitor_ends():
    monitor = nbkit.Monitor()
    wait_for(lambda: len(samplers()) == 1)  # its process has another name at first
    del monitor
    gc.collect()
    wait_for(lambda: samplers() == [])


@pytest.mark.parametrize("fork", ["", "os.fork() or (time.sleep(20), os._exit(0)); "])
def test_the_sampler_does_not_outlive_its_notebook(fork):
    code = f"import nbkit, os, time; m = nbkit.Monitor(); {fork}print(m._process.pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.kill()
    parent.wait()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_sampler_that_was_killed_says_so_and_disturbs_nothing(workers):
    with nbkit.Monitor() as monitor:
        monitor._process.kill()
        monitor._process.wait()
        monitor.watch(workers)
        assert "exit code -9" in monitor.error
        assert workers.run(int) == [0, 0]


def test_a_period_that_is_too_short_is_refused():
    with pytest.raises(nbkit.InputError, match=r"at least 0\.05 seconds, not 0"):
        nbkit.Monitor(period_s=0)
