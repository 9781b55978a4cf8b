"""Context: what a function that runs on a rank can learn and tell of its job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from nbkit.errors import WorkersError
from nbkit.runtime import wire
from nbkit.runtime.outbox import Outbox
from nbkit.runtime.pickling import dump
from nbkit.runtime.work_counter import WorkCounter


class JobContext:
    """The job that this process is at, as ``nbkit.current_job()`` gives it.

    Attributes
    ----------
    info : RankInfo
        Who this rank is: its number among the workers, its process, node and device.
    ranks : tuple of int
        The numbers of the ranks that the job runs on. accelerate counts these from 0:
        ``ranks[Accelerator().process_index]`` is this rank's number.
    kept : dict
        What stays on this rank from job to job, by name: a loaded model, for one.
    """

    def __init__(
        self,
        job: wire.RunJob,
        info: wire.RankInfo,
        kept: dict[str, Any],
        work: WorkCounter,
        outbox: Outbox,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self.info = info
        self.ranks = job.group.ranks
        self.kept = kept
        self._job = job
        self._work = work
        self._outbox = outbox
        self._is_cancelled = is_cancelled
        self._pid = os.getpid()
        self._has_looked = False

    @property
    def rank(self) -> int:
        """This rank's number among the workers, the one its printed lines carry."""
        return self.info.rank

    @property
    def world_size(self) -> int:
        """How many ranks the job runs on."""
        return len(self.ranks)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the job was submitted, on the clock all ranks of this machine share."""
        return time.monotonic() - self._job.submitted

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop.

        Who looks is not taken out of the function, but given 15 s to return after a cancel;
        what it returns is then in the ``partial`` of the ``JobCancelled``.
        """
        if not self._has_looked:
            self._has_looked = True
            self._check_is_rank()
            self._outbox.put(wire.HeedsCancel(self._job.job))
        return self._is_cancelled()

    def emit(self, value: object, *, passing: bool = False) -> None:
        """Send a value to the job's events in the notebook: ``Emitted(rank, value)``.

        It waits while the notebook takes less than comes.

        Parameters
        ----------
        passing : bool
            The value says how things are, and a later one takes its place: of a rank's passing
            values the job keeps the latest (``nbkit.runtime.job.MOST_PASSING``), of others all.

        Raises
        ------
        WorkersError
            This is a process that the rank has forked, and has no way to the notebook.
        """
        self._check_is_rank()
        self._outbox.put_value(wire.RankEvent(self._job.job, dump(value), passing))

    def work_counter(self) -> Iterator[int]:
        """Numbers from 0 on, each to one rank of this job only: how ranks take work as they get free."""
        while (number := self._work.take()) is not None:
            yield number

    def _check_is_rank(self) -> None:
        if os.getpid() != self._pid:
            raise WorkersError(
                "a process that a rank has forked cannot send to the notebook; return values to the rank."
            )


_current: JobContext | None = None


def current_job() -> JobContext:
    """The job that this rank runs: for functions given to ``Workers.run`` and ``Workers.submit``.

    Raises
    ------
    WorkersError
        This process is no rank, or runs no job.
    """
    if _current is None:
        raise WorkersError(
            "there is no job here: nbkit.current_job() is for functions that run on workers, "
            "with workers.run(fn) or workers.submit(fn)."
        )
    return _current


def set_current_job(context: JobContext | None) -> None:
    """Called by the rank, before and after a job."""
    global _current
    _current = context
