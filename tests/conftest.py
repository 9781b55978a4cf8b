"""What all tests share: live workers, and a look at the end for processes left behind."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

import nbkit

SESSION = "NBKIT_TEST_SESSION"

# A shell that runs the tests in the background has them ignore SIGINT, and with them
# every process they start and mean to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A busy machine is no fault of the code under test.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def workers() -> Iterator[nbkit.Workers]:
    """Two live workers, shared: a test that ends them makes its own."""
    with nbkit.Workers(2) as live:
        live.wait_until_ready()
        yield live


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After the last test no host or rank that began here is alive."""
    # A mark that is inherited: the hosts of killed kernels are no longer this
    # process's children, and other sessions may run on this machine.
    os.environ[SESSION] = mark = uuid.uuid4().hex
    yield
    deadline = time.monotonic() + 5
    while (left := _hosts_and_ranks(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"processes left behind: {left}"


def _hosts_and_ranks(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if (
                "nbkit.runtime.launchers.host" in " ".join(process.cmdline())
                and process.environ().get(SESSION) == mark
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found
