"""Channel: whole messages between two processes, on a socketpair that they inherit or hand to each other.

Nothing listens, so there is no port and no password, and when one side dies the other
reads end-of-file. (Collectives between the ranks go torch's own ways.)
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import struct
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct("!Q")
_CHUNK = 1 << 20


def frame(message: object) -> bytes:
    """A message as it is on the wire."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


class Channel:
    """Whole pickled messages over a stream socket; ``send`` may be called from any thread.

    Who must not wait puts a message and sends what the other side takes now. A message
    that was sent in part, however that came, goes on where it stopped before the next.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        _CHANNELS.add(self)
        self._sending = threading.Lock()
        self._unsent: deque[memoryview] = deque()
        self._received = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: object) -> None:
        """Send one message.

        Raises
        ------
        OSError
            The other side is gone, or (with a timeout set) does not read.
        """
        whole = frame(message)
        with self._sending:
            self._unsent.append(memoryview(whole))
            while self._unsent:
                self._send_some(0)

    def put(self, whole: bytes) -> None:
        """Have a framed message sent by the next calls of ``send_now``."""
        self._unsent.append(memoryview(whole))

    def send_now(self) -> None:
        """Send what the other side takes without waiting.

        Raises
        ------
        OSError
            The other side is gone.
        """
        with self._sending, contextlib.suppress(BlockingIOError):
            while self._unsent:
                self._send_some(socket.MSG_DONTWAIT)

    @property
    def unsent_bytes(self) -> int:
        """What the other side has yet to take."""
        return sum(map(len, self._unsent))

    def _send_some(self, flags: int) -> None:
        sent = self._socket.send(self._unsent[0], flags)
        if sent < len(self._unsent[0]):
            self._unsent[0] = self._unsent[0][sent:]
        else:
            self._unsent.popleft()

    def receive(self) -> Iterator[Any]:
        """Wait for bytes (not on a socket that does not wait), then yield the messages that are complete.

        Raises
        ------
        EOFError
            The other side is gone.
        """
        try:
            chunk = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise EOFError
        self._received += chunk
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            body = bytes(memoryview(self._received)[_LENGTH.size : end])
            del self._received[:end]
            yield pickle.loads(body)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


_CHANNELS: weakref.WeakSet[Channel] = weakref.WeakSet()


def _close_copies() -> None:
    for channel in list(_CHANNELS):
        channel._socket.close()


# A process forked off (by the launcher, by a user's multiprocessing) would hold the
# sockets open, and the end of its parent would not be seen.
os.register_at_fork(after_in_child=_close_copies)
