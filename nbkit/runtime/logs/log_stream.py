"""What a rank's ``print`` writes to: whole lines, sent to the notebook."""

from __future__ import annotations

import codecs
import io
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from nbkit.runtime.logs.log_lines import LogLines
from nbkit.runtime.logs.log_pipe import LogPipe


class LogStream(io.TextIOBase):
    """A text stream that hands each finished line to ``send(stream, line)``.

    What other programs write to its descriptor, and forked children to their copy of
    it, comes as lines of their own.
    """

    mode = "w"
    line_buffering = True
    write_through = False

    def __init__(self, send: Callable[[str, str], None], name: str) -> None:
        self.name = f"<{name}>"
        self._send_line: Callable[[str], None] = lambda line: send(name, line)
        self._lines = LogLines(self._send_line)
        self._pipe: LogPipe | None = None
        self._is_forked = False
        self._unsent = ""
        self._lock = threading.RLock()
        self._buffer = _Bytes(self)
        _STREAMS.add(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "replace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The same stream for bytes, in UTF-8."""
        return self._buffer

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            if self._is_forked:
                whole, newline, self._unsent = (self._unsent + text).rpartition("\n")
                self._piped().write(whole + newline)
            else:
                if self._pipe is not None:
                    self._pipe.drain()  # what was written before comes before
                self._lines.add(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing, for lines are sent as they end, and progress bars flush at each step.

        A forked child sends what it has, for it may end next.
        """
        if self._is_forked:
            with self._lock:
                rest, self._unsent = self._unsent, ""
                self._piped().write(rest)

    def fileno(self) -> int:
        """A descriptor for other programs to write to."""
        return self._piped().write_end

    def reconfigure(self, **_: Any) -> None:
        """Do nothing: code that sets up streams calls it, and of this one nothing can be set."""

    def close(self) -> None:
        """Do nothing: the next job prints, too."""

    def finish_line(self) -> None:
        """Send all that was written until now, what stands without a newline too."""
        with self._lock:
            if self._pipe is not None:
                self._pipe.finish_line()
            self._lines.finish()

    def _piped(self) -> LogPipe:
        with self._lock:
            if self._pipe is None or self._pipe.is_closed:
                self._pipe = LogPipe(self._send_line)
            return self._pipe

    def _after_fork_in_child(self) -> None:
        # Another thread, which is not here, may have held the old one.
        self._lock = threading.RLock()
        self._unsent = ""
        if not self._is_forked:
            self._is_forked = True
            self._piped().keep_write_end_only()


class _Bytes(io.BufferedIOBase):
    """A LogStream for bytes."""

    mode = "wb"

    def __init__(self, stream: LogStream) -> None:
        self.name = stream.name
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self._stream.write(self._decoder.decode(view.tobytes()))
            return view.nbytes

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        """Do nothing: a wrapper that is dropped would end the rank's stream."""


_STREAMS: weakref.WeakSet[LogStream] = weakref.WeakSet()


def _before_fork() -> None:
    # A child has no thread that sends; its lines come up through the pipe.
    for stream in list(_STREAMS):
        stream._piped()


def _after_fork_in_child() -> None:
    for stream in list(_STREAMS):
        stream._after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
