from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.workers import wire


@given(st.lists(st.binary(max_size=5000), max_size=20), st.integers(1, 700))
def test_messages_come_whole_and_in_order_however_they_are_cut(messages, chunk):
    left, right = socket.socketpair()
    sender, through = wire.Channel(left), bytearray()
    for message in messages:
        sender.send(message)
    sender.close()
    while piece := right.recv(65536):
        through += piece

    left, right = socket.socketpair()
    receiver, got = wire.Channel(right), []
    for start in range(0, len(through), chunk):
        left.sendall(through[start : start + chunk])
        got += list(receiver.receive())
    assert got == messages
    left.close()
    receiver.close()


def test_a_large_message_from_a_thread_arrives_whole():
    left, right = socket.socketpair()
    sender, receiver = wire.Channel(left), wire.Channel(right)
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
    sender, receiver = wire.Channel(left), wire.Channel(right)
    got = []
    for value in values:
        sender.send(value)
    sender.close()
    with pytest.raises(EOFError):
        while True:
            got += receiver.receive()
    receiver.close()
    assert got == values
    assert [wire.load(wire.dump(value)) for value in values] == values


def test_messages_of_several_threads_do_not_mix():
    left, right = socket.socketpair()
    sender, receiver, got = wire.Channel(left), wire.Channel(right), []
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
    left.sendall(wire._LENGTH.pack(100) + b"half")
    left.close()
    receiver = wire.Channel(right)
    assert list(receiver.receive()) == []
    with pytest.raises(EOFError):
        list(receiver.receive())


def test_sending_to_a_side_that_is_gone_is_an_os_error():
    left, right = socket.socketpair()
    right.close()
    with pytest.raises(OSError):
        wire.Channel(left).send("anyone there?")


def test_a_closed_channel_is_an_end_of_file():
    left, right = socket.socketpair()
    wire.Channel(left).close()
    with pytest.raises(EOFError):
        list(wire.Channel(right).receive())


def test_tensors_travel_with_their_dtype():
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        tensor = torch.arange(6, dtype=dtype).reshape(2, 3)
        restored = wire.load(wire.dump(tensor))
        assert restored.dtype == dtype
        assert restored.equal(tensor)


def test_functions_keep_their_file_their_closure_and_their_defaults():
    factor = 3

    def scale(value, by=2):
        return factor * value * by

    restored = wire.load(wire.dump(scale))
    assert restored(5) == 30
    assert restored.__code__.co_filename == __file__
    assert restored.__code__.co_firstlineno == scale.__code__.co_firstlineno
