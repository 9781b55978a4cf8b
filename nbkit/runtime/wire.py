"""Wire: the messages between the notebook and the ranks, and the sockets they travel on.

Knows nothing of what a job does. Everything travels on socketpairs that processes
inherit or hand to each other: nothing listens, so there is no port and no password,
and when one side dies the other reads end-of-file. (Collectives between the ranks go
torch's own ways.)
"""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import pickle
import socket
import struct
import sys
import threading
import traceback
import types
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cloudpickle

KNOCK = struct.Struct("!I")
"""What a rank sends with its end of a socketpair: its number."""

_LENGTH = struct.Struct("!Q")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class RankInfo:
    """Who a rank is: its place, its process and its device."""

    rank: int
    local_rank: int
    world_size: int
    node: str
    pid: int
    device: str
    device_name: str
    backend: str | None


# From the host to the notebook.


@dataclass(frozen=True, slots=True)
class Plan:
    """What the host is about to start."""

    world_size: int
    device_type: str
    gpus: int
    note: str | None


@dataclass(frozen=True, slots=True)
class HostFailed:
    """The host could not start the ranks, or lost them."""

    message: str
    exit_codes: dict[int, int]


# From a rank to the notebook.


@dataclass(frozen=True, slots=True)
class Ready:
    """The rank is in its process group and waits for jobs."""

    info: RankInfo
    group: int


@dataclass(frozen=True, slots=True)
class RankLog:
    """A line the rank printed."""

    job: int
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class RankEvent:
    """A value the running function emitted, pickled."""

    job: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Returned:
    """The function's return value, pickled."""

    job: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One traceback entry; the notebook, which has its cells' source, adds the line."""

    filename: str
    lineno: int
    name: str


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised. ``in_collective``: most likely because another rank had left."""

    job: int
    summary: str
    frames: tuple[Frame, ...]
    details: str
    payload: bytes | None
    cancelled: bool
    in_collective: bool


# From the notebook to a rank.


HowLoaded = Literal["imported", "reloaded", "upgraded"]
"""Upgraded: with what others hold of the module, as IPython's autoreload does it."""


@dataclass(frozen=True, slots=True)
class ModuleLoaded:
    """The notebook has loaded a module; ``stamp`` tells of which state of its file, None if that is gone."""

    name: str
    stamp: tuple[int, int] | None
    how: HowLoaded


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The notebook's working directory (None: deleted) and import path when the job was submitted."""

    folder: str | None
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunJob:
    """Call the pickled function. ``submitted`` is the job's zero on the monotonic clock.

    ``loaded`` has the modules that the notebook has loaded since the last job;
    ``surroundings`` are to be taken on, if there are any.
    """

    job: int
    payload: bytes
    with_context: bool
    submitted: float
    surroundings: Surroundings | None = None
    loaded: tuple[ModuleLoaded, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the job to stop by itself at its next check."""

    job: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Raise in the job now, and leave whatever collective it waits in."""

    job: int


@dataclass(frozen=True, slots=True)
class Regroup:
    """Join a new process group: the last one was left in the middle of a job."""

    group: int


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


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions from cells so that a traceback still knows their cell, and tensors without their device."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.CodeType):
            # cloudpickle drops the file name, by which the notebook finds the source.
            return marshal.loads, (marshal.dumps(obj),)
        # The notebook must touch no device: tensors arrive there on the CPU.
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor) and obj.device.type != "cpu":
            return obj.detach().cpu().__reduce_ex__(5)
        return super().reducer_override(obj)


def dump(value: object) -> bytes:
    """Pickle a rank's value, or a call (function, args, kwargs), whose function may come from a cell."""
    buffer = io.BytesIO()
    _ByValue(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def load(payload: bytes) -> Any:
    """What ``dump`` pickled."""
    return pickle.loads(payload)


class Unreadable(Exception):
    """A value came over the wire that cannot be made again here; the message says why."""


def load_safely(payload: bytes) -> Any:
    """What ``dump`` pickled elsewhere.

    Raises
    ------
    Unreadable
        Whatever it was that making it anew raised.
    """
    try:
        return load(payload)
    except BaseException as error:  # a user's class may raise anything, and must not end the thread that reads
        raise Unreadable("".join(traceback.format_exception_only(error)).strip()) from error
