"""Background: what a dashboard does while the kernel stays free, one thing at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

CLOSE_TIMEOUT_S = 5.0


class Background:
    """Runs acts one after another in a thread that lives only while there are any.

    Of the acts that wait, only the newest is kept: what was asked before it is outdated.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._changed = threading.Condition()
        self._next: Callable[[], None] | None = None
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @property
    def is_busy(self) -> bool:
        """Whether something runs or waits."""
        return self._thread is not None

    @property
    def is_outdated(self) -> bool:
        """Whether something newer waits for what runs now to end."""
        return self._next is not None

    def request(self, act: Callable[[], None], after_s: float = 0.0) -> None:
        """Run ``act`` in ``after_s`` seconds, when what runs now has ended, unless a newer act comes before."""
        with self._changed:
            if self._is_closed:
                return
            self._next, self._due = act, time.monotonic() + after_s
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nbkit-dashboard", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drop_waiting(self) -> None:
        """Forget what waits; what runs goes on."""
        with self._changed:
            self._next = None
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more acts, and wait for the one that runs; its owner has told it to stop."""
        with self._changed:
            self._is_closed = True
            self._next = None
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while (act := self._take()) is not None:
            try:
                act()
            # Whatever happens belongs on the dashboard: a thread has no cell to show it in.
            except Exception as error:
                self._on_error(error)

    def _take(self) -> Callable[[], None] | None:
        with self._changed:
            while self._next is not None:
                seconds_left = self._due - time.monotonic()
                if seconds_left <= 0:
                    act, self._next = self._next, None
                    return act
                self._changed.wait(seconds_left)
            self._thread = None
            return None
