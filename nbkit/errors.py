"""The errors nbkit raises, each with a message for the person who reads it."""

from __future__ import annotations

import concurrent.futures
from typing import Any


class NbkitError(Exception):
    """Base of every error nbkit raises on purpose."""


class InputError(NbkitError, ValueError):
    """A value the user gave cannot be used; the message names it and the remedy."""


class ModelError(NbkitError):
    """A model cannot be found, prepared or loaded."""


class WorkersError(NbkitError):
    """The workers as a whole cannot do what was asked (not started, closed, lost)."""


class RankError(NbkitError):
    """A function raised on a rank.

    Attributes
    ----------
    rank : int
        The rank that raised first.
    rank_traceback : str
        The traceback as that rank saw it, with the notebook's own source lines.
    """

    def __init__(self, rank: int, summary: str, rank_traceback: str) -> None:
        super().__init__(f"rank {rank} raised {summary}\n\n{rank_traceback.rstrip()}")
        self.rank = rank
        self.summary = summary
        self.rank_traceback = rank_traceback

    def _render_traceback_(self) -> list[str]:
        # IPython calls this instead of printing the kernel's own frames, which
        # say nothing about what went wrong on the rank.
        return [f"rank {self.rank} raised {self.summary}", "", *self.rank_traceback.rstrip().split("\n")]


class RankDied(WorkersError):
    """A rank's process ended in the middle of a job (killed, out of memory, crashed)."""

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(message)
        self.rank = rank


class MissingExtra(NbkitError, ImportError):
    """What was asked for needs a package of an extra that is not installed."""

    def __init__(self, extra: str, package: str | None) -> None:
        super().__init__(f'{package} is not installed; run: python -m pip install "nbkit[{extra}]"')


class JobCancelled(concurrent.futures.CancelledError):
    """The job was cancelled.

    Attributes
    ----------
    partial : Any
        What was finished before the stop: of a generation a partial ``Run``, of another
        function the values of the ranks that returned; ``None`` if there is nothing.
    """

    def __init__(self, message: str = "the job was cancelled", partial: Any = None) -> None:
        super().__init__(message)
        self.partial = partial


LONGEST_REASON = 300
"""Characters of another library's message that are quoted."""


def first_line(error: Exception) -> str:
    """The first line of another library's message, to be quoted in one of the kit's own; shortened if long."""
    line = (str(error).strip().splitlines() or ["no details"])[0]
    return (line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "...").removesuffix(".")
