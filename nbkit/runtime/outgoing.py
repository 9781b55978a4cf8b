"""Outgoing: messages on their way to the ranks; each rank takes them in its own time, and nobody waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from nbkit.runtime.channel import Channel, frame
from nbkit.runtime.event_loop import EventLoop

SEND_TIMEOUT_S = 30.0


class Outgoing:
    """Sends what a rank takes now, and has the loop say when it takes more.

    ``took_nothing`` is told of a rank that takes nothing for ``SEND_TIMEOUT_S``, and how.
    """

    def __init__(self, loop: EventLoop, took_nothing: Callable[[int, str], None]) -> None:
        self._loop = loop
        self._took_nothing = took_nothing
        self._waiting: set[int] = set()

    def send(self, message: object, ranks: Mapping[int, Channel]) -> None:
        """Have a message sent to each of the ranks."""
        whole = frame(message)
        for rank, channel in ranks.items():
            channel.put(whole)
            self.go_on(rank, channel)

    def go_on(self, rank: int, channel: Channel) -> None:
        """Send what has not been sent, as far as the rank takes it."""
        before = channel.unsent_bytes
        if not before:
            return
        # A rank that is gone is noticed by its end-of-file.
        with contextlib.suppress(OSError):
            channel.send_now()
        left = channel.unsent_bytes
        if not left:
            self.forget(rank)
        elif left < before or rank not in self._waiting:
            why = f"took no messages for {SEND_TIMEOUT_S:g} s"
            self._waiting.add(rank)
            self._loop.deadlines.set(_name(rank), SEND_TIMEOUT_S, lambda: self._took_nothing(rank, why))
        self._loop.watch_writing(channel, left > 0)

    def forget(self, rank: int) -> None:
        """Wait for a rank no more."""
        self._waiting.discard(rank)
        self._loop.deadlines.call_off(_name(rank))


def _name(rank: int) -> str:
    return f"unsent to rank {rank}"
