"""Outgoing: messages on their way to the ranks; each rank takes them in its own time, and nobody waits for it."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Callable, Mapping

from nbkit.runtime import wire
from nbkit.runtime.deadlines import Deadlines

SEND_TIMEOUT_S = 30.0


class Outgoing:
    """Sends what a rank takes now, and has the selector say when it takes more.

    A rank that takes nothing for ``SEND_TIMEOUT_S`` is told to ``lose``.
    """

    def __init__(
        self, selector: selectors.BaseSelector, deadlines: Deadlines, lose: Callable[[int, str], None]
    ) -> None:
        self._selector = selector
        self._deadlines = deadlines
        self._lose = lose

    def send(self, message: object, ranks: Mapping[int, wire.Channel]) -> None:
        """Have a message sent to each of the ranks."""
        whole = wire.frame(message)
        for rank, channel in ranks.items():
            channel.put(whole)
            self.go_on(rank, channel)

    def go_on(self, rank: int, channel: wire.Channel) -> None:
        """Send what has not been sent, as far as the rank takes it."""
        before = channel.unsent_bytes
        if not before:
            return
        # A rank that is gone is noticed by its end-of-file.
        with contextlib.suppress(OSError):
            channel.send_now()
        left, name = channel.unsent_bytes, f"unsent to rank {rank}"
        if not left:
            self._deadlines.call_off(name)
        elif left < before or name not in self._deadlines:
            why = f"took no messages for {SEND_TIMEOUT_S:g} s"
            self._deadlines.set(name, SEND_TIMEOUT_S, lambda: self._lose(rank, why))
        self._listen(channel, selectors.EVENT_READ | (selectors.EVENT_WRITE if left else 0))

    def _listen(self, channel: wire.Channel, events: int) -> None:
        key = self._selector.get_map().get(channel)
        if key is not None and key.events != events:
            self._selector.modify(channel, events, key.data)
