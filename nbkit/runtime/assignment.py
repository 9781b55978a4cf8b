"""Assignment: a job in the scheduler's hands: what it calls, on which ranks, and what they have answered."""

from __future__ import annotations

import contextlib
import enum
import traceback
from dataclasses import dataclass, field
from typing import Any

from nbkit.errors import InputError, JobCancelled, RankDied, RankError, WorkersError
from nbkit.runtime import wire
from nbkit.runtime.job import Job
from nbkit.runtime.pickling import Unreadable, load_safely


class Stage(enum.Enum):
    """How far an assignment is: downwards only, but for one whose ranks could not meet, which is queued again."""

    QUEUED = "waits for its ranks"
    MEETING = "its ranks form their group"
    RUNNING = "its ranks call the function"
    STOPPING = "it was asked to stop by itself"
    ABORTING = "its ranks are taken out of the function"
    ENDED = "every rank has answered, or is gone"


@dataclass(eq=False)
class Assignment:
    """A job with its call and the answers so far.

    ``asked`` are its ranks, None for all; ``unmet`` those that have not joined its group yet.
    ``heeds_cancel`` tells that the function looks whether it should stop.
    """

    job: Job
    number: int
    payload: bytes
    asked: tuple[int, ...] | None
    heeds_cancel: bool
    surroundings: wire.Surroundings
    modules_known: int
    stage: Stage = Stage.QUEUED
    is_cancelled: bool = False
    failed_meetings: int = 0
    ranks: tuple[int, ...] = ()
    unmet: set[int] = field(default_factory=set)
    waiting_for: set[int] = field(default_factory=set)
    values: dict[int, Any] = field(default_factory=dict)
    failures: list[tuple[int, wire.Raised]] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether ranks have it in their hands."""
        return self.stage not in (Stage.QUEUED, Stage.ENDED)

    @property
    def leaves_group_whole(self) -> bool:
        """Whether its ranks can meet again as they are: none has left a collective."""
        return self.stage is not Stage.ABORTING and not self.failures

    def begin(self, ranks: tuple[int, ...], is_new_group: bool) -> None:
        """Its ranks are given it."""
        self.ranks = ranks
        self.waiting_for = set(ranks)
        self.unmet = set(ranks) if is_new_group else set()
        self.stage = Stage.MEETING if is_new_group else Stage.RUNNING

    def order(self, group: wire.Group, loaded: tuple[wire.ModuleLoaded, ...]) -> wire.RunJob:
        """What to tell a rank; ``loaded`` has the modules that the notebook has loaded since the rank's last job."""
        return wire.RunJob(self.number, self.payload, group, self.job.submitted, self.surroundings, loaded)

    def take_value(self, rank: int, payload: bytes) -> None:
        """Keep what a rank returned.

        Raises
        ------
        Unreadable
            It cannot be made again here.
        """
        self.waiting_for.discard(rank)
        self.values[rank] = load_safely(payload)

    def take_failure(self, rank: int, raised: wire.Raised) -> None:
        """Keep what a rank raised."""
        self.waiting_for.discard(rank)
        self.failures.append((rank, raised))

    def settle(self, error: BaseException | None = None) -> None:
        """Give the job its result or its error, unless it has one already."""
        if self.job.done():
            return
        if self.is_cancelled:
            error = self.cancellation()
        elif error is None and self.failures:
            error = self.error()
        try:
            if error is None:
                self.job.set_result(self.collected(is_partial=False))
        except Exception as unfit:
            error = unfit
        if error is not None and not self.job.done():
            self.job.set_exception(error)

    def collected(self, is_partial: bool) -> Any:
        """The result that the job makes of the values so far."""
        return self.job.collect(self.job, [self.values[rank] for rank in sorted(self.values)], is_partial)

    def cancellation(self, message: str = "the job was cancelled") -> JobCancelled:
        """With what has come so far, which may be too little to make anything of."""
        partial = None
        with contextlib.suppress(Exception):
            partial = self.collected(is_partial=True)
        return JobCancelled(message, partial)

    def error(self) -> Exception:
        """The first rank's error that is not the consequence of another's."""
        genuine = [f for f in self.failures if not f[1].in_collective and not f[1].cancelled]
        rank, raised = (genuine or self.failures)[0]
        own = None
        if raised.payload is not None:
            with contextlib.suppress(Unreadable):
                own = load_safely(raised.payload)
        # The kit's own errors are written for the user and need no traceback.
        if isinstance(own, Exception) and type(own).__module__ == "nbkit.errors":
            return own
        error = RankError(rank, raised.summary, format_traceback(raised))
        error.__cause__ = own
        return error

    def error_of_death(self, rank: int | None, sentence: str, log: str) -> WorkersError:
        """Why the job has no result: a rank, its own or another, or (None) the ranks' host has ended."""
        restart = f"The workers restart with the next job.{log}"
        if rank is None:
            return WorkersError(f"{sentence} {restart}")
        if rank in self.ranks:
            return RankDied(rank, f"{sentence} {restart}")
        return RankDied(
            rank,
            f"{sentence} All ranks of a notebook_launcher end with one, and this job, on {self.ranks_in_words}, "
            f"with them: submit it again. {restart}",
        )

    @property
    def ranks_in_words(self) -> str:
        """``rank 0``, or ``ranks 0, 1``."""
        return f"rank{'s' if len(self.ranks) > 1 else ''} {', '.join(map(str, self.ranks))}"


def chosen_ranks(asked: tuple[int, ...] | None, world_size: int) -> tuple[int, ...]:
    """The ranks that a job is to run on, ascending; all, where none are named.

    Raises
    ------
    InputError
        There are not so many.
    """
    if asked is None:
        return tuple(range(world_size))
    count = asked[-1] + 1
    if count > world_size:
        what = f"{count} ranks are" if len(asked) == count else f"rank {asked[-1]} is"
        raise InputError(f"{what} asked for, but only {world_size} are started; resize({count}) starts {count}.")
    return asked


def format_traceback(raised: wire.Raised) -> str:
    """A rank's traceback as Python prints it, here, where the source lines of the notebook's cells are."""
    if raised.details:
        return raised.details
    frames = [traceback.FrameSummary(f.filename, f.lineno, f.name) for f in raised.frames]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join(lines) + raised.summary
