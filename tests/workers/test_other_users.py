"""Other users of the machine: what they find of workers, and what they cannot do."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest

import nbkit
from nbkit.runtime.pool import Pool

LOOPBACK = ("127.0.0.1", "::1")
NOBODY = 65534
WRITE = (
    'echo x >> "$0/group-0" || echo x >> "$0/work-0" || touch "$0/new" || mv "$0/group-0" "$0/old" || rm "$0/group-0"'
)


def hold() -> tuple[int, str]:
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    gather_object([0])
    job = nbkit.current_job()
    next(job.work_counter())
    job.emit("met")
    while not job.cancelled:
        time.sleep(0.02)
    return len(gather_object([Accelerator().process_index])), os.environ["MASTER_PORT"]


@pytest.fixture
def holding(own_pool):
    """Workers in the middle of a job, which ends when it is cancelled."""
    job = own_pool.submit(hold)
    while len(job.emitted()) < 2:
        time.sleep(0.02)
    yield own_pool
    job.cancel()
    with pytest.raises(nbkit.JobCancelled) as caught:
        job.result(timeout=20)
    assert [met for met, _ in caught.value.partial] == [2, 2]


def processes_of(pool: Pool) -> list[psutil.Process]:
    ranks = [psutil.Process(info.pid) for info in pool.wait_until_ready()]
    return [psutil.Process(ranks[0].ppid()), *ranks]


def folder_of(pool: Pool) -> Path:
    host, *_ = processes_of(pool)
    return Path(next(word for word in host.cmdline() if Path(word).name.startswith("nbkit-")))


def listening(pool: Pool) -> list[tuple[str, int]]:
    connections = [each for process in processes_of(pool) for each in process.net_connections("inet")]
    return [each.laddr for each in connections if each.status == psutil.CONN_LISTEN]


def test_what_listens_during_a_job_does_so_on_loopback_alone(holding):
    addresses = listening(holding)
    assert addresses, "gloo's own"
    assert {address for address, _ in addresses} <= set(LOOPBACK)


def test_the_folder_is_its_users_alone(holding):
    folder = folder_of(holding)
    assert (folder / "group-0").exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becoming another user takes root")
def test_another_user_can_neither_read_nor_write_what_the_ranks_agree_on(holding):
    folder = folder_of(holding)
    as_nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    before = (folder / "group-0").read_bytes()
    assert before
    for command in (["cat", str(folder / "group-0")], ["ls", str(folder)], ["sh", "-c", WRITE, str(folder)]):
        tried = subprocess.run([*as_nobody, *command], capture_output=True, text=True, timeout=20)
        assert tried.returncode != 0
        assert "ermission denied" in tried.stderr
    assert (folder / "group-0").read_bytes() == before


def test_a_stranger_that_connects_to_a_rank_changes_nothing(holding):
    import socket

    pids = [info.pid for info in holding.wait_until_ready()]
    addresses = listening(holding)
    assert addresses, "gloo's own"
    for address in addresses:
        for greeting in (bytes(8), (1).to_bytes(8, "little"), os.urandom(100)):
            with socket.create_connection(address, timeout=5) as stranger:
                stranger.sendall(greeting)
    # The job still gathers from both: the fixture looks at that when it ends.
    assert all(psutil.Process(pid).is_running() for pid in pids)
    assert holding.unfinished_jobs


def test_where_the_ranks_are_said_to_meet_nobody_listens(own_pool):
    import socket

    def address() -> tuple[str, int]:
        return os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])

    for place in set(own_pool.run(address)):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place, timeout=5)
