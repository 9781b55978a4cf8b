"""Finished runs: whoever wants to hear of every Run that this process's generations come to.

Workers know nothing of who listens. Runs that were stopped or have failed are not told, nor the parts of a bulk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from nbkit.records.run import Run
from nbkit.runtime.job import Job

Observer = Callable[[Run], None]

_observers: list[Observer] = []


def observe(observer: Observer) -> None:
    """Tell ``observer`` each finished Run from now on.

    It is called in the thread in which jobs end: it must return at once. What it raises is lost.
    """
    _observers.append(observer)


def forget(observer: Observer) -> None:
    """Tell it no more; nothing happens if it was not told."""
    with contextlib.suppress(ValueError):
        _observers.remove(observer)


def tell_when_done(job: Job) -> None:
    """Tell the observers of the Run that this job comes to."""
    job.add_done_callback(lambda _: _tell(job))


def _tell(job: Job) -> None:
    if not _observers or job.exception() is not None:
        return
    # Not by Job.result, which prints what the ranks have said, in the cell that waits for it.
    run = super(Job, job).result()
    for observer in list(_observers):
        with contextlib.suppress(Exception):
            observer(run)
