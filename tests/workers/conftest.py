"""Workers that a test may kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psutil
import pytest

import nbkit
from nbkit.runtime.pool import Pool


@pytest.fixture
def own_workers() -> Iterator[nbkit.Workers]:
    """Two workers of the test's own."""
    with nbkit.Workers(2) as live:
        live.wait_until_ready()
        yield live


@pytest.fixture
def own_pool() -> Iterator[Pool]:
    """Two bare ranks of the test's own: they start sooner than workers, which have imported what models need."""
    with Pool(2) as live:
        live.wait_until_ready()
        yield live


@pytest.fixture(scope="session")
def gone_within() -> Callable[[list[int], float], bool]:
    """Whether all processes are gone (or zombies) within some seconds."""

    def wait(pids: list[int], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not any(_is_alive(pid) for pid in pids):
                return True
            time.sleep(0.05)
        return False

    return wait


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
