"""What ends, ends whole: kills, closed notebooks, forgotten workers.

Most of it on a bare pool, which starts sooner than workers that have imported what models need.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

import psutil
import pytest

import nbkit
from nbkit.runtime import Log
from nbkit.runtime.pool import Pool

AHEAD = 1
"""How many pairs of workers start while a test runs; more would slow down what tests time."""
KERNEL = """
import sys, time
import nbkit

def sleep():
    time.sleep(60)

if __name__ == "__main__":
    workers = nbkit.Workers(2)
    print(*[info.pid for info in workers.wait_until_ready()], flush=True)
    try:
        workers.run(sleep)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(workers.run(int), *[info.pid for info in workers.wait_until_ready()], flush=True)
"""


@pytest.fixture(scope="module")
def take_workers(request) -> Iterator[Callable[[], Pool]]:
    """Take two workers that nobody used; the next ones start meanwhile, for a start takes seconds of a core."""
    left = sum("take_workers" in test.fixturenames for test in request.session.items)
    starting: deque[Pool] = deque()

    def take() -> Pool:
        nonlocal left
        while left and len(starting) <= AHEAD:
            starting.append(Pool(2))
            left -= 1
        starting[0].wait_until_ready()
        return starting.popleft()

    yield take
    for workers in starting:
        workers.close()


@pytest.fixture
def own_workers(take_workers) -> Iterator[Pool]:
    """Two workers of the test's own, which were started ahead."""
    with take_workers() as live:
        yield live


def sleep():
    time.sleep(60)


def family(pid: int) -> list[int]:
    """A process's parent (the host) and all of the host's ranks."""
    host = psutil.Process(pid).parent()
    return [host.pid, *(child.pid for child in host.children())]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named_and_the_next_job_works(own_workers, gone_within, rank):
    pids = [info.pid for info in own_workers.wait_until_ready()]
    everyone = family(pids[0])
    job = own_workers.submit(sleep)
    time.sleep(0.3)

    os.kill(pids[rank], signal.SIGKILL)

    with pytest.raises(nbkit.RankDied, match=rf"rank {rank} .*SIGKILL") as caught:
        job.result(timeout=4)
    assert caught.value.rank == rank
    assert gone_within(everyone, 5)
    assert own_workers.run(int) == [0, 0]


def test_a_killed_single_worker_is_named_and_the_next_job_works(gone_within):
    with Pool(1) as workers:
        (info,) = workers.wait_until_ready()
        job = workers.submit(sleep)
        time.sleep(0.3)
        os.kill(info.pid, signal.SIGKILL)
        with pytest.raises(nbkit.RankDied, match=r"rank 0 .*SIGKILL"):
            job.result(timeout=4)
        assert gone_within([info.pid], 5)
        assert workers.run(int) == [0]


def test_a_killed_host_takes_its_ranks_along_and_the_next_job_works(own_workers, gone_within):
    pids = [info.pid for info in own_workers.wait_until_ready()]
    everyone = family(pids[0])
    job = own_workers.submit(sleep)
    time.sleep(0.3)

    os.kill(everyone[0], signal.SIGKILL)

    with pytest.raises(nbkit.WorkersError, match="host"):
        job.result(timeout=4)
    assert gone_within(everyone, 5)
    assert own_workers.run(int) == [0, 0]


def test_a_killed_rank_is_noticed_though_its_child_lives_on(own_workers, gone_within):
    def fork():
        # As a DataLoader's workers do; the child holds the rank's sockets open.
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        time.sleep(30)

    pids = [info.pid for info in own_workers.wait_until_ready()]
    job = own_workers.submit(fork)
    time.sleep(0.5)
    everyone = [process.pid for process in psutil.Process(family(pids[0])[0]).children(recursive=True)]
    assert len(everyone) == 4

    os.kill(pids[1], signal.SIGKILL)

    with pytest.raises(nbkit.RankDied, match="rank 1"):
        job.result(timeout=5)
    assert gone_within(everyone, 5)


@pytest.mark.parametrize("code", [0, 3])
def test_a_rank_that_exits_by_itself_is_named(own_workers, code):
    def leave():
        from accelerate import Accelerator

        accelerator = Accelerator()
        if accelerator.is_last_process:
            os._exit(code)
        accelerator.wait_for_everyone()

    with pytest.raises(nbkit.RankDied, match=r"rank 1 .* ended") as caught:
        own_workers.submit(leave).result(timeout=5)
    assert caught.value.rank == 1
    assert own_workers.run(int) == [0, 0]


def test_ranks_killed_between_jobs_are_replaced(own_workers, gone_within):
    pids = [info.pid for info in own_workers.wait_until_ready()]
    os.kill(pids[1], signal.SIGKILL)
    assert gone_within(pids, 5)
    job = own_workers.submit(int)
    assert job.result() == [0, 0]
    (why,) = (event.text for event in job.events() if isinstance(event, Log) and event.rank is None)
    assert f"rank 1 (process {pids[1]}) was killed (SIGKILL)" in why


def test_workers_that_do_not_stop_are_started_anew_and_the_next_job_says_so(own_workers, gone_within):
    def never_stops():
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)

    pids = [info.pid for info in own_workers.wait_until_ready()]
    job = own_workers.submit(never_stops)
    time.sleep(0.2)
    job.cancel()
    with pytest.raises(nbkit.JobCancelled):
        job.result(timeout=10)
    assert gone_within(pids, 5)
    after = own_workers.submit(int)
    assert after.result() == [0, 0]
    notes = [event.text for event in after.events() if isinstance(event, Log) and event.rank is None]
    assert notes == ["the workers did not stop in time, so they were ended and started anew."]


def test_where_torchao_is_installed_the_host_leaves_models_to_the_ranks():
    """Importing it makes a GPU's driver ready, which a process must not be that forks ranks."""
    look = """if True:
        import sys, importlib.util
        from nbkit.inference.before_fork import import_models
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: object() if name == "torchao" else find(name, *rest)
        import_models(uses_gpus=True)
        print("transformers.modeling_utils" in sys.modules, end=" ")
        importlib.util.find_spec = find
        import_models(uses_gpus=False)
        print("transformers.modeling_utils" in sys.modules)
    """
    seen = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    assert seen.stdout.split() == ["False", "True"], seen.stderr


def test_a_crash_in_native_code_shows_where(own_workers):
    def crash():
        import ctypes

        ctypes.string_at(0)

    with pytest.raises(nbkit.RankDied, match="SIGSEGV"):
        own_workers.run(crash)
    assert own_workers.run(int) == [0, 0]


@pytest.mark.parametrize(
    "end",
    [signal.SIGKILL, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGSEGV))],
)
def test_a_killed_kernel_leaves_nothing_behind(tmp_path, gone_within, end):
    kernel, pids = start_kernel(tmp_path)
    everyone = family(pids[0])
    folder = folder_of(everyone[0])
    assert os.path.isdir(folder)
    time.sleep(0.3)

    kernel.send_signal(end)
    kernel.wait(5)

    assert gone_within(everyone, 5)
    assert not os.path.exists(folder)


def test_a_kernel_killed_while_its_workers_start_leaves_nothing_behind(tmp_path, gone_within):
    script = tmp_path / "kernel.py"
    script.write_text("import nbkit, time\nworkers = nbkit.Workers(2)\nprint(flush=True)\ntime.sleep(60)\n")
    kernel = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE)
    assert kernel.stdout is not None
    kernel.stdout.readline()
    time.sleep(0.3)
    hosts = [child.pid for child in psutil.Process(kernel.pid).children()]
    (folder,) = map(folder_of, hosts)

    kernel.kill()
    kernel.wait(5)

    assert gone_within(hosts, 5)
    assert not os.path.exists(folder)


def test_an_interrupt_cancels_the_job_and_keeps_the_ranks(tmp_path):
    kernel, pids = start_kernel(tmp_path)
    time.sleep(0.5)

    # As Jupyter does: to the kernel's whole process group.
    os.killpg(kernel.pid, signal.SIGINT)

    out, _ = kernel.communicate(timeout=20)
    assert out.split() == ["interrupted", "[0,", "0]", *map(str, pids)]


def test_processes_that_ranks_started_end_with_them(take_workers, gone_within):
    def start():
        return subprocess.Popen(["sleep", "60"]).pid

    with take_workers() as workers:
        started = workers.run(start)
    assert gone_within(started, 5)


def test_workers_closed_while_they_start_leave_nothing_behind(gone_within):
    before = psutil.Process().children()
    workers = Pool(2)
    deadline = time.monotonic() + 5
    while not (hosts := set(psutil.Process().children()) - set(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hosts
    workers.close()
    assert gone_within([host.pid for host in hosts], 5)
    with pytest.raises(nbkit.WorkersError, match="closed"):
        workers.wait_until_ready(timeout=1)


def test_workers_are_closed_from_a_jobs_callback(take_workers, gone_within):
    with take_workers() as workers:
        everyone = [info.pid for info in workers.wait_until_ready()]
        job = workers.submit(time.sleep, 0.1)
        job.add_done_callback(lambda _: workers.close())
        job.result(timeout=5)
        assert gone_within(everyone, 5)


def test_workers_forgotten_in_a_cycle_end_whichever_thread_collects_them(take_workers, gone_within):
    workers = take_workers()
    workers.itself = workers
    everyone = [info.pid for info in workers.wait_until_ready()]
    job = workers.submit(time.sleep, 0.1)
    # Callbacks run on the scheduler's own thread, where garbage is collected too.
    job.add_done_callback(lambda _: gc.collect())
    gc.disable()
    try:
        workers = None
        job.result(timeout=5)
        assert gone_within(everyone, 5)
    finally:
        gc.enable()


def test_forgotten_workers_end(take_workers, gone_within):
    workers = take_workers()
    everyone = family(workers.wait_until_ready()[0].pid)
    del workers
    gc.collect()
    assert gone_within(everyone, 5)


def test_closing_ends_the_processes_and_can_be_repeated(take_workers, gone_within):
    workers = take_workers()
    everyone = family(workers.wait_until_ready()[0].pid)
    running = workers.submit(sleep)
    workers.close()
    workers.close()
    assert gone_within(everyone, 5)
    with pytest.raises(nbkit.JobCancelled):
        running.result(timeout=1)
    with pytest.raises(nbkit.WorkersError, match="closed"):
        workers.run(int)


def test_resize_changes_the_number_of_ranks(own_workers):
    with pytest.raises(nbkit.InputError, match="at least 1"):
        own_workers.resize(0)
    assert own_workers.run(int) == [0, 0]
    own_workers.resize(3)
    assert own_workers.run(int) == [0, 0, 0]
    own_workers.resize(1)
    assert own_workers.world_size == 1


@pytest.mark.parametrize("count", [0, -1, "x", True, 1.5])
def test_a_number_of_workers_that_is_none_is_refused(count):
    with pytest.raises(nbkit.InputError, match="at least 1"):
        Pool(count)


def test_more_workers_than_make_sense_are_refused_with_the_limit():
    with Pool(1000) as workers:
        for _ in range(2):
            with pytest.raises(nbkit.WorkersError, match=r"1000 workers do not make sense .*; ask for at most \d+\."):
                workers.run(int)


def test_temporary_files_of_the_launcher_go_too(own_workers, gone_within):
    def folder():
        import tempfile

        return tempfile.gettempdir(), os.environ["TORCHELASTIC_ERROR_FILE"]

    users, launchers = own_workers.run(folder)[0]
    assert os.path.isdir(users)
    own_workers.close()
    assert not os.path.exists(os.path.dirname(launchers))


def ignore_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    nbkit.current_job().emit("ignores them")
    time.sleep(60)


def start_ignoring(workers: Pool) -> nbkit.Job:
    """A job whose ranks heed no signal but SIGKILL."""
    job = workers.submit(ignore_signals)
    while len(job.emitted()) < len(workers.wait_until_ready()):
        time.sleep(0.02)
    return job


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_while_others_ignore_signals_is_named_with_its_signal(own_workers, gone_within, rank):
    pids = [info.pid for info in own_workers.wait_until_ready()]
    job = start_ignoring(own_workers)
    os.kill(pids[rank], signal.SIGKILL)
    with pytest.raises(nbkit.RankDied, match=rf"rank {rank} \(process {pids[rank]}\) was killed \(SIGKILL\).*memory"):
        job.result(timeout=10)
    assert gone_within(pids, 5)


def test_a_host_that_is_asked_to_end_does_so_at_once_whatever_ranks_ignore(own_workers, gone_within):
    everyone = family(own_workers.wait_until_ready()[0].pid)
    job = start_ignoring(own_workers)
    os.kill(everyone[0], signal.SIGTERM)
    with pytest.raises(
        nbkit.WorkersError, match=rf"host of the workers \(process {everyone[0]}\) was ended by SIGTERM"
    ):
        job.result(timeout=10)
    assert gone_within(everyone, 5)
    assert own_workers.run(int) == [0, 0]


def folder_of(host: int) -> str:
    """The folder that a host was given."""
    return next(word for word in psutil.Process(host).cmdline() if os.path.basename(word).startswith("nbkit-"))


def start_kernel(tmp_path) -> tuple[subprocess.Popen[str], list[int]]:
    """A Python process with two workers in the middle of a job, like a notebook's kernel."""
    script = tmp_path / "kernel.py"
    script.write_text(KERNEL)
    kernel = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert kernel.stdout is not None
    return kernel, [int(pid) for pid in kernel.stdout.readline().split()]
