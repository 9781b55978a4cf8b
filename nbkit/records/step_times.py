"""Step times: when the steps of a batch or a window ended, and when each of its prompts was read, for a playback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

TICK_S = 1e-5
"""Seconds of the unit in which times are kept: shorter than a step of any model."""

MOST_STEPS = 16_384
"""Steps of one rank of which a run keeps the times, from its begin: what is played back, and little beside it."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """When tokens came: all whole numbers, in ticks of ``TICK_S`` seconds.

    ``steps`` has, for each step that gave tokens, how long after the one before it they were known, the first
    after the record's ``begin_s``.

    Of a window there are also, for each of its ``indices``, where the engine tells them: ``read_after``, how long
    after it was taken the step began that read its prompt; ``reading``, how long that step took; ``read_padding``,
    positions that the step read for it beyond its prompt. Of a batch all are read together, as the record's own
    times tell. ``cache_positions`` are those for which the KV cache had memory when the record ended, of all its
    slots together; 0 where the engine does not tell, or takes memory for a position when it needs it.
    """

    steps: tuple[int, ...]
    read_after: tuple[int, ...] = ()
    reading: tuple[int, ...] = ()
    read_padding: tuple[int, ...] = ()
    cache_positions: int = 0

    @classmethod
    def of(cls, begin_s: float, moments_s: Sequence[float]) -> StepTimes:
        """Of a batch that began then, whose steps were known at these moments, in order."""
        return cls(deltas(begin_s, moments_s))

    @classmethod
    def of_window(
        cls,
        begin_s: float,
        moments_s: Sequence[float],
        reads: Sequence[tuple[float, float, float, int] | None],
        cache_positions: int,
    ) -> StepTimes:
        """Of a window that began then; ``reads`` are, of each of its prompts, when it was taken, when the step that
        read it began and ended, and the positions beyond it; nothing is told of them where one is None."""
        steps = deltas(begin_s, moments_s)
        known = [read for read in reads if read is not None]
        if len(known) < len(reads):
            return cls(steps, cache_positions=cache_positions)
        return cls(
            steps,
            tuple(ticks(began_s - taken_s) for taken_s, began_s, _, _ in known),
            tuple(ticks(ended_s - began_s) for _, began_s, ended_s, _ in known),
            tuple(padding for *_, padding in known),
            cache_positions,
        )

    def goes_with(self, count: int) -> bool:
        """Whether it tells of so many prompts, or of none."""
        return {len(self.read_after), len(self.reading), len(self.read_padding)} in ({0}, {count})

    def moments_s(self, begin_s: float) -> list[float]:
        """When each step's tokens were known, in seconds, of a record that began then."""
        ticks = 0
        moments = []
        for step in self.steps:
            ticks += step
            moments.append(begin_s + ticks * TICK_S)
        return moments


def ticks(seconds: float) -> int:
    """A duration in ticks, 0 where rounding has it below that."""
    return max(0, round(seconds / TICK_S))


def deltas(begin_s: float, moments_s: Sequence[float]) -> tuple[int, ...]:
    """From each moment to the next, in ticks, without a sum of rounding errors."""
    reached = [0, *(ticks(moment - begin_s) for moment in moments_s)]
    return tuple(max(0, after - before) for before, after in pairwise(reached))
