"""Outbox: what a rank has yet to send; who prints or emits faster than the notebook takes waits here."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from nbkit.runtime import wire

MOST_WAITING_BYTES = 1 << 20
"""Of lines and values that wait, before who adds another has to wait; one that is larger goes alone."""
LINE_BYTES = 200
"""What a waiting line takes beside its text."""
MOST_JOINED_LINES = 2000
LOOK_AGAIN_S = 0.001


class Outbox:
    """Messages in the order they came, for one thread to send with ``send``.

    Waiting is looking again every millisecond, with no lock held: an abort ends it, a signal
    handler may print during it, and a forked child finds nothing locked.
    """

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send
        self._messages: queue.SimpleQueue[tuple[object, int]] = queue.SimpleQueue()
        self._counting = threading.RLock()
        self._waiting_bytes = 0

    def put(self, message: object) -> None:
        """Have a message sent, and do not wait: for those of which a job has few."""
        self._messages.put((message, 0))

    def put_line(self, job: int, stream: str, line: str) -> None:
        """Have a line sent, once there is room."""
        self._put_when_room(wire.RankLog(job, stream, line), LINE_BYTES + len(line))

    def put_value(self, event: wire.RankEvent) -> None:
        """Have a value sent, once there is room."""
        self._put_when_room(event, LINE_BYTES + len(event.payload))

    def _put_when_room(self, message: object, size: int) -> None:
        while self._waiting_bytes >= MOST_WAITING_BYTES and not self._messages.empty():
            time.sleep(LOOK_AGAIN_S)
        with self._counting:
            self._waiting_bytes += size
        self._messages.put((message, size))

    def send_all(self) -> None:
        """Send what comes, for ever; lines that wait together go together.

        Raises
        ------
        OSError
            The notebook is gone.
        """
        message, size = self._messages.get()
        while True:
            following: tuple[object, int] | None = None
            if isinstance(message, wire.RankLog):
                message, size, following = self._join(message, size)
            self._send(message)
            with self._counting:
                # An abort may have come between a message and its counting.
                self._waiting_bytes = 0 if self._messages.empty() else self._waiting_bytes - size
            message, size = following or self._messages.get()

    def _join(self, first: wire.RankLog, size: int) -> tuple[wire.RankLog, int, tuple[object, int] | None]:
        """The lines that come right after this one, as one message, its size, and what comes after them."""
        lines, following = [first.text], None
        while len(lines) < MOST_JOINED_LINES and not self._messages.empty():
            message, more = self._messages.get()
            if not (isinstance(message, wire.RankLog) and (message.job, message.stream) == (first.job, first.stream)):
                following = message, more
                break
            lines.append(message.text)
            size += more
        return wire.RankLog(first.job, first.stream, "\n".join(lines)), size, following
