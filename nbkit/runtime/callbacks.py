"""Orders: what other threads want done on the one thread that listens."""

from __future__ import annotations

import contextlib
import queue
import socket
from collections.abc import Callable


class Orders:
    """Calls that wait to be made, and a file descriptor that is readable when there are some."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._bell, self._ear = socket.socketpair()
        self._ear.setblocking(False)

    def fileno(self) -> int:
        """What a selector listens to."""
        return self._ear.fileno()

    def give(self, order: Callable[[], None]) -> None:
        """From any thread: have ``order`` called by the listener."""
        self._waiting.put(order)
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def follow(self) -> None:
        """Make the calls that wait."""
        with contextlib.suppress(OSError):
            self._ear.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()()

    def close(self) -> None:
        """Close the descriptors; calls given afterwards wait for ``follow``."""
        self._bell.close()
        self._ear.close()
