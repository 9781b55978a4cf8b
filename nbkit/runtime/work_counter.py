"""Work counter: numbers from 0 on, each given to one process only, in a file that does not grow."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_STATE = struct.Struct("=QQ")
"""The job's number, and the next to be given out."""


class WorkCounter:
    """The numbers of one job, shared by all who open the same file.

    A later job takes the file over: processes that are still at an earlier one get no more.
    """

    def __init__(self, file: Path, job: int) -> None:
        self._file = file
        self._job = job

    def take(self) -> int | None:
        """The next number; None where a later job has the file."""
        # Opened each time, so that threads and forked processes exclude each other, too.
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            written = os.pread(descriptor, _STATE.size, 0)
            job, number = map(int, _STATE.unpack(written)) if written else (self._job, 0)
            if job > self._job:
                return None
            if job < self._job:
                number = 0
            os.pwrite(descriptor, _STATE.pack(self._job, number + 1), 0)
            return number
        finally:
            os.close(descriptor)
