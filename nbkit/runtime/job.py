"""Job: one piece of work given to the workers: a future with live events."""

from __future__ import annotations

import concurrent.futures
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nbkit.errors import JobCancelled
from nbkit.runtime.job_events import Emitted, Event, JobEvents, Log, Started

__all__ = ["Collect", "Emitted", "Event", "Job", "Log", "Started"]


Collect = Callable[["Job", list[Any], bool], Any]
"""Makes a job's result of the values the ranks returned, in rank order; True: of what a stopped job had."""


class Job(concurrent.futures.Future[Any]):
    """Work in progress on the workers. ``result()`` waits; ``events()`` watches; ``cancel()`` stops.

    Made by ``Workers.submit``. A cancelled job raises ``JobCancelled`` from
    ``result()``, with what was finished in its ``partial``.
    """

    def __init__(self, name: str, collect: Collect, ask_cancel: Callable[[Job], None]) -> None:
        super().__init__()
        self.name = name
        self.collect = collect
        self.submitted = time.monotonic()
        self._ask_cancel = ask_cancel
        self._events = JobEvents()
        self._news = threading.Condition()
        self._printed = self._events.reader()
        self.add_done_callback(lambda _: self._wake())

    def __repr__(self) -> str:
        return f"<Job {self.name}: {self.status}>"

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``finished``, ``cancelled`` or ``failed``."""
        if not self.done():
            return "running" if self.running() else "queued"
        if self.cancelled():
            return "cancelled"
        return "failed" if self.exception() else "finished"

    def cancelled(self) -> bool:
        """Whether the job was cancelled before it finished."""
        return self.done() and isinstance(self.exception(), JobCancelled)

    def cancel(self) -> bool:
        """Stop the job; the workers stay. False if it had already ended."""
        if self.done():
            return False
        self._ask_cancel(self)
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result, printing the ranks' lines as they come.

        An interrupt while waiting cancels the job, keeps the workers, and is raised on.

        Parameters
        ----------
        timeout : float, optional
            The most seconds to wait; the job goes on after a ``TimeoutError``.

        Raises
        ------
        RankError
            The function raised on a rank.
        RankDied, WorkersError
            A rank's process ended, or the workers could not start.
        JobCancelled
            The job was cancelled.
        TimeoutError
            It took longer than ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self.done():
                self._wait_for_news(timeout, deadline)
                self._print_logs()
        except KeyboardInterrupt:
            self.cancel()
            raise
        self._print_logs()
        return super().result()

    def partial(self) -> Any:
        """What there is so far, whether the job runs, was stopped or has failed: of a generation, a partial Run."""
        return self.collect(self, [], True)

    def _wait_for_news(self, timeout: float | None, deadline: float | None) -> None:
        with self._news:
            if self.done() or self._printed.position < self._events.count:
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"job {self.name!r} is still {self.status} after {timeout} s; it goes on.")
            self._news.wait(left)

    def events(self, timeout: float | None = None) -> Iterator[Event | None]:
        """Every event from the first on, as it comes, until the job has ended.

        Of printed lines and of values that were emitted as ``passing`` the latest are kept: who comes late, or
        reads slower than they come, gets a line that says how many are left out.

        With a ``timeout`` in seconds, ``None`` is yielded whenever nothing came for
        so long: a beat to redraw at. Lines seen here are not printed by ``result``.
        """
        reader = self._events.reader()
        while True:
            with self._news:
                if reader.position == self._events.count and not self.done():
                    self._news.wait(timeout)
                new = reader.read()
                ended = self.done()
                self._printed.catch_up_with(reader)
            yield from new
            if ended and not new:
                return
            if not new and timeout is not None:
                yield None

    def emitted(self) -> list[Emitted]:
        """The values emitted so far, in the order they came; of passing ones the latest."""
        with self._news:
            return self._events.emitted()

    def add_event(self, event: Event, is_passing: bool = False) -> None:
        """Called by the scheduler: append an event and wake who waits."""
        with self._news:
            self._events.add(event, is_passing)
            self._news.notify_all()

    def add_lines(self, rank: int, stream: str, lines: list[str]) -> None:
        """Called by the scheduler: append what a rank has printed."""
        with self._news:
            for line in lines:
                self._events.add(Log(rank, stream, line))
            self._news.notify_all()

    def _wake(self) -> None:
        with self._news:
            self._news.notify_all()

    def _print_logs(self) -> None:
        with self._news:
            new = self._printed.read()
        logs = (event for event in new if isinstance(event, Log))
        # Together: a notebook takes a message for each write.
        for stream, lines in itertools.groupby(logs, key=lambda log: log.stream):
            text = "\n".join(line.labelled for line in lines)
            print(text, file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)
