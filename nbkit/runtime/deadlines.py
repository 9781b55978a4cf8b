"""Deadlines: named things to do when something has not happened in time."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadlines:
    """Acts to be done at a time, each under a name by which it can be called off.

    ``clock`` gives seconds that only ever grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: dict[str, tuple[float, Callable[[], None]]] = {}

    def set(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        """Have ``act`` done in ``seconds``; takes the place of one of the same name."""
        self._pending[name] = (self._clock() + seconds, act)

    def call_off(self, *names: str) -> None:
        """Forget the named ones; those that are not pending do not matter."""
        for name in names:
            self._pending.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._pending.clear()

    def seconds_to_next(self) -> float | None:
        """Seconds until the next is due, at least 0; None when there is none."""
        if not self._pending:
            return None
        return max(0.0, min(when for when, _ in self._pending.values()) - self._clock())

    def meet(self) -> None:
        """Do what is due."""
        now = self._clock()
        for name, (when, act) in list(self._pending.items()):
            # Doing one may have called off another.
            if when <= now and name in self._pending:
                del self._pending[name]
                act()
