from __future__ import annotations

import os
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.runtime.logs.log_stream import LogStream


def written(*pieces: str) -> list[str]:
    lines: list[str] = []
    stream = LogStream(lambda name, line: lines.append(line), "stdout")
    for piece in pieces:
        stream.write(piece)
        stream.flush()
    stream.finish_line()
    return lines


def on_a_terminal(text: str) -> list[str]:
    """What each line still shows once the whole text was printed; a last line without words shows nothing."""
    lines = text.split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return shown if shown[-1] else shown[:-1]


@given(st.text(alphabet="ab\r\n", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_rewritten_lines_are_the_same_however_they_are_written(text, cuts):
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert written(*pieces) == on_a_terminal(text)


@given(st.text(alphabet="ab \n", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_lines_are_the_same_however_they_are_written(text, cuts):
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    expected = text.split("\n")
    assert written(*pieces) == (expected if expected[-1] else expected[:-1])


def test_of_a_progress_bar_the_last_state_is_sent():
    assert written("\r 0%", "\r50%", "\r100%", "\n", "done") == ["100%", "done"]
    assert written("\r 0%", "\r50%") == ["50%"]


def test_lines_with_carriage_returns_before_the_newline_are_whole():
    assert written("one\r\ntwo\r\n") == ["one", "two"]


def test_print_writes_to_it():
    lines: list[str] = []
    stream = LogStream(lambda name, line: lines.append(f"{name}: {line}"), "stderr")
    print("a", 1, file=stream)
    assert lines == ["stderr: a 1"]
    assert stream.writable()
    assert not stream.isatty()
    assert not stream.closed
    stream.close()
    assert stream.write("b\n") == 2


def test_bytes_may_be_cut_within_a_character_and_none_is_refused():
    lines: list[str] = []
    stream = LogStream(lambda name, line: lines.append(line), "stdout")
    text = "\N{SNOWMAN} and \N{GREEK SMALL LETTER ALPHA}\n"
    for byte in text.encode():
        assert stream.buffer.write(bytes([byte])) == 1
    stream.buffer.write(bytearray(b"\xff\n"))
    assert lines == [text[:-1], "\N{REPLACEMENT CHARACTER}"]


@pytest.mark.ranks
def test_what_programs_wrote_before_comes_before_and_stands_when_lines_are_finished():
    lines: list[str] = []
    stream = LogStream(lambda name, line: lines.append(line), "stdout")
    stream.write("one\n")
    subprocess.run(["echo", "two"], stdout=stream, check=True)
    stream.write("three\n")
    os.write(stream.fileno(), b"four")
    stream.finish_line()
    assert lines == ["one", "two", "three", "four"]


@pytest.mark.ranks
def test_a_forked_childs_lines_come_up():
    lines: list[str] = []
    stream = LogStream(lambda name, line: lines.append(line), "stdout")
    stream.write("the parent's ")
    if (pid := os.fork()) == 0:
        stream.write("the child's\nown ")
        stream.flush()
        stream.write("end")
        stream.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    stream.write("own\n")
    stream.finish_line()
    assert sorted(lines) == ["own end", "the child's", "the parent's own"]
