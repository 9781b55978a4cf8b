"""Job events: what a job keeps of what its ranks have told: all that counts, and the latest of the rest."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

MOST_LINES = 50_000
MOST_LINE_CHARACTERS = 8_000_000
"""Of the lines that are kept, together; the latest is kept however long it is."""
MOST_PASSING = 100
"""Passing values that are kept of each rank."""


@dataclass(frozen=True, slots=True)
class Started:
    """The ranks have been given the job."""


@dataclass(frozen=True, slots=True)
class Log:
    """A line a rank printed (``rank`` is None for the kit's own words)."""

    rank: int | None
    stream: str
    text: str

    @property
    def labelled(self) -> str:
        """The line with its rank in front."""
        return f"[{'nbkit' if self.rank is None else f'rank {self.rank}'}] {self.text}"


@dataclass(frozen=True, slots=True)
class Emitted:
    """A value the running function sent while it ran."""

    rank: int
    value: Any


Event = Started | Log | Emitted
_Numbered = tuple[int, Event]
_number = itemgetter(0)


class JobEvents:
    """Events in the order they came, numbered from 0 on.

    Of lines and of passing values, of which a job may have any number, the latest are kept
    (``MOST_LINES``, ``MOST_PASSING`` a rank). Whoever comes to lines that are gone is told how many.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[_Numbered] = []
        self._lines: deque[_Numbered] = deque()
        self._line_characters = 0
        self._passing: defaultdict[int, deque[_Numbered]] = defaultdict(lambda: deque(maxlen=MOST_PASSING))
        self._lines_come = 0

    def add(self, event: Event, is_passing: bool = False) -> None:
        """Take the next event."""
        numbered = self.count, event
        self.count += 1
        if isinstance(event, Log):
            self._lines.append(numbered)
            self._lines_come += 1
            self._line_characters += len(event.text)
            self._drop_old_lines()
        elif is_passing and isinstance(event, Emitted):
            self._passing[event.rank].append(numbered)
        else:
            self._kept.append(numbered)

    def _drop_old_lines(self) -> None:
        while len(self._lines) > MOST_LINES or (
            self._line_characters > MOST_LINE_CHARACTERS and len(self._lines) > 1
        ):
            self._line_characters -= len(self._lines.popleft()[1].text)  # type: ignore[union-attr]

    def emitted(self) -> list[Emitted]:
        """The values that are kept, in the order they came."""
        return [event for _, event in self._merged(0, with_lines=False) if isinstance(event, Emitted)]

    def reader(self) -> Reader:
        """Somebody who reads all of it from the beginning."""
        return Reader(self)

    def since(self, number: int) -> list[Event]:
        """What is kept of the events from this number on."""
        return [event for _, event in self._merged(number)]

    def lines_gone(self, lines_read: int) -> int:
        """How many lines are gone unread, for who has read so many."""
        return max(0, self._lines_come - len(self._lines) - lines_read)

    @property
    def lines_come(self) -> int:
        """How many lines have come."""
        return self._lines_come

    def _merged(self, number: int, with_lines: bool = True) -> list[_Numbered]:
        sources: list[Sequence[_Numbered]] = [self._kept, *self._passing.values()]
        if with_lines:
            sources.append(self._lines)
        return sorted(itertools.chain.from_iterable(_from(number, source) for source in sources), key=_number)


class Reader:
    """Reads events, each once; of what it comes too late for it is told."""

    def __init__(self, events: JobEvents) -> None:
        self._events = events
        self._lines_read = 0
        self.position = 0

    def read(self) -> list[Event]:
        """What has come since the last time."""
        events = self._events
        if self.position == events.count:
            return []
        new: list[Event] = events.since(self.position)
        if gone := events.lines_gone(self._lines_read):
            what = "1 line was" if gone == 1 else f"{gone} lines were"
            said = Log(None, "stdout", f"{what} left out: more came than are kept.")
            first = next((place for place, event in enumerate(new) if isinstance(event, Log)), len(new))
            new.insert(first, said)
        self.position, self._lines_read = events.count, events.lines_come
        return new

    def catch_up_with(self, other: Reader) -> None:
        """What another has read is not to be read again."""
        self.position = max(self.position, other.position)
        self._lines_read = max(self._lines_read, other._lines_read)


def _from(number: int, numbered: Sequence[_Numbered]) -> list[_Numbered]:
    """Those from a number on: they are at the end."""
    newest = list(itertools.takewhile(lambda each: each[0] >= number, reversed(numbered)))
    newest.reverse()
    return newest
