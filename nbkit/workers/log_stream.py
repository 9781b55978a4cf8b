"""What a rank's ``print`` writes to: whole lines, sent to the notebook."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable


class LogStream(io.TextIOBase):
    """A text stream that hands each finished line to ``send(stream, line)``.

    Of a line rewritten with carriage returns (a progress bar) the last state is sent.
    """

    def __init__(self, send: Callable[[str, str], None], name: str) -> None:
        self._send = send
        self._name = name
        self._unfinished = ""
        self._lock = threading.RLock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            # Of "50%\r60%" only what a terminal would still show.
            self._unfinished = _last_state(self._unfinished)
            for line in lines:
                self._send(self._name, _last_state(line).rstrip("\r"))
        return len(text)

    def finish_line(self) -> None:
        """Send what stands without a newline. Not done by ``flush``: progress bars flush at each step."""
        with self._lock:
            rest, self._unfinished = self._unfinished.rstrip("\r"), ""
            if rest:
                self._send(self._name, rest)


def _last_state(line: str) -> str:
    """What stands after the last carriage return that text follows."""
    text = line.rstrip("\r")
    return text.rpartition("\r")[2] + line[len(text) :]
