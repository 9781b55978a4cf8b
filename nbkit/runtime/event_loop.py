"""Event loop: one thread that reads sockets, meets deadlines, and does what other threads ask for."""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from nbkit.runtime.deadlines import Deadlines

CLOSE_TIMEOUT_S = 10.0


class HasFileno(Protocol):
    """A socket, or what stands for one."""

    def fileno(self) -> int: ...


class _Watched:
    """What to do when a file is ready; not any more once it is unwatched."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.is_watched = True


class EventLoop(threading.Thread):
    """Runs callbacks one after another on its own thread, from ``start`` to ``stop``.

    ``on_failure`` is told what a callback has raised, which ends the loop: a mistake of the
    kit's own must not leave anyone waiting.
    """

    def __init__(self, name: str, on_failure: Callable[[Exception], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.deadlines = Deadlines()
        self._on_failure = on_failure
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._waker, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._is_stopped = False
        self._has_ended = False
        self.watch(self._woken, self._make_calls)

    # From any thread.

    def call(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called by the loop; here and now, if the loop has ended."""
        self._calls.put(callback)
        with contextlib.suppress(OSError):
            self._waker.send(b"!")
        if self._has_ended or not self.is_alive():
            self._make_calls()

    def wait_until_ended(self) -> None:
        """Wait for the thread to end; on the thread itself (a job's callback, the garbage collector) not at all."""
        if threading.current_thread() is not self:
            self.join(timeout=CLOSE_TIMEOUT_S)

    # On the loop's thread.

    def stop(self) -> None:
        """End the loop after this callback."""
        self._is_stopped = True

    def watch(self, file: HasFileno, act: Callable[[], None]) -> None:
        """Have ``act`` called whenever there is something to read."""
        self._selector.register(file, selectors.EVENT_READ, _Watched(act))

    def watch_writing(self, file: HasFileno, is_wanted: bool) -> None:
        """Have a watched file's ``act`` called, or not, also when it takes more."""
        key = self._selector.get_map().get(file)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_wanted else 0)
        if key is not None and key.events != events:
            self._selector.modify(file, events, key.data)

    def unwatch(self, file: HasFileno) -> None:
        """Forget a file; one that is not watched does not matter."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(file).data.is_watched = False

    def run(self) -> None:
        try:
            while not self._is_stopped:
                for key, _ in self._selector.select(self.deadlines.seconds_to_next()):
                    # An earlier callback of this round may have closed the file.
                    if key.data.is_watched:
                        key.data.act()
                self.deadlines.meet()
        except Exception as error:
            self._on_failure(error)
            raise
        finally:
            self._has_ended = True
            self._make_calls()
            self._waker.close()
            self._woken.close()
            self._selector.close()

    def _make_calls(self) -> None:
        with contextlib.suppress(OSError):
            self._woken.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()()
