"""Assignment: a job in the dispatcher's hands, with its call and the ranks' answers so far."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

from nbkit.errors import JobCancelled, RankError
from nbkit.runtime import wire
from nbkit.runtime.job import Job
from nbkit.runtime.rank_traceback import format_traceback


@dataclass
class Assignment:
    """A job with its call and the answers so far."""

    job: Job
    number: int
    payload: bytes
    with_context: bool
    surroundings: wire.Surroundings
    modules_known: int
    waiting_for: set[int] = field(default_factory=set)
    values: dict[int, Any] = field(default_factory=dict)
    failures: list[tuple[int, wire.Raised]] = field(default_factory=list)
    cancel_asked: bool = False
    is_aborted: bool = False

    def order(self, loaded: tuple[wire.ModuleLoaded, ...]) -> wire.RunJob:
        """What to tell the ranks; ``loaded`` has the modules that the notebook has loaded since the last job."""
        return wire.RunJob(
            self.number, self.payload, self.with_context, self.job.submitted, self.surroundings, loaded
        )

    def collected(self, is_partial: bool) -> Any:
        return self.job.collect(self.job, [self.values[rank] for rank in sorted(self.values)], is_partial)

    def cancellation(self, message: str = "the job was cancelled") -> JobCancelled:
        partial = None
        # What has come so far may be too little to make anything of; the job is cancelled all the same.
        with contextlib.suppress(Exception):
            partial = self.collected(is_partial=True)
        return JobCancelled(message, partial)

    def error(self) -> Exception:
        """The first rank's error that is not the consequence of another's."""
        genuine = [f for f in self.failures if not f[1].in_collective and not f[1].cancelled]
        rank, raised = (genuine or self.failures)[0]
        own = None
        if raised.payload is not None:
            with contextlib.suppress(wire.Unreadable):
                own = wire.load_safely(raised.payload)
        # The kit's own errors are written for the user and need no traceback.
        if isinstance(own, Exception) and type(own).__module__ == "nbkit.errors":
            return own
        error = RankError(rank, raised.summary, format_traceback(raised))
        error.__cause__ = own
        return error
