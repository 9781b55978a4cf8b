"""The errors nbkit raises, each with a message for the person who reads it."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterable
from typing import Any

LONGEST_REASON = 300
"""Characters of another library's message, or of a file's name, that are quoted."""

LONGEST_VALUE = 60
"""Characters of a value that are quoted."""

MOST_LISTED = 12
"""Values that are quoted of a list."""


class NbkitError(Exception):
    """Base of every error nbkit raises on purpose. Its message can be printed and sent, whatever it quotes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*(printable(arg) if isinstance(arg, str) else arg for arg in args))


class InputError(NbkitError, ValueError):
    """A value the user gave cannot be used; the message names it and the remedy."""


class PromptError(InputError):
    """One prompt cannot be generated for; others can.

    Attributes
    ----------
    index : int
        Its index in the user's list.
    """

    # With a default, so that it can be sent from a rank: an exception is made again of its message alone.
    def __init__(self, message: str, index: int = -1) -> None:
        super().__init__(message)
        self.index = index


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


def first_line(error: Exception) -> str:
    """The first line of another library's message, to be quoted in one of the kit's own; shortened if long."""
    line = (str(error).strip().splitlines() or ["no details"])[0]
    return (line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "...").removesuffix(".")


def shorten(value: object, length: int = LONGEST_VALUE) -> str:
    """A value as a message quotes it, in at most ``length`` characters."""
    if isinstance(value, str | bytes):
        value = value[: length + 1]  # the others need not be escaped to be left out
    try:
        text = repr(value)
    except Exception:  # a whole number of thousands of digits, or what a class of the user's raises
        text = f"<a value of type {type(value).__name__}>"
    return text if len(text) <= length else text[: length - 3] + "..."


def shorten_all(values: Iterable[object]) -> str:
    """Some values, each as ``shorten`` has it, and how many more there are."""
    listed = list(values)
    more = len(listed) - MOST_LISTED
    return ", ".join(map(shorten, listed[:MOST_LISTED])) + (f" and {more:,} more" if more > 0 else "")


def file_name(path: object) -> str:
    """A file's name as a message has it, without quotes; of a long one the middle is left out."""
    text = printable(str(path)).replace("\0", "\\0")
    half = (LONGEST_REASON - 5) // 2
    return text if len(text) <= LONGEST_REASON else f"{text[:half]} ... {text[-half:]}"


def is_text(value: str) -> bool:
    """Whether a string can be written: one with a lone surrogate, half of a character, cannot."""
    return printable(value) == value


def printable(text: str) -> str:
    """A string with lone surrogates written as their numbers."""
    return text.encode("utf-8", "backslashreplace").decode()
