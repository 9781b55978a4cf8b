"""What a job keeps: all values, and of lines and passing values the latest, with a word on the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.runtime import job_events
from nbkit.runtime.job import Job
from nbkit.runtime.job_events import Emitted, JobEvents, Log, Started


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(job_events, "MOST_LINES", 3)
    monkeypatch.setattr(job_events, "MOST_PASSING", 2)


def job() -> Job:
    return Job("test", lambda *_: None, lambda _: None)


def line(number: int) -> Log:
    return Log(0, "stdout", f"line {number}")


def left_out(count: int) -> Log:
    words = "1 line was" if count == 1 else f"{count} lines were"
    return Log(None, "stdout", f"{words} left out: more came than are kept.")


def test_values_are_all_kept_and_of_lines_the_latest_with_the_number_of_the_others():
    events = JobEvents()
    events.add(Started())
    for number in range(10):
        events.add(line(number))
        events.add(Emitted(0, number))
    values = [Emitted(0, number) for number in range(10)]
    assert events.emitted() == values
    for _ in range(2):
        assert events.reader().read() == [
            Started(),
            *values[:7],
            left_out(7),
            line(7),
            values[7],
            line(8),
            values[8],
            line(9),
            values[9],
        ]


def test_of_passing_values_the_latest_of_each_rank_are_kept():
    events = JobEvents()
    events.add(Emitted(1, "early"), is_passing=True)
    for number in range(5):
        events.add(Emitted(0, number), is_passing=True)
    events.add(Emitted(0, "result"))
    assert [event.value for event in events.emitted()] == ["early", 3, 4, "result"]


def test_a_long_text_counts_by_its_characters(monkeypatch):
    monkeypatch.setattr(job_events, "MOST_LINE_CHARACTERS", 10)
    events = JobEvents()
    for text in ("x" * 8, "y" * 8, "z" * 100):
        events.add(Log(0, "stdout", text))
        assert [event.text for event in events.since(0)] == [text]


@given(st.lists(st.tuples(st.sampled_from(["line", "value", "passing", "read"]), st.integers(0, 1))))
def test_a_reader_gets_every_value_once_every_line_or_its_count_and_all_in_order(steps):
    events = JobEvents()
    reader, got, values, lines = events.reader(), [], [], 0
    for what, rank in [*steps, ("read", 0)]:
        if what == "line":
            events.add(Log(rank, "stdout", str(events.count)))
            lines += 1
        elif what == "read":
            got += reader.read()
        else:
            event = Emitted(rank, events.count)
            events.add(event, is_passing=what == "passing")
            values += [event] if what == "value" else []
    numbers = [int(e.text) if isinstance(e, Log) else e.value for e in got if getattr(e, "rank", 0) is not None]
    assert numbers == sorted(set(numbers))
    assert set(values) <= set(got)
    counted = [int(e.text.split()[0]) for e in got if isinstance(e, Log) and e.rank is None]
    assert sum(counted) + sum(isinstance(e, Log) and e.rank is not None for e in got) == lines


def test_lines_that_somebody_has_seen_are_not_printed_and_others_are_with_their_count(capsys):
    seen = job()
    seen.set_running_or_notify_cancel()
    seen.add_lines(0, "stdout", ["seen"])
    reading = seen.events(timeout=0)
    assert next(reading) == Log(0, "stdout", "seen")
    seen.add_lines(1, "stderr", [str(number) for number in range(5)])
    seen.add_lines(0, "stdout", ["last"])
    seen.set_result(None)
    assert seen.result() is None
    printed = capsys.readouterr()
    assert printed.out == "[nbkit] 3 lines were left out: more came than are kept.\n[rank 0] last\n"
    assert printed.err == "[rank 1] 3\n[rank 1] 4\n"
    assert [event.text for event in reading] == [left_out(3).text, "3", "4", "last"]
