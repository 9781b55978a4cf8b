"""Status: how far a bulk is, for whoever asks, in this process or another."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STATUS_BYTES = 512
READ_AGAIN = 5
PACE_OVER_S = 60.0
"""The seconds that the pace is measured over."""


@dataclass(frozen=True, slots=True)
class BulkStatus:
    """How far a bulk is.

    Attributes
    ----------
    finished, failed : int
        Prompts that have their output, and prompts that have an error in its place.
    total : int or None
        Prompts of the source; None as long as it is not read to its end.
    expected : int or None
        The same as far as one can tell: by the share of the file that is read.
    tokens_per_second : float
        New tokens over the last minute; 0 where none runs.
    seconds_left : float or None
        At the pace of the last minute; None where that cannot be told.
    is_running : bool
        Whether a process is at it now.
    is_complete : bool
        Whether all outputs are there in the prompts' order.
    """

    finished: int
    failed: int
    total: int | None = None
    expected: int | None = None
    tokens_per_second: float = 0.0
    seconds_left: float | None = None
    is_running: bool = False
    is_complete: bool = False

    @property
    def done(self) -> int:
        """Prompts for which nothing is left to do."""
        return self.finished + self.failed

    def to_dict(self) -> dict[str, Any]:
        """As ``status.json`` has it."""
        return asdict(self)


class Pace:
    """How fast prompts are done, over the last minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def count(self, done: int, tokens: int, now_s: float | None = None) -> None:
        """So many prompts are done, with so many new tokens, all in all."""
        now_s = time.monotonic() if now_s is None else now_s
        self._samples.append((now_s, done, tokens))
        while len(self._samples) > 2 and now_s - self._samples[0][0] > PACE_OVER_S:
            self._samples.popleft()

    @property
    def tokens_per_second(self) -> float:
        return self._a_second(2)

    def seconds_for(self, prompts: int) -> float | None:
        """How long so many more prompts will take."""
        pace = self._a_second(1)
        return prompts / pace if pace > 0 else None

    def _a_second(self, what: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        seconds = last[0] - first[0]
        return float((last[what] - first[what]) / seconds) if seconds > 0 else 0.0


def write_status(path: Path, status: BulkStatus) -> None:
    """Leave it for others to read; raises OSError."""
    # Of one size and in place: on a disk that is full, too, it can be told how far it got.
    data = json.dumps(status.to_dict()).encode().ljust(STATUS_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)


def read_status(path: Path) -> BulkStatus:
    """What was left there last; nothing done where there is none."""
    for _ in range(READ_AGAIN):
        try:
            return BulkStatus(**json.loads(path.read_text(encoding="utf-8")))
        except ValueError:  # it is being written
            time.sleep(0.01)
        except (OSError, TypeError):
            break
    return BulkStatus(0, 0)
