"""Merging: what the ranks of all attempts told, as one account on one clock, which ``Run.open`` reads."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO, TypeVar

from nbkit.inference.bulk.folder import OWNER, BulkFolder
from nbkit.inference.bulk.rank_records import OwnerSawEnd, RankBegun, TokensCame, read_told
from nbkit.records import BatchRecord, OutOfMemory, OutputTimes, RankRecord
from nbkit.records.bulk_run import BulkTold
from nbkit.records.stored_times import MOMENTS, times_line, times_of

ON_THE_CLOCK = ("begin_s", "end_s", "at_s")
"""Fields of records of ranks that are moments; others are spans."""

Record = TypeVar("Record", BatchRecord, OutOfMemory, OutputTimes)


@dataclass
class _Share:
    """What one rank told of one attempt; its batches are counted, and read again when they are merged."""

    file: Path
    record: RankRecord
    begun: RankBegun
    has_ended: bool
    latest_s: float
    prompts: int
    out_of_memory: list[OutOfMemory]

    @classmethod
    def of(cls, file: Path) -> _Share | None:
        """None of a rank that was lost before it began."""
        record = begun = None
        tellings, latest_s, prompts, out_of_memory = 0, 0.0, 0, []
        for told in read_told(file):
            if isinstance(told, RankRecord):
                record, latest_s, tellings = told, max(latest_s, told.end_s), tellings + 1
            elif isinstance(told, RankBegun):
                begun = told
            elif isinstance(told, BatchRecord):
                latest_s, prompts = max(latest_s, told.end_s), prompts + len(told.indices)
            elif isinstance(told, OutOfMemory):
                out_of_memory.append(told)
        if record is None or begun is None:
            return None
        return cls(file, record, begun, tellings > 1, latest_s, prompts, out_of_memory)


@dataclass
class Attempts:
    """Attempts laid end to end, from second 0 on.

    An attempt goes from its first rank's begin to its last one's end. Where a rank did not come to its end, it
    goes on to the moment in which the owner saw that, or, where the owner was lost, too, to the last batch.
    """

    end_s: float = 0.0
    paused_s: float = 0.0
    count: int = 0
    ranks: dict[int, RankRecord] = field(default_factory=dict)
    out_of_memory: list[OutOfMemory] = field(default_factory=list)
    _ended_at_s: float | None = None
    _most_prompts: int = -1
    _begun: RankBegun | None = None

    def add(self, shares: Sequence[_Share], owner_saw_s: float) -> float:
        """One more, at the end; by how many seconds its moments are shifted."""
        first = min(shares, key=lambda share: share.record.begin_s)
        begin_s, ended_s = first.record.begin_s, max(share.latest_s for share in shares)
        if not all(share.has_ended for share in shares):
            ended_s = max(ended_s, owner_saw_s)
        if self._ended_at_s is not None:
            # Where somebody has set the clock back meanwhile, nothing is known of the pause.
            self.paused_s += max(0.0, first.begun.at_s - self._ended_at_s)
        self._ended_at_s = first.begun.at_s + ended_s - begin_s
        shift_s = self.end_s - begin_s
        self.end_s, self.count = ended_s + shift_s, self.count + 1
        for share in shares:
            waited_s = max(0.0, ended_s - share.record.end_s) if share.has_ended else 0.0
            self._add_rank(replace(share.record, waiting_s=share.record.waiting_s + waited_s))
            self.out_of_memory += [shifted(told, shift_s) for told in share.out_of_memory]
        if (prompts := sum(share.prompts for share in shares)) > self._most_prompts:
            self._most_prompts, self._begun = prompts, first.begun
        return shift_s

    def _add_rank(self, record: RankRecord) -> None:
        before = self.ranks.get(record.rank)
        if before is not None:
            spans = ("load_s", "waiting_s", "order_s", "warm_up_s", "cold_start_s")
            record = replace(record, **{name: getattr(before, name) + getattr(record, name) for name in spans})
        self.ranks[record.rank] = record

    def told(self, failed_prompts: int) -> BulkTold:
        """All of it but the batches. Of fallbacks and rules it is those of the attempt with the most prompts."""
        # As many as were ever started, where other ranks went on.
        started = max([record.world_size for record in self.ranks.values()] + [len(self.ranks)])
        ranks = [
            replace(self.ranks[rank], begin_s=0.0, end_s=self.end_s, world_size=started)
            for rank in sorted(self.ranks)
        ]
        begun = self._begun or RankBegun(0.0)
        return BulkTold(
            failed_prompts=failed_prompts,
            attempts=self.count,
            paused_s=self.paused_s,
            ranks=ranks,
            out_of_memory=self.out_of_memory,
            fallback=begun.fallback,
            generation_rules=begun.rules,
            unheeded_rules=begun.unheeded_rules,
        )


def merge_records(folder: BulkFolder, failed_prompts: int) -> None:
    """Write ``records.jsonl`` and ``times.jsonl``, whole or not at all; never all in memory. Raises OSError."""
    attempts, merged = Attempts(), []
    for _, files in itertools.groupby(folder.rank_record_files(), key=lambda file: file.name.partition("-")[0]):
        told = list(files)
        shares = [share for share in map(_Share.of, told) if share is not None]
        if shares:
            merged.append((shares, attempts.add(shares, _owner_saw_s(told))))
    with _written_whole(folder.times) as file:
        for shares, shift_s in merged:
            for share in shares:
                file.writelines(_times(share, shift_s))
    with _written_whole(folder.records) as file:
        file.write(_line(attempts.told(failed_prompts)))
        for shares, shift_s in merged:
            by_begin = heapq.merge(
                *(_batches(share, shift_s) for share in shares), key=lambda batch: (batch.begin_s, batch.rank)
            )
            file.writelines(map(_line, by_begin))


@contextlib.contextmanager
def _written_whole(path: Path) -> Iterator[TextIO]:
    """A file that takes its name when all of it is written."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def shifted(record: Record, by_s: float, moments: Sequence[str] = ON_THE_CLOCK) -> Record:
    """A record on a clock that shows so many seconds more."""
    # A difference of floats may be below 0 by a rounding, and no moment is.
    return replace(
        record,
        **{name: max(0.0, getattr(record, name) + by_s) for name in moments if hasattr(record, name)},
    )


def _owner_saw_s(files: Sequence[Path]) -> float:
    owners = (file for file in files if file.stem.endswith(f"-{OWNER}"))
    ends = (told.end_s for file in owners for told in read_told(file) if isinstance(told, OwnerSawEnd))
    return max(ends, default=0.0)


def _batches(share: _Share, shift_s: float) -> Iterator[BatchRecord]:
    return (shifted(told, shift_s) for told in read_told(share.file) if isinstance(told, BatchRecord))


def _times(share: _Share, shift_s: float) -> Iterator[str]:
    for told in read_told(share.file):
        if isinstance(told, TokensCame):
            for index, times in zip(told.indices, times_of(told.times), strict=True):
                if times is not None:
                    yield times_line(index, shifted(times, shift_s, MOMENTS))


def _line(record: BulkTold | BatchRecord) -> str:
    return json.dumps(dataclasses.asdict(record)) + "\n"
