"""Kernel interrupt: it stops what dashboards have started, also while no cell runs, when the kernel ignores it."""

from __future__ import annotations

import asyncio
import signal
from typing import Any, Protocol
from weakref import WeakSet


class Stoppable(Protocol):
    """What can be stopped."""

    def stop(self) -> None: ...


_open: WeakSet[Stoppable] = WeakSet()


def stop_at_interrupt(dashboard: Stoppable) -> None:
    """From now on an interrupt of the kernel between cells stops what this one has started.

    One that comes while a cell runs is the cell's, as ever.
    """
    from IPython import get_ipython

    _open.add(dashboard)
    kernel = getattr(get_ipython(), "kernel", None)
    # A name of ipykernel's own, none of its public ones: what it puts back when a message is dealt with, by itself
    # "ignore". Where there is no such, or somebody else's, nothing is changed.
    if getattr(kernel, "saved_sigint_handler", None) == signal.SIG_IGN:
        kernel.saved_sigint_handler = _on_interrupt  # type: ignore[union-attr]


def forget(dashboard: Any) -> None:
    """A dashboard was closed."""
    _open.discard(dashboard)


def _on_interrupt(*_: Any) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # the kernel is about to end
        return
    # Not here: a handler may come amid anything, a message on its way to the browser as well.
    loop.call_soon_threadsafe(_stop_all)


def _stop_all() -> None:
    for dashboard in list(_open):
        dashboard.stop()
