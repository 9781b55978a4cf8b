from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from nbkit.runtime.event_loop import EventLoop


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def loop(failures) -> Iterator[EventLoop]:
    loop = EventLoop("a loop under test", failures.append)
    loop.start()
    yield loop
    loop.call(loop.stop)
    loop.wait_until_ended()
    assert not loop.is_alive()


def done_on(loop: EventLoop, callback) -> list[object]:
    seen: list[object] = []
    done = threading.Event()

    def call() -> None:
        seen.append(callback())
        done.set()

    loop.call(call)
    assert done.wait(5)
    return seen


def test_calls_are_made_on_its_thread_in_their_order(loop):
    seen: list[object] = []
    for number in range(100):
        loop.call(lambda number=number: seen.append((number, threading.current_thread() is loop)))
    done_on(loop, lambda: None)
    assert seen == [(number, True) for number in range(100)]


def test_what_is_watched_is_read_until_it_is_unwatched(loop):
    here, there = socket.socketpair()
    here.setblocking(False)
    read, came = [], threading.Event()

    def act() -> None:
        read.append(here.recv(10))
        came.set()

    done_on(loop, lambda: loop.watch(here, act))
    there.send(b"one")
    assert came.wait(5)
    done_on(loop, lambda: loop.unwatch(here))
    there.send(b"two")
    done_on(loop, lambda: loop.unwatch(here))
    assert read == [b"one"]
    here.close()
    there.close()


def test_what_one_callback_unwatches_another_of_the_same_round_does_not_see(loop):
    pairs = [socket.socketpair() for _ in range(2)]
    seen: list[int] = []

    def act(number: int) -> None:
        seen.append(number)
        for mine, _ in pairs:
            loop.unwatch(mine)

    def begin() -> None:
        for number, (mine, theirs) in enumerate(pairs):
            theirs.send(b"!")
            loop.watch(mine, lambda number=number: act(number))

    done_on(loop, begin)
    done_on(loop, lambda: None)
    assert len(seen) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_deadlines_fall_due(loop):
    due = threading.Event()
    done_on(loop, lambda: loop.deadlines.set("soon", 0.01, due.set))
    assert due.wait(5)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_fails_ends_the_loop_and_is_told(failures):
    loop = EventLoop("a failing loop", failures.append)
    loop.start()
    loop.call(lambda: 1 / 0)
    loop.wait_until_ended()
    assert [type(error) for error in failures] == [ZeroDivisionError]
    seen: list[int] = []
    loop.call(lambda: seen.append(1))
    assert seen == [1], "who comes later is not left waiting"


def test_a_loop_that_ended_makes_calls_at_once(loop):
    loop.call(loop.stop)
    loop.wait_until_ended()
    seen: list[threading.Thread] = []
    loop.call(lambda: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]
