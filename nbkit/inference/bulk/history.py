"""History: how a bulk went, over all processes that were at it, in few samples whatever time it takes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from nbkit.inference.bulk.account import Account

EVERY_S = 1.0
EVERY_SHARE = 0.01
"""Of the time that a process is at it: a night has some 700 samples, a month 1,100."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How far it was at a moment.

    Attributes
    ----------
    at : float
        Seconds since 1970.
    seconds : float
        Since the process began, by a clock that nobody sets.
    done, failed : int
        Prompts for which nothing is left to do, and those of them that have an error.
    new_tokens : int
        Of all outputs until then.
    losses : int
        How often ranks were lost until then, and the bulk went on.
    """

    at: float
    seconds: float
    done: int
    failed: int
    new_tokens: int
    losses: int


@dataclass(slots=True)
class Session:
    """What one process did at a bulk; ``is_ended`` tells that it closed it, and was not killed."""

    pid: int
    node: str
    samples: list[Sample] = field(default_factory=list)
    is_ended: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """All sessions, the oldest first."""

    sessions: list[Session]

    @property
    def seconds(self) -> float:
        """How long processes were at it, the time between them left out."""
        return sum(session.samples[-1].seconds for session in self.sessions if session.samples)

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return next((session.samples[-1] for session in reversed(self.sessions) if session.samples), None)

    def is_exact(self, is_running: bool) -> bool:
        """Whether ``seconds`` is all the time: of a process that was killed, up to 1% or a second is not known."""
        ended = self.sessions[:-1] if is_running else self.sessions
        return all(session.is_ended for session in ended)


class HistoryWriter:
    """The history of this process at a bulk. Where there is no room for it, outputs matter more."""

    def __init__(self, path: Path, account: Account) -> None:
        self._path = path
        self._account = account
        before = read_history(path).latest
        self._losses = before.losses if before else 0
        self._began_s = self._sampled_s = time.monotonic()
        # On a line of its own, whatever a crash has left of the one before.
        self._write("\n" + json.dumps({"pid": os.getpid(), "node": socket.gethostname()}))
        self._sample()

    def look(self) -> None:
        """Take a sample, if it is time to."""
        now_s = time.monotonic()
        if now_s - self._sampled_s >= max(EVERY_S, EVERY_SHARE * (now_s - self._began_s)):
            self._sample()

    def lost(self) -> None:
        """A rank was lost, and the bulk goes on."""
        self._losses += 1
        self._sample()

    def close(self) -> None:
        """Take the last sample of this process."""
        self._sample()
        self._write(json.dumps({"ended": True}))

    def _sample(self) -> None:
        self._sampled_s = time.monotonic()
        account = self._account
        seconds = self._sampled_s - self._began_s
        values = (round(time.time(), 1), round(seconds, 3), account.done, account.failed, account.new_tokens)
        self._write(json.dumps([*values, self._losses]))

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_history(path: Path) -> History:
    """What was written there until now; lines that are not whole are left out."""
    sessions: list[Session] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return History([])
    for line in lines:
        with contextlib.suppress(ValueError, TypeError, KeyError, IndexError):
            value = json.loads(line)
            if isinstance(value, list):
                sessions[-1].samples.append(Sample(*value))
            elif "pid" in value:
                sessions.append(Session(value["pid"], value["node"]))
            else:
                sessions[-1].is_ended = value["ended"]
    return History(sessions)
