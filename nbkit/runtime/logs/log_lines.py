"""Log lines: text as it comes, cut into the lines that a terminal would show."""

from __future__ import annotations

from collections.abc import Callable

MOST_CHARACTERS = 1 << 20
"""Of a line, before it is sent in pieces: what never ends a line must not grow without end."""


class LogLines:
    """Hands each finished line to ``send``.

    Of a line rewritten with carriage returns (a progress bar) the last state is sent, and one of more
    than ``MOST_CHARACTERS`` in pieces.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._unfinished = ""

    def add(self, text: str) -> None:
        """Take the next piece of text."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        # Of "50%\r60%" only what a terminal would still show.
        self._unfinished = _last_state(self._unfinished)
        for line in lines:
            self._send_in_pieces(_last_state(line).rstrip("\r"))
        if len(self._unfinished) > MOST_CHARACTERS:
            self.finish()

    def finish(self) -> None:
        """Send what stands without a newline."""
        rest, self._unfinished = self._unfinished.rstrip("\r"), ""
        if rest:
            self._send_in_pieces(rest)

    def _send_in_pieces(self, line: str) -> None:
        for begin in range(0, len(line), MOST_CHARACTERS) if len(line) > MOST_CHARACTERS else (0,):
            self._send(line[begin : begin + MOST_CHARACTERS])


def _last_state(line: str) -> str:
    """What stands after the last carriage return that text follows."""
    if "\r" not in line:
        return line
    text = line.rstrip("\r")
    return text.rpartition("\r")[2] + line[len(text) :]
