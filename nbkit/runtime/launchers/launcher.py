"""Launcher: how ranks come to be, and where; the scheduler knows no more of it than this.

All of it happens on the scheduler's thread, and no call waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from nbkit.runtime import wire


@dataclass(frozen=True, slots=True)
class Death:
    """One process has ended, and all ranks end with it: a rank's, or (None) the one that started them.

    ``how`` goes on after its name, as in "was killed (SIGKILL)"; ``log`` is the end of what it
    wrote past the job's streams.
    """

    rank: int | None
    pid: int | None
    how: str
    log: str = ""


class LauncherEvents(Protocol):
    """Who is told what becomes of the ranks."""

    def planned(self, plan: wire.Plan) -> None:
        """So many ranks will start."""

    def failed_to_start(self, why: str, log: str) -> None:
        """They will not; ``log`` is the end of what they wrote, empty where ``why`` says all."""

    def received(self, rank: int, message: Any) -> None:
        """A rank has sent a message; its first one is that it is ready."""

    def vanished(self, rank: int) -> None:
        """A rank has gone; how it died will be told in a moment."""

    def died(self, death: Death) -> None:
        """It is known how; all ranks end with it."""


class Launcher(Protocol):
    """Starts ranks, carries messages to them, and ends them. It may be started anew after ``kill``."""

    def start(self, events: LauncherEvents) -> None:
        """Begin to start the ranks; what becomes of them is told to ``events``."""

    def send(self, message: object, ranks: Iterable[int]) -> None:
        """Have a message taken to each of these ranks."""

    def kill(self) -> None:
        """End all ranks at once, whatever they do; nothing is told of it. Safe to call again."""

    def log_tail(self) -> str:
        """The end of what host and ranks wrote past the jobs' streams."""
