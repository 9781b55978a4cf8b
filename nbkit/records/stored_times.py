"""Stored times: those of outputs as files have them, a list for each field or a line for each output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nbkit.errors import shorten
from nbkit.records.latency import MICROSECONDS, OutputTimes
from nbkit.records.stored import Damaged, value_of
from nbkit.records.time_histogram import TimeHistogram

MOMENTS = ("taken_s", "first_token_s", "end_s")
COLUMNS = (*MOMENTS, "inter_token")


def columns_of(times: Sequence[OutputTimes | None]) -> dict[str, list[Any]]:
    """A list for each field, ``inter_token`` as ``TimeHistogram.to_text`` has it; None where there are no times."""
    columns: dict[str, list[Any]] = {
        name: [None if each is None else getattr(each, name) for each in times] for name in MOMENTS
    }
    columns["inter_token"] = [None if each is None else each.inter_token.to_text() for each in times]
    return columns


def times_of(columns: object) -> list[OutputTimes | None]:
    """What ``columns_of`` gave.

    Raises
    ------
    InputError
        It did not give this; the message names the place.
    """
    if not isinstance(columns, dict) or set(columns) != set(COLUMNS):
        raise Damaged(f"times should be an object of {', '.join(COLUMNS)}, not {shorten(columns)}")
    moments = [value_of(list[float | None], columns[name], f"times.{name}") for name in MOMENTS]
    texts = value_of(list[str | None], columns["inter_token"], "times.inter_token")
    if len({len(column) for column in (*moments, texts)}) != 1:
        raise Damaged("the lists of times are not equally long")
    return [_output_times(number, row) for number, row in enumerate(zip(*moments, texts, strict=True))]


def times_line(index: int, times: OutputTimes) -> str:
    """The line of one output: its prompt's index first, and then what ``columns_of`` has of it."""
    moments = (round(getattr(times, name), MICROSECONDS) for name in MOMENTS)
    return json.dumps([index, *moments, times.inter_token.to_text()]) + "\n"


def times_of_line(line: bytes) -> OutputTimes | None:
    """What ``times_line`` wrote.

    Raises
    ------
    ValueError
        It did not write this.
    """
    index, *row = json.loads(line)
    try:
        return times_of(dict(zip(COLUMNS, ([each] for each in row), strict=True)))[0]
    except Damaged as error:
        raise ValueError(f"of prompt {index}: {error}") from None


def _output_times(number: int, row: tuple[Any, ...]) -> OutputTimes | None:
    *moments, text = row
    taken_s, first_token_s, end_s = moments
    if row == (None,) * len(COLUMNS):
        return None
    if None in row:
        raise Damaged(f"times of output {number} are there in part only")
    if sorted(moments) != moments:
        raise Damaged(f"times of output {number} are not in order: {', '.join(f'{moment} s' for moment in moments)}")
    try:
        return OutputTimes(taken_s, first_token_s, end_s, TimeHistogram.from_text(text))
    except ValueError as error:
        raise Damaged(f"times.inter_token[{number}] should have {error}, not {shorten(text)}") from None
