"""What all tests share: live workers, and a look at the end for processes left behind."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

import nbkit


@pytest.fixture(scope="session")
def workers() -> Iterator[nbkit.Workers]:
    """Two live workers, shared: a test that ends them makes its own."""
    with nbkit.Workers(2) as live:
        live.wait_until_ready()
        yield live


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After the last test no host or rank started here is alive."""
    yield
    children = psutil.Process().children(recursive=True)
    left = [child for child in children if "nbkit.workers" in " ".join(child.cmdline())]
    assert not left, f"processes left behind: {left}"
