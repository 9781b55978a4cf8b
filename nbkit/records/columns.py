"""Columns: what stands in a file of many lines, read as it is asked for; in memory is where each line begins."""

from __future__ import annotations

import json
import operator
import os
import re
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, overload

import numpy as np

from nbkit.errors import InputError
from nbkit.records.latency import OutputTimes
from nbkit.records.request import Conversation
from nbkit.records.stored_times import times_of_line

NO_REASON = -1
NO_LINE = -1
# As the lines are written; others are read as JSON.
_NUMBERS = re.compile(
    rb'\{"index": (\d+), "new_tokens": (\d+), "prompt_tokens": (\d+), "finish_reason": "([a-z]+)", '
)
_INDEX = re.compile(rb"\[(\d+), ")

T = TypeVar("T")


class Column(Sequence[T]):
    """A sequence of which no more is in memory than is looked at; it equals a list of the same values."""

    @abstractmethod
    def _each(self, indices: range) -> Iterator[T]:
        """The values at these indices, none of which is negative or too large."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return list(self._each(range(len(self))[index]))
        at = range(len(self))[index]
        return next(self._each(range(at, at + 1)))

    def __iter__(self) -> Iterator[T]:
        return self._each(range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,}>"


class LineColumn(Column[T]):
    """A value of each line of a file.

    Parameters
    ----------
    starts : callable
        Gives the offset in bytes at which each line begins, shape (lines,).
    parse : callable
        Makes the value of a line and its number, from 0; raises ValueError, TypeError or KeyError where it
        is not what it was.
    """

    def __init__(
        self, path: Path, starts: Callable[[], np.ndarray[Any, Any]], parse: Callable[[bytes, int], T]
    ) -> None:
        self._path = path
        self._starts = starts
        self._parse = parse

    def __len__(self) -> int:
        return len(self._starts())

    def _each(self, indices: range) -> Iterator[T]:
        starts, follows = self._starts(), -1
        with opened(self._path) as file:
            for index in indices:
                if index != follows:
                    file.seek(int(starts[index]))
                line, follows = file.readline(), index + 1
                try:
                    yield self._parse(line, index)
                except (ValueError, TypeError, KeyError):
                    raise _changed(self._path, f"line {index + 1}") from None


class TextColumn(LineColumn[str | None]):
    """The outputs, None of a prompt that failed; how many failed is counted without reading them."""

    def __init__(self, path: Path, found: Callable[[], _Found]) -> None:
        super().__init__(path, lambda: found().starts, _output)
        self._found = found

    def count(self, value: object) -> int:
        if value is None:
            return int((self._found().reasons == NO_REASON).sum())
        return super().count(value)


class TimesColumn(Column[OutputTimes | None]):
    """When each output's tokens came, from a file of ``times_line`` in whatever order; None where it has no line.

    Of several lines of one prompt the first counts, as of its outputs.
    """

    def __init__(self, path: Path, count: Callable[[], int]) -> None:
        self._path = path
        self._count = count

    def __len__(self) -> int:
        return self._count()

    def _each(self, indices: range) -> Iterator[OutputTimes | None]:
        starts = self._starts
        with opened(self._path if (starts != NO_LINE).any() else Path(os.devnull)) as file:
            for index in indices:
                if starts[index] == NO_LINE:
                    yield None
                    continue
                file.seek(int(starts[index]))
                try:
                    yield times_of_line(file.readline())
                except ValueError:
                    raise _changed(self._path, "a line of times") from None

    @cached_property
    def _starts(self) -> np.ndarray[Any, Any]:
        """Where each prompt's line begins, shape (prompts,)."""
        starts = np.full(len(self), NO_LINE, dtype=np.int64)
        if not self._path.exists():
            return starts
        with opened(self._path) as file:
            offset = 0
            for line in file:
                found = _INDEX.match(line)
                if found and (index := int(found[1])) < len(starts) and starts[index] == NO_LINE:
                    starts[index] = offset
                offset += len(line)
        return starts


class NumberColumn(Column[int]):
    """Whole numbers, held as an array once they are asked for."""

    def __init__(self, numbers: Callable[[], np.ndarray[Any, Any]]) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers())

    def _each(self, indices: range) -> Iterator[int]:
        numbers = self._numbers()
        return (int(numbers[index]) for index in indices)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self._numbers(), dtype=dtype)


class ReasonColumn(Column[str | None]):
    """Why each sequence ended; None where there is no output."""

    def __init__(self, codes: Callable[[], np.ndarray[Any, Any]], names: Callable[[], list[str]]) -> None:
        self._codes = codes
        self._names = names

    def __len__(self) -> int:
        return len(self._codes())

    def _each(self, indices: range) -> Iterator[str | None]:
        codes, names = self._codes(), self._names()
        return (None if codes[index] == NO_REASON else names[codes[index]] for index in indices)


@dataclass(frozen=True)
class _Found:
    """What one pass over the outputs finds, an array of shape (prompts,) each."""

    starts: np.ndarray[Any, Any]
    prompt_tokens: np.ndarray[Any, Any]
    new_tokens: np.ndarray[Any, Any]
    reasons: np.ndarray[Any, Any]
    names: list[str]


class OutputColumns:
    """The columns of a file of outputs in the prompts' order, which has a line a prompt.

    Of it nothing is read until a column is asked for anything; then it is gone through once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.prompts: Column[str | Conversation] = LineColumn(path, lambda: self._found.starts, _prompt)
        self.outputs: Column[str | None] = TextColumn(path, lambda: self._found)
        self.prompt_tokens = NumberColumn(lambda: self._found.prompt_tokens)
        self.new_tokens = NumberColumn(lambda: self._found.new_tokens)
        self.finish_reasons = ReasonColumn(lambda: self._found.reasons, lambda: self._found.names)

    @cached_property
    def _found(self) -> _Found:
        starts, prompt_tokens, new_tokens, reasons = array("q"), array("q"), array("q"), array("b")
        names: dict[str, int] = {}
        with opened(self._path) as file:
            offset = 0
            for index, line in enumerate(file):
                try:
                    own, prompt, new, reason = _numbers(line)
                except (ValueError, TypeError, KeyError):
                    own = None
                if own != index:
                    raise InputError(
                        f"{self._path}, line {index + 1}: no output of the prompt {index}; it is damaged, and was "
                        "written by nbkit otherwise."
                    )
                starts.append(offset)
                prompt_tokens.append(prompt)
                new_tokens.append(new)
                reasons.append(NO_REASON if reason is None else names.setdefault(reason, len(names)))
                offset += len(line)
        return _Found(
            np.asarray(starts), np.asarray(prompt_tokens), np.asarray(new_tokens), np.asarray(reasons), list(names)
        )


def line_starts(path: Path, skip: int = 0) -> np.ndarray[Any, Any]:
    """The offset at which each line of a file begins, without the first so many; shape (lines,)."""
    starts, offset = array("q"), 0
    with opened(path) as file:
        for line in file:
            starts.append(offset)
            offset += len(line)
    return np.asarray(starts)[skip:]


def opened(path: Path) -> BinaryIO:
    """A file to read; raises InputError."""
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from None


def _changed(path: Path, where: str) -> InputError:
    return InputError(f"{path} is not what it was at the first look ({where}): open it again.")


def _numbers(line: bytes) -> tuple[int, int, int, str | None]:
    if found := _NUMBERS.match(line):
        return int(found[1]), int(found[3]), int(found[2]), found[4].decode()
    row = json.loads(line)
    if row.get("error") is not None:
        return row["index"], 0, 0, None
    return row["index"], row["prompt_tokens"], row["new_tokens"], row["finish_reason"]


def _row(line: bytes, index: int) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(line)
    if row["index"] != index:
        raise ValueError(index)
    return row


def _prompt(line: bytes, index: int) -> str | Conversation:
    prompt = _row(line, index)["prompt"]
    if prompt is None:  # could not be read, and has an error
        return ""
    return prompt if isinstance(prompt, str) else Conversation.of(prompt)


def _output(line: bytes, index: int) -> str | None:
    output: str | None = _row(line, index).get("output")
    return output
