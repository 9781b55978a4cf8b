"""Progress: how far a generation is, from its events as they come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from nbkit.engines import BatchDone
from nbkit.generation import Progress, ShareBegun
from nbkit.records import BatchRecord, Output
from nbkit.settings import Settings


@dataclass
class RankProgress:
    """How far one rank is. ``tokens`` are computed tokens, the batch under way included."""

    prompts: int = 0
    prompts_done: int = 0
    tokens_done: int = 0
    tokens_under_way: int = 0

    @property
    def tokens(self) -> int:
        return self.tokens_done + self.tokens_under_way

    def fraction_done(self, settings: Settings) -> float:
        """Share of the rank's work that is done, 0 to 1, the batch under way estimated by its tokens."""
        if not self.prompts:
            return 0.0
        batch = 1 if settings.engine == "simple" else settings.batch_size
        batch = min(batch, self.prompts - self.prompts_done)
        under_way = min(batch, self.tokens_under_way / settings.max_new_tokens)
        return (self.prompts_done + under_way) / self.prompts


@dataclass
class RunProgress:
    """How far all ranks are. Feed every emitted value to ``take``; ``at_s`` is on the job's clock."""

    settings: Settings
    prompts: int
    ranks: dict[int, RankProgress] = field(default_factory=lambda: defaultdict(RankProgress))
    batches: list[BatchRecord] = field(default_factory=list)
    outputs: dict[int, Output] = field(default_factory=dict)
    samples: list[tuple[float, int]] = field(default_factory=list)
    """(seconds, tokens computed by all ranks until then)"""
    begin_s: float | None = None

    def take(self, rank: int, value: object) -> None:
        """Take one emitted value of a rank."""
        own = self.ranks[rank]
        if isinstance(value, ShareBegun):
            own.prompts = value.prompts
            self.begin_s = value.begin_s if self.begin_s is None else min(self.begin_s, value.begin_s)
            self._sample(value.begin_s)
        elif isinstance(value, Progress):
            own.tokens_under_way = value.tokens
            self._sample(value.at_s)
        elif isinstance(value, BatchDone):
            own.prompts_done += len(value.outputs)
            own.tokens_done += value.record.computed_tokens
            own.tokens_under_way = 0
            self.batches.append(value.record)
            self.outputs.update((output.index, output) for output in value.outputs)
            self._sample(value.record.end_s)

    def _sample(self, at_s: float) -> None:
        self.samples.append((at_s, self.tokens))

    @property
    def has_begun(self) -> bool:
        """Whether a rank has its model and generates."""
        return self.begin_s is not None

    @property
    def tokens(self) -> int:
        """Tokens computed so far by all ranks."""
        return sum(own.tokens for own in self.ranks.values())

    @property
    def prompts_done(self) -> int:
        """Prompts that have their output."""
        return len(self.outputs)

    @property
    def fraction_done(self) -> float:
        """Share of all prompts that is done, 0 to 1, batches under way included."""
        return sum(own.fraction_done(self.settings) * own.prompts for own in self.ranks.values()) / self.prompts


def throughput(samples: Sequence[tuple[float, int]], window_s: float = 1.0) -> list[tuple[float, float]]:
    """Tokens per second over time: at each sample, over the ``window_s`` seconds before it.

    Parameters
    ----------
    samples : sequence of (float, int)
        Seconds and tokens until then, in any order: ranks report independently.
    """
    ordered = sorted(samples)
    rates: list[tuple[float, float]] = []
    start = 0
    for at_s, tokens in ordered:
        while ordered[start][0] < at_s - window_s:
            start += 1
        # One sample further back, so that the window is never shorter than asked.
        from_s, from_tokens = ordered[max(0, start - 1)]
        if at_s > from_s:
            rates.append((at_s, max(0, tokens - from_tokens) / (at_s - from_s)))
    return rates
