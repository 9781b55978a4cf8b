"""Pool: ranks that start once and run functions, on all of them or on some."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any, Self

from nbkit.errors import InputError, WorkersError, shorten
from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment, chosen_ranks
from nbkit.runtime.event_loop import EventLoop
from nbkit.runtime.job import Collect, Job
from nbkit.runtime.launchers.notebook import NotebookLauncher
from nbkit.runtime.pickling import dump
from nbkit.runtime.scheduler import CLOSED, Scheduler
from nbkit.runtime.surroundings.module_journal import module_journal
from nbkit.runtime.surroundings.surroundings import surroundings_here

MOST_RANKS = 100_000
"""Beyond all that make sense, and few enough to count."""


class Ranks:
    """Some or all ranks of a pool, to run functions on."""

    pool: Pool
    numbers: tuple[int, ...] | None
    """The ranks' numbers, ascending; None for all."""

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Call ``fn(*args, **kwargs)`` on every rank and return every rank's value, in rank order.

        Inside ``fn`` use accelerate as anywhere: ``Accelerator()``,
        ``split_between_processes``, ``gather_object``; ``nbkit.current_job()`` tells which
        rank this is, sends values to the notebook and says when to stop. What ranks print
        appears here with their number. An interrupt cancels the job and keeps the workers.

        Raises
        ------
        RankError
            ``fn`` raised on a rank.
        RankDied
            A rank's process ended, and all ranks with it.
        InputError
            A rank that was asked for is not there.
        WorkersError
            The workers cannot start or are closed, or ``fn`` cannot be sent to them.
        """
        return self.submit(fn, *args, **kwargs).result()  # type: ignore[no-any-return]

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
        """Like ``run``, but return a ``Job`` at once.

        It waits for its ranks to be free; jobs on other ranks run at the same time.

        Raises
        ------
        WorkersError
            The workers are closed, or ``fn`` cannot be sent to them.
        """
        return self.pool.give(fn, args, kwargs, self.numbers)


class Pool(Ranks):
    """Ranks that start once, run many jobs, and end with the notebook.

    Parameters
    ----------
    n : int, optional
        How many ranks. Left out: one for each GPU, or 2 CPU workers where there is no GPU.

    Attributes
    ----------
    last_job : Job or None
        The job submitted last.

    Raises
    ------
    InputError
        ``n`` is not a whole number of at least 1.
    """

    numbers = None
    preload: tuple[str, ...] = ()
    """Functions, as ``module:name``, with which the ranks' host imports what they need, before it forks them."""

    def __init__(self, n: int | None = None) -> None:
        self.pool = weakref.proxy(self)
        self.last_job: Job | None = None
        self._unfinished: dict[Job, None] = {}
        self._start(_check_count(n))

    def _start(self, asked: int) -> None:
        module_journal()  # begun now: what is reloaded before any rank has it does not matter
        self._numbers = itertools.count(1)
        self._loop = loop = EventLoop("nbkit-scheduler", lambda error: scheduler.close(_own_mistake(error)))
        self._scheduler = scheduler = Scheduler(NotebookLauncher(asked, loop, self.preload), loop.deadlines)
        self._finalizer = weakref.finalize(self, _close, loop, scheduler)
        loop.start()
        loop.call(scheduler.start)

    def __repr__(self) -> str:
        kind, scheduler = type(self).__name__, self._scheduler
        if self.is_closed:
            return f"<{kind}: closed>"
        if not scheduler.infos:
            return f"<{kind}: {'not started' if scheduler.settled.is_set() else 'starting'}>"
        devices = ", ".join(f"rank {info.rank} on {info.device}" for info in scheduler.infos)
        return f"<{kind}: {devices}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return not self._loop.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether the ranks are up."""
        return bool(self._scheduler.infos)

    @property
    def world_size(self) -> int:
        """The number of ranks; waits until their first start has told it, a moment, and starts nothing.

        Raises
        ------
        WorkersError
            They could not start, or are closed.
        """
        self._wait_for(self._scheduler.has_plan, None)
        assert self._scheduler.plan is not None
        return self._scheduler.plan.world_size

    @property
    def unfinished_jobs(self) -> list[Job]:
        """The jobs that run or wait, the oldest first."""
        return [job for job in list(self._unfinished) if not job.done()]

    def wait_until_ready(self, timeout: float | None = None) -> list[wire.RankInfo]:
        """Wait until the ranks are up, started anew if they were lost, and say who they are, in rank order.

        Raises
        ------
        WorkersError
            They could not start, or did not within ``timeout`` seconds.
        """
        self._wait_for(self._scheduler.settled, timeout)
        while not (infos := list(self._scheduler.infos)):
            # They were lost in an earlier job.
            self._call_and_wait(self._scheduler.start)
            self._wait_for(self._scheduler.settled, timeout)
        return infos

    def _call_and_wait(self, callback: Callable[[], None]) -> None:
        done = threading.Event()
        self._loop.call(callback)
        self._loop.call(done.set)
        done.wait()

    def _wait_for(self, event: threading.Event, timeout: float | None) -> None:
        if not event.wait(timeout):
            raise WorkersError(f"the workers are not ready after {timeout} s.")
        if self._scheduler.start_error is not None:
            raise self._scheduler.start_error
        if self.is_closed:
            raise WorkersError(CLOSED)

    def resize(self, n: int | None) -> None:
        """Have ``n`` ranks from now on: end these, cancel their jobs, start others.

        Raises
        ------
        InputError
            ``n`` is not a whole number of at least 1.
        """
        asked = _check_count(n)
        self.close()
        self._start(asked)

    def close(self) -> None:
        """End the ranks and free their devices; safe to call again."""
        self._finalizer()

    def give(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        ranks: tuple[int, ...] | None,
        *,
        heeds_cancel: bool = False,
        collect: Collect | None = None,
    ) -> Job:
        """Submit a function for these ranks; what ``Ranks.submit`` and jobs of the kit's own stand on.

        Parameters
        ----------
        ranks : tuple of int or None
            Their numbers, ascending; None for all.
        heeds_cancel : bool
            The function looks at ``current_job().cancelled`` all along; of others that is known once they look.
        collect : callable, optional
            Makes the job's result of the ranks' values; left out: a list of them.

        Raises
        ------
        InputError
            It is known already that there are not such ranks.
        WorkersError
            As for ``submit``.
        """
        if self.is_closed:
            raise WorkersError(CLOSED)
        if self._scheduler.plan is not None:
            chosen_ranks(ranks, self._scheduler.plan.world_size)
        job = Job(_name(fn), collect or _values, self._cancel)
        assignment = Assignment(
            job=job,
            number=next(self._numbers),
            payload=_payload(fn, args, kwargs),
            asked=ranks,
            heeds_cancel=heeds_cancel,
            surroundings=surroundings_here(),
            modules_known=module_journal().look(),
        )
        self.last_job = job
        scheduler, unfinished = self._scheduler, self._unfinished
        unfinished[job] = None
        job.add_done_callback(lambda _: unfinished.pop(job, None))
        self._loop.call(lambda: scheduler.submit(assignment))
        return job

    @property
    def _cancel(self) -> Callable[[Job], None]:
        loop, scheduler = self._loop, self._scheduler
        return lambda job: loop.call(lambda: scheduler.cancel(job))


def check_rank_numbers(ranks: tuple[Any, ...]) -> tuple[int, ...]:
    """Numbers of ranks, each once, ascending.

    Raises
    ------
    InputError
        One is no whole number of at least 0, or there is none.
    """
    for rank in ranks:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
            raise InputError(f"a rank's number is a whole number of at least 0, not {shorten(rank)}.")
        if rank >= MOST_RANKS:
            raise InputError(f"a rank's number is below {MOST_RANKS:,}, not {shorten(rank)}.")
    if not ranks:
        raise InputError("name at least one rank, for example workers.on(0).")
    return tuple(sorted(set(ranks)))


def _close(loop: EventLoop, scheduler: Scheduler) -> None:
    """Cancel what runs, end the processes, end the thread; on the thread itself it is done a moment later."""

    def close() -> None:
        scheduler.close()
        loop.stop()

    if loop.is_alive():
        loop.call(close)
        loop.wait_until_ended()


def _values(job: Job, values: list[Any], is_partial: bool) -> Any:
    return values if values or not is_partial else None


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _payload(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    try:
        return dump((fn, args, kwargs))
    except Exception as error:
        raise WorkersError(
            f"{_name(fn)} or its arguments cannot be sent to the workers: {error}. Make what cannot travel "
            "(open files, locks, widgets) inside the function."
        ) from error


def _own_mistake(error: Exception) -> WorkersError:
    return WorkersError(
        f"the scheduler of the workers failed: {error!r}. This is a mistake in nbkit; please report it."
    )


def _check_count(n: int | None) -> int:
    if n is None:
        return 0
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"the number of workers must be a whole number of at least 1, not {shorten(n)}.")
    if n > MOST_RANKS:
        raise InputError(f"the number of workers must be at most {MOST_RANKS:,}, not {shorten(n)}.")
    return n
