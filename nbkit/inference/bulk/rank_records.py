"""Rank records: what a rank tells of an attempt, a line each, in a file of its own; for the figures of the Run.

A line is an object with one key, which says what it is: ``begun`` and ``rank`` at the begin, ``batch``, ``times`` and
``out_of_memory`` as they come, each after the outputs it tells of, and ``rank`` again at the end. Seconds are on
the job's clock. The owner has a file, too, with the second at which it saw the attempt end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbkit.inference.bulk.lines import write_whole
from nbkit.records import BatchRecord, Fallback, OutOfMemory, RankRecord
from nbkit.records.stored import Damaged, record_of


@dataclass(frozen=True)
class RankBegun:
    """A rank begins: at ``at_s`` by the calendar, in seconds since 1970; ``rules`` as in ``ShareBegun``."""

    at_s: float
    fallback: Fallback | None = None
    rules: dict[str, Any] = field(default_factory=dict)
    unheeded_rules: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokensCame:
    """When the tokens of these outputs came: ``times`` as ``columns_of`` has them."""

    indices: tuple[int, ...]
    times: dict[str, Any]


@dataclass(frozen=True)
class OwnerSawEnd:
    """An attempt is over, however it ended."""

    end_s: float


Told = RankBegun | RankRecord | BatchRecord | TokensCame | OutOfMemory | OwnerSawEnd

_KINDS: dict[str, type[Told]] = {
    "begun": RankBegun,
    "rank": RankRecord,
    "batch": BatchRecord,
    "times": TokensCame,
    "out_of_memory": OutOfMemory,
    "owner": OwnerSawEnd,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class RankRecords:
    """Appends what is told to a file; raises OSError where there is no room."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def add(self, told: Told) -> None:
        """One more line."""
        line = json.dumps({_NAMES[type(told)]: dataclasses.asdict(told)}, ensure_ascii=False) + "\n"
        write_whole(self._descriptor, line.encode("utf-8", errors="backslashreplace"))

    def close(self) -> None:
        os.close(self._descriptor)


def note_end(path: Path, end_s: float) -> None:
    """The owner sees an attempt end; where there is no room for that, it is not the worst."""
    with contextlib.suppress(OSError), contextlib.closing(RankRecords(path)) as records:
        records.add(OwnerSawEnd(end_s))


def read_told(path: Path) -> Iterator[Told]:
    """What a file tells, up to the first line that is not whole: what a kill or a lost power has left."""
    with path.open("rb") as file:
        for line in file:
            try:
                [(name, data)] = json.loads(line).items()
                told = record_of(_KINDS[name], data)
            except (ValueError, AttributeError, KeyError, TypeError, RecursionError, Damaged):
                return
            yield told
