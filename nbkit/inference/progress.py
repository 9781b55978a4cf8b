"""Progress: how far a generation is, from its events as they come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from nbkit.engines import BatchDone, Streamed, UnderWay
from nbkit.inference.generation import Preparing, Progress, ShareBegun, ShareDone
from nbkit.records import BatchRecord, BatchTotals
from nbkit.records.settings import Settings
from nbkit.records.throughput import Throughput
from nbkit.runtime import Emitted, Job, Log


@dataclass
class RankProgress:
    """How far one rank is. ``tokens`` are computed tokens, the batch under way included.

    ``prompts`` is the rank's share; None where ranks take prompts as they get free.
    """

    prompts: int | None = 0
    batch_size: int = 1
    prompts_done: int = 0
    tokens_done: int = 0
    tokens_under_way: int = 0
    streamed: tuple[Streamed, ...] = ()
    under_way: tuple[UnderWay, ...] = ()
    is_done: bool = False
    untold: int = 0
    """Of ``tokens_done`` what no report has told before its batch, or window, ended at ``untold_s``."""
    untold_s: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_done + self.tokens_under_way

    def prompts_worth(self, settings: Settings) -> float:
        """Prompts done, and of the batch under way as much as its tokens say, at most the whole batch."""
        batch: float = self.batch_size
        if self.prompts is not None:
            batch = min(batch, self.prompts - self.prompts_done)
        return self.prompts_done + min(batch, self.tokens_under_way / settings.max_new_tokens)


@dataclass
class RunProgress:
    """How far all ranks are. Feed every emitted value to ``take``; ``at_s`` is on the job's clock.

    What it keeps beside the batches' records does not grow with the length of the run.
    """

    settings: Settings
    prompts: int
    ranks: dict[int, RankProgress] = field(default_factory=lambda: defaultdict(RankProgress))
    batches: list[BatchRecord] = field(default_factory=list)
    totals: BatchTotals = field(default_factory=BatchTotals)
    throughput: Throughput = field(default_factory=Throughput)
    begin_s: float | None = None
    latest_s: float = 0.0
    preparing: str = ""
    """What a rank computes once before it begins, in words."""

    def take(self, rank: int, value: object) -> None:
        """Take one emitted value of a rank."""
        own = self.ranks[rank]
        before = own.tokens
        if isinstance(value, ShareBegun):
            own.prompts = value.prompts
            own.batch_size = value.batch_size
            self.begin_s = value.begin_s if self.begin_s is None else min(self.begin_s, value.begin_s)
            self._count(rank, value.begin_s, 0)
        elif isinstance(value, Preparing):
            self.preparing = value.words
        elif isinstance(value, Progress):
            own.tokens_under_way = value.tokens
            own.streamed = value.streamed
            own.under_way = value.under_way
            # Fewer than before: what was under way did not fit into memory and begins anew.
            self._count(rank, value.at_s, own.untold + max(0, own.tokens - before))
            own.untold = 0
        elif isinstance(value, BatchDone):
            own.prompts_done += len(value.outputs)
            own.tokens_done += value.record.computed_tokens
            # In flight, other sequences are still under way.
            own.tokens_under_way = max(0, own.tokens_under_way - value.record.computed_tokens)
            self.batches.append(value.record)
            self.totals.add(value.record)
            self._count_batch(rank, value.record, own.tokens - before)
        elif isinstance(value, ShareDone):
            own.is_done = True
            own.under_way = ()
            if own.untold:
                self._count(rank, own.untold_s, own.untold)
            self.throughput.finish(rank)

    def _count_batch(self, rank: int, record: BatchRecord, tokens: int) -> None:
        """Of a batch that has ended, the tokens that no report has told."""
        if self.settings.is_in_flight:
            # Others went on meanwhile: the next report tells of all together what came since the last one.
            self.ranks[rank].untold += max(0, tokens)
            self.ranks[rank].untold_s = record.end_s
            self.latest_s = max(self.latest_s, record.end_s)
        else:
            self._count(rank, record.end_s, tokens)

    def _count(self, rank: int, at_s: float, tokens: int) -> None:
        assert self.begin_s is not None
        self.latest_s = max(self.latest_s, at_s)
        self.throughput.count(rank, at_s - self.begin_s, tokens)

    @property
    def has_begun(self) -> bool:
        """Whether a rank has its model and generates."""
        return self.begin_s is not None

    @property
    def prompts_done(self) -> int:
        """Prompts that have their output."""
        return self.totals.prompts

    @property
    def tokens(self) -> int:
        """Tokens computed so far by all ranks."""
        return sum(own.tokens for own in self.ranks.values())

    @property
    def tokens_per_second(self) -> float:
        """Tokens computed per second, from the begin to the latest event."""
        seconds = self.latest_s - (self.begin_s or 0.0)
        return self.tokens / seconds if self.has_begun and seconds else 0.0

    def fraction_of(self, rank: int) -> float:
        """Share of a rank's work that is done, 0 to 1; of all work, where ranks take batches as they get free."""
        own = self.ranks[rank]
        if own.prompts is None:
            return self.fraction_done
        return own.prompts_worth(self.settings) / own.prompts if own.prompts else 0.0

    @property
    def fraction_done(self) -> float:
        """Share of all prompts that is done, 0 to 1, batches under way included."""
        worth = sum(own.prompts_worth(self.settings) for own in self.ranks.values())
        return min(1.0, worth / self.prompts)


def follow(job: Job, progress: RunProgress, beat_s: float) -> Iterator[Log | RunProgress]:
    """A generation as it goes on, until it has ended: every line that a rank prints, else how far it is.

    ``progress`` takes each event as it comes; it is told again when nothing came for ``beat_s`` seconds.
    """
    for event in job.events(timeout=beat_s):
        if isinstance(event, Log):
            yield event
            continue
        if isinstance(event, Emitted):
            progress.take(event.rank, event.value)
        yield progress
