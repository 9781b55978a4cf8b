"""The outbox of a rank: what waits is bounded, and whoever waits goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from nbkit.runtime import outbox as outboxes
from nbkit.runtime import wire
from nbkit.runtime.outbox import Outbox


class SlowNotebook:
    """Takes a message only when it is let."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.takes = threading.Semaphore(0)
        self.outbox = Outbox(self._send)
        threading.Thread(target=self.outbox.send_all, daemon=True).start()

    def _send(self, message: object) -> None:
        self.takes.acquire()
        self.got.append(message)

    def texts(self) -> list[str]:
        return [
            text for message in self.got if isinstance(message, wire.RankLog) for text in message.text.split("\n")
        ]


@pytest.fixture
def notebook() -> Iterator[SlowNotebook]:
    notebook = SlowNotebook()
    yield notebook
    notebook.takes.release(1_000_000)


def until(is_so) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_who_prints_faster_than_is_taken_waits_and_all_lines_come_in_order(notebook, monkeypatch):
    monkeypatch.setattr(outboxes, "MOST_WAITING_BYTES", 10_000)
    printed: list[int] = []

    def chatter() -> None:
        for number in range(2000):
            notebook.outbox.put_line(1, "stdout", str(number))
            printed.append(number)

    thread = threading.Thread(target=chatter)
    thread.start()
    time.sleep(0.2)
    assert 0 < len(printed) < 200
    notebook.outbox.put(wire.Begun(1))
    notebook.takes.release(1_000_000)
    thread.join(10)
    until(lambda: len(notebook.texts()) == 2000)
    assert notebook.texts() == [str(number) for number in range(2000)]
    assert wire.Begun(1) in notebook.got


def test_lines_that_wait_together_go_together_but_not_past_other_messages(notebook):
    first = wire.RankLog(1, "stdout", "first")
    notebook.outbox.put_line(1, "stdout", "first")
    until(lambda: notebook.outbox._messages.empty())
    for text in ("a", "b"):
        notebook.outbox.put_line(1, "stdout", text)
    notebook.outbox.put_line(1, "stderr", "c")
    notebook.outbox.put_value(wire.RankEvent(1, b"value"))
    notebook.outbox.put_line(1, "stdout", "d")
    notebook.outbox.put(wire.Returned(1, b""))
    notebook.takes.release(100)
    until(lambda: len(notebook.got) == 6)
    assert notebook.got == [
        first,
        wire.RankLog(1, "stdout", "a\nb"),
        wire.RankLog(1, "stderr", "c"),
        wire.RankEvent(1, b"value"),
        wire.RankLog(1, "stdout", "d"),
        wire.Returned(1, b""),
    ]


def test_a_value_larger_than_what_may_wait_goes_alone(notebook, monkeypatch):
    monkeypatch.setattr(outboxes, "MOST_WAITING_BYTES", 10)
    notebook.takes.release(100)
    values = [wire.RankEvent(number, bytes(1000)) for number in range(5)]
    for value in values:
        notebook.outbox.put_value(value)
    until(lambda: len(notebook.got) == 5)
    assert notebook.got == values


def test_what_an_abort_left_uncounted_is_made_good(notebook, monkeypatch):
    monkeypatch.setattr(outboxes, "MOST_WAITING_BYTES", 1000)
    notebook.takes.release(1_000_000)
    notebook.outbox._waiting_bytes += 5000  # counted, and never put
    for number in range(100):
        notebook.outbox.put_line(1, "stdout", str(number))
    until(lambda: len(notebook.texts()) == 100)
    until(lambda: notebook.outbox._waiting_bytes == 0)
    assert notebook.texts() == [str(number) for number in range(100)]
