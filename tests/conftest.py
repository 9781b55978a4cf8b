"""What all tests share: their tiers and groups, live workers, and a look at the end for processes left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

import nbkit
from nbkit.models import embedded, loading

SESSION = "NBKIT_TEST_SESSION"
HERE = Path(__file__).parent

TIERS = ("ranks", "model", "browser", "slow")
TIERS_OF = {
    "browser": ("browser",),
    "notebooks": ("ranks", "model"),
    "workers": ("ranks",),
    "unit/test_architectures.py": ("model",),
    "unit/test_cli.py": ("ranks",),
    "unit/test_engines.py": ("model",),
    "unit/test_in_flight.py": ("model",),
    "unit/test_proof.py": ("model",),
}
"""Of whole folders and files; single tests are marked where they stand."""
TIERS_OF_FIXTURES = {"workers": "ranks", "tiny": "model"}

ONE_BROWSER = "one browser"
LONGEST_FIRST = ("browser", "notebooks", "unit/test_architectures.py", "workers")
"""Folders and files to begin with, so that what is left at the end is short."""

# A shell that runs the tests in the background has them ignore SIGINT, and with them
# every process they start and mean to interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A busy machine is no fault of the code under test.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test its tiers and the group with which it shares what is dear to set up."""
    for item in items:
        folder, file = _folder_and_file(item)
        by_fixture = [tier for name, tier in TIERS_OF_FIXTURES.items() if name in getattr(item, "fixturenames", ())]
        for tier in (*TIERS_OF.get(folder, ()), *TIERS_OF.get(file, ()), *by_fixture):
            item.add_marker(tier)
        # Each notebook has a kernel of its own and shares nothing.
        if folder != "notebooks":
            item.add_marker(pytest.mark.xdist_group(ONE_BROWSER if folder == "browser" else file))
    items.sort(key=_turn)


def _folder_and_file(item: pytest.Item) -> tuple[str, str]:
    path = item.path.relative_to(HERE)
    return path.parts[0], path.as_posix()


def _turn(item: pytest.Item) -> int:
    turns = [LONGEST_FIRST.index(name) for name in _folder_and_file(item) if name in LONGEST_FIRST]
    return min(turns, default=len(LONGEST_FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep the first tier fast: a test without a marker can start no process and load no model."""
    with pytest.MonkeyPatch.context() as patch:
        if not any(item.get_closest_marker(tier) for tier in TIERS):
            patch.setattr(subprocess.Popen, "__init__", _refusal("starts a process", "ranks"))
            patch.setattr(os, "fork", _refusal("forks", "ranks"))
            patch.setattr(loading, "_load_weights", _refusal("loads a model", "model"))
            patch.setattr(embedded, "_save_in_each_dtype", _refusal("builds a model", "model"))
        return (yield)


def _refusal(what: str, tier: str) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail(f"this test {what}: mark it with pytest.mark.{tier}")

    return refuse


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
