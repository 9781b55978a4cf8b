from __future__ import annotations

import itertools
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.runtime import outgoing, wire
from nbkit.runtime.channel import _LENGTH, Channel
from nbkit.runtime.event_loop import EventLoop
from nbkit.runtime.pickling import Unreadable, dump, load, load_safely


@given(st.lists(st.binary(max_size=5000), max_size=20), st.integers(1, 700))
def test_messages_come_whole_and_in_order_however_they_are_cut(messages, chunk):
    left, right = socket.socketpair()
    sender, through = Channel(left), bytearray()
    for message in messages:
        sender.send(message)
    sender.close()
    while piece := right.recv(65536):
        through += piece

    left, right = socket.socketpair()
    receiver, got = Channel(right), []
    for start in range(0, len(through), chunk):
        left.sendall(through[start : start + chunk])
        got += list(receiver.receive())
    assert got == messages
    left.close()
    receiver.close()


def test_a_large_message_from_a_thread_arrives_whole():
    left, right = socket.socketpair()
    sender, receiver = Channel(left), Channel(right)
    body = bytes(range(256)) * 100_000
    thread = threading.Thread(target=sender.send, args=(body,))
    thread.start()
    got: list[bytes] = []
    while not got:
        got += receiver.receive()
    thread.join()
    assert got == [body]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(max_size=100),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=10,
)


@given(st.lists(plain, max_size=10))
def test_any_plain_value_travels(values):
    left, right = socket.socketpair()
    sender, receiver = Channel(left), Channel(right)
    got = []
    for value in values:
        sender.send(value)
    sender.close()
    with pytest.raises(EOFError):
        while True:
            got += receiver.receive()
    receiver.close()
    assert got == values
    assert [load(dump(value)) for value in values] == values


def test_messages_of_several_threads_do_not_mix():
    left, right = socket.socketpair()
    sender, receiver, got = Channel(left), Channel(right), []
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    threads = [threading.Thread(target=sender.send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    while len(got) < len(bodies):
        got += receiver.receive()
    for thread in threads:
        thread.join()
    assert sorted(got) == bodies


def test_a_message_that_breaks_off_is_an_end_of_file():
    left, right = socket.socketpair()
    left.sendall(_LENGTH.pack(100) + b"half")
    left.close()
    receiver = Channel(right)
    assert list(receiver.receive()) == []
    with pytest.raises(EOFError):
        list(receiver.receive())


def test_sending_to_a_side_that_is_gone_is_an_os_error():
    left, right = socket.socketpair()
    right.close()
    with pytest.raises(OSError):
        Channel(left).send("anyone there?")


def test_a_closed_channel_is_an_end_of_file():
    left, right = socket.socketpair()
    Channel(left).close()
    with pytest.raises(EOFError):
        list(Channel(right).receive())


def test_tensors_travel_with_their_dtype():
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        tensor = torch.arange(6, dtype=dtype).reshape(2, 3)
        restored = load(dump(tensor))
        assert restored.dtype == dtype
        assert restored.equal(tensor)


def test_functions_keep_their_file_their_closure_and_their_defaults():
    factor = 3

    def scale(value, by=2):
        return factor * value * by

    restored = load(dump(scale))
    assert restored(5) == 30
    assert restored.__code__.co_filename == __file__
    assert restored.__code__.co_firstlineno == scale.__code__.co_firstlineno


def take_all(channel: Channel, count: int) -> list[object]:
    got: list[object] = []
    while len(got) < count:
        got += channel.receive()
    return got


def test_a_send_that_timed_out_half_way_goes_on_before_the_next_message():
    left, right = socket.socketpair()
    left.settimeout(0.05)
    sender, receiver = Channel(left), Channel(right)
    big = bytes(5_000_000)
    with pytest.raises(TimeoutError):
        sender.send(wire.RunJob(1, big, wire.Group(0, (0,)), 0.0))
    left.settimeout(None)
    thread = threading.Thread(target=sender.send, args=(wire.Cancel(1),))
    thread.start()
    first, second = take_all(receiver, 2)
    thread.join()
    assert (first.payload, second) == (big, wire.Cancel(1))


def test_a_socket_that_does_not_wait_has_no_messages_yet():
    left, right = socket.socketpair()
    right.setblocking(False)
    assert list(Channel(right).receive()) == []
    left.close()
    with pytest.raises(EOFError):
        list(Channel(right).receive())


class TwoRanks:
    """The notebook's end of two ranks, and theirs."""

    def __init__(self) -> None:
        self.lost: list[tuple[int, str]] = []
        self.loop = EventLoop("never started", lambda error: None)
        self.deadlines = self.loop.deadlines
        self.outgoing = outgoing.Outgoing(self.loop, lambda *who: self.lost.append(who))
        self.mine, self.theirs = {}, {}
        for rank in range(2):
            left, right = socket.socketpair()
            left.setblocking(False)
            self.mine[rank], self.theirs[rank] = Channel(left), Channel(right)
            self.loop.watch(self.mine[rank], lambda: None)

    def writable(self) -> list[object]:
        ready = self.loop._selector.select(0)
        return [key.fileobj for key, events in ready if events & selectors.EVENT_WRITE]

    def go_on(self) -> None:
        for rank, channel in self.mine.items():
            self.outgoing.go_on(rank, channel)

    def close(self) -> None:
        self.loop.stop()
        self.loop.run()
        for channel in (*self.mine.values(), *self.theirs.values()):
            channel.close()


@pytest.fixture
def ranks() -> Iterator[TwoRanks]:
    ranks = TwoRanks()
    yield ranks
    ranks.close()


def test_a_rank_that_does_not_read_holds_up_nobody_and_later_gets_all_whole(ranks):
    messages = [wire.RunJob(1, bytes(1_000_000), wire.Group(0, (0, 1)), 0.0), wire.Cancel(1), wire.Abort(1)]
    readers = {1: threading.Thread(target=lambda: got.extend(take_all(ranks.theirs[1], 3)))}
    got: list[object] = []
    readers[1].start()
    for message in messages:
        ranks.outgoing.send(message, ranks.mine)
    while readers[1].is_alive():
        ranks.go_on()
    assert got == messages
    assert ranks.writable() == []

    late: list[object] = []
    thread = threading.Thread(target=lambda: late.extend(take_all(ranks.theirs[0], 3)))
    thread.start()
    while thread.is_alive():
        ranks.go_on()
    assert late == messages
    assert ranks.deadlines.seconds_to_next() is None
    assert ranks.writable() == []


def test_a_rank_that_takes_nothing_is_lost(ranks, monkeypatch):
    monkeypatch.setattr(outgoing, "SEND_TIMEOUT_S", 0.0)
    ranks.outgoing.send(bytes(5_000_000), ranks.mine)
    ranks.deadlines.meet()
    assert ranks.lost == [(0, "took no messages for 0 s"), (1, "took no messages for 0 s")]


def test_a_rank_that_takes_a_little_is_given_more_time(ranks, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(ranks.deadlines, "_clock", lambda: float(next(ticks)))
    monkeypatch.setattr(outgoing, "SEND_TIMEOUT_S", 1000.0)
    ranks.outgoing.send(bytes(5_000_000), ranks.mine)
    before = ranks.deadlines.seconds_to_next()
    ranks.go_on()
    late = ranks.deadlines.seconds_to_next()
    assert late < before, "nothing was taken: the time runs on"
    for _ in range(10):
        ranks.deadlines.meet()  # it gets later
    for channel in ranks.theirs.values():
        list(channel.receive())
    ranks.go_on()
    assert ranks.deadlines.seconds_to_next() > late
    assert ranks.lost == []


def test_a_rank_that_is_gone_is_left_to_its_end_of_file(ranks):
    ranks.theirs[0].close()
    ranks.outgoing.send(wire.Cancel(1), ranks.mine)
    assert list(ranks.theirs[1].receive()) == [wire.Cancel(1)]
    with pytest.raises(EOFError):
        list(ranks.mine[0].receive())


class Raises:
    """A value that raises what it is told when it is read."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self):
        return raise_it, (self.error,)


def raise_it(error: type[BaseException]) -> None:
    raise error("on reading")


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_value_raises_when_it_is_read_is_one_error(error):
    with pytest.raises(Unreadable, match=f"{error.__name__}: on reading"):
        load_safely(dump(Raises(error)))
    with pytest.raises(Unreadable):
        load_safely(b"no pickle")
