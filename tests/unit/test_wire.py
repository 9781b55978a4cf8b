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


def test_a_closed_channel_is_an_end_of_file():
    left, right = socket.socketpair()
    wire.Channel(left).close()
    with pytest.raises(EOFError):
        list(wire.Channel(right).receive())


def test_functions_keep_their_file_their_closure_and_their_defaults():
    factor = 3

    def scale(value, by=2):
        return factor * value * by

    restored = wire.load(wire.dump(scale))
    assert restored(5) == 30
    assert restored.__code__.co_filename == __file__
    assert restored.__code__.co_firstlineno == scale.__code__.co_firstlineno
