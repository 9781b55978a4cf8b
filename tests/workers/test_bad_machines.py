"""Machines on which workers cannot start: what is missing is said at once, and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

import nbkit
from nbkit.runtime.pool import Pool

START = """
import sys
from nbkit.runtime.pool import Pool
with Pool(int(sys.argv[1])) as pool:
    try:
        print(pool.submit(int).result(timeout=20))
    except Exception as error:
        print(type(error).__name__, error)
"""


def can_unshare(*what: str) -> bool:
    """Whether this user may have namespaces of its own."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", *what, "true"], capture_output=True, timeout=20).returncode == 0


def start(count: int, *inside: str) -> str:
    """What comes of starting workers in namespaces of their own."""
    command = [*inside, sys.executable, "-c", START, str(count)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def test_without_a_loopback_interface_it_is_named_at_once_and_one_worker_works():
    if not can_unshare("--net"):
        pytest.skip("a network of its own takes root")
    said = start(2, "unshare", "--net")
    assert said.startswith("WorkersError the workers could not start: the ranks cannot reach each other"), said
    assert "loopback" in said
    assert "ip link set lo up" in said
    assert start(1, "unshare", "--net") == "[0]"


def test_a_read_only_shared_memory_is_named():
    if not can_unshare("--mount"):
        pytest.skip("mounts of its own take root")
    read_only = 'mount -t tmpfs -o ro none /dev/shm && exec "$@"'
    said = start(2, "unshare", "--mount", "sh", "-c", read_only, "sh")
    assert said.startswith("WorkersError the workers could not start: no semaphore can be made in /dev/shm"), said
    assert "Read-only file system" in said


def test_where_no_temporary_folder_can_be_made_it_is_named_and_later_workers_start(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with Pool(2) as pool:
        for _ in range(2):
            with pytest.raises(nbkit.WorkersError, match=r"cannot be started: No such file or directory \(.*missing"):
                pool.submit(int).result(timeout=20)
        monkeypatch.undo()
        assert pool.submit(int).result(timeout=60) == [0, 0]
