"""Log pipe: a descriptor for what writes past Python's streams, and the lines that come out of it.

Programs that a rank starts, children that it forks and faulthandler write to descriptors.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import threading
from collections.abc import Callable

from nbkit.runtime.logs.log_lines import LogLines

MOST_BYTES = 1 << 20
"""Read at once: all that a pipe holds."""


class LogPipe:
    """A pipe whose lines a thread hands to ``send`` as they come, or another at once with ``drain``."""

    def __init__(self, send: Callable[[str], None]) -> None:
        self.is_closed = False
        self._lines = LogLines(send)
        self._lock = threading.RLock()  # a signal handler may print, too
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        threading.Thread(target=self._read, name="nbkit-log-pipe", daemon=True).start()

    def drain(self) -> None:
        """Send the lines that were written until now; a writer that never stops is not waited for."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self.is_closed:
                self._take(os.read(self._read_end, MOST_BYTES))

    def finish_line(self) -> None:
        """Drain, and send what stands without a newline."""
        self.drain()
        with self._lock:
            self._lines.add(self._decoder.decode(b"", final=True))
            self._lines.finish()

    def write(self, text: str) -> None:
        """In a forked child: send text up to the rank; nowhere if the rank is gone."""
        left = text.encode(errors="replace")
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(self.write_end, left) :]

    def keep_write_end_only(self) -> None:
        """In a forked child: else it would wait for ever to write more than a pipe holds to a rank that is gone."""
        os.close(self._read_end)

    def _read(self) -> None:
        readable = select.poll()
        readable.register(self._read_end, select.POLLIN)
        while not self.is_closed:
            readable.poll()
            self.drain()

    def _take(self, chunk: bytes) -> None:
        if chunk:
            self._lines.add(self._decoder.decode(chunk))
        else:  # a job has closed the descriptor it was given
            self.is_closed = True
            os.close(self._read_end)
