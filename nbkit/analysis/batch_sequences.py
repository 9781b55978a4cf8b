"""Batch sequences: when each sequence of a Run was taken, read, decoded and done with, from its records alone.

What the records tell is kept apart from what is assumed: the tokens of a sequence are at the ends of its rank's steps
where those are kept (``StepTimes``) and agree with the sequence's own first and last token; elsewhere they are spread
evenly between the two, and ``is_measured`` is False.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from nbkit.records import BatchRecord, OutputTimes
from nbkit.records.run import Run
from nbkit.records.step_times import TICK_S

MOST_READ = 5_000
"""Sequences that are looked at: those of a Run's first batches."""

SAME_S = 2.5 * TICK_S
"""Two roundings of one moment may be so far apart."""


@dataclass(frozen=True, slots=True)
class BatchSequence:
    """One sequence of a rank; seconds are on the Run's clock.

    ``seat`` is its place beside the others of its rank, the lowest that was free when it was taken: a row of the
    picture. Where its keys and values are in memory is another matter, and may change.
    ``read_begin_s`` and ``read_end_s`` are those of its prefill; where ``is_read_told`` is False the engine does not
    tell, and they are when it was taken and its first token: waiting and prefill together.
    ``tokens_s`` are its tokens, ``vain_s`` those that were computed after its end, for the others of its batch.
    ``padding`` positions were read with the prompt: before it in a batch (``pads_left``), else after it.
    Consecutive steps of its rank from ``first_step`` on gave its tokens if ``is_measured``.
    """

    rank: int
    index: int
    prompt_tokens: int
    padding: int
    pads_left: bool
    taken_s: float
    read_begin_s: float
    read_end_s: float
    is_read_told: bool
    tokens_s: tuple[float, ...]
    vain_s: tuple[float, ...]
    is_measured: bool
    first_step: int = 0
    seat: int = 0

    @property
    def leaves_s(self) -> float:
        """When its place is free for another."""
        return (self.vain_s or self.tokens_s)[-1]


@dataclass(frozen=True, slots=True)
class Told:
    """The sequences of a Run, those that were taken first in front, and per rank the ends of its steps, in seconds.

    ``untold`` have an output, and no record tells when. ``until_s`` is where the records that were looked at end:
    the Run's own end, or before it in a long one.
    """

    sequences: list[BatchSequence]
    steps_s: dict[int, list[float]]
    untold: int
    until_s: float


def sequences_of(run: Run) -> Told:
    """The sequences of a Run that its records tell of, each with a seat."""
    batches, is_all = _first_batches(run.batches)
    steps_s: dict[int, list[float]] = {}
    for batch in batches:
        if batch.step_times is not None:
            steps_s.setdefault(batch.rank, []).extend(batch.step_times.moments_s(batch.begin_s))
    found, untold = [], 0
    for batch in batches:
        own = list(_of_batch(run, batch, steps_s.get(batch.rank, [])))
        untold += len(batch.indices) - len(own)
        found += own
    until_s = run.end_s if is_all else _complete_until_s(batches, found)
    found = [each for each in found if each.taken_s < until_s or is_all]
    seated = [each for rank in {s.rank for s in found} for each in _seated([s for s in found if s.rank == rank])]
    seated.sort(key=lambda each: (each.taken_s, each.rank, each.seat))
    return Told(seated, steps_s, untold, until_s)


def _first_batches(batches: Sequence[BatchRecord]) -> tuple[list[BatchRecord], bool]:
    """Batches with ``MOST_READ`` sequences or a few more, and whether those are all."""
    taken: list[BatchRecord] = []
    count = 0
    for batch in batches:
        if count >= MOST_READ:
            return taken, False
        taken.append(batch)
        count += len(batch.indices)
    return taken, True


def _complete_until_s(batches: Sequence[BatchRecord], found: Sequence[BatchSequence]) -> float:
    """Until when no sequence is missing: one that ended after these batches was not under way for longer than any."""
    longest_s = max((each.leaves_s - each.taken_s for each in found), default=0.0)
    last_s = min({batch.rank: batch.end_s for batch in batches}.values(), default=0.0)
    begin_s = min((batch.begin_s for batch in batches), default=0.0)
    return max(begin_s, last_s - longest_s)


def _of_batch(run: Run, batch: BatchRecord, steps_s: Sequence[float]) -> Iterator[BatchSequence]:
    is_window = batch.decode_steps is not None
    width = (batch.prompt_tokens + batch.padding_tokens) // max(1, len(batch.indices))
    for place, index in enumerate(batch.indices):
        new = run.new_tokens[index]
        if new < 1:
            continue
        times = run.times[index]
        if is_window and times is not None:
            yield _of_window(run, batch, place, times, steps_s)
        elif not is_window:
            padding = max(0, width - run.prompt_tokens[index]) if batch.padding_tokens else 0
            yield _in_batch(batch, index, run.prompt_tokens[index], padding, new, times, steps_s)


def _of_window(
    run: Run, batch: BatchRecord, place: int, times: OutputTimes, steps_s: Sequence[float]
) -> BatchSequence:
    index, told = batch.indices[place], batch.step_times
    new = run.new_tokens[index]
    is_told = told is not None and bool(told.read_after)
    begin_s, end_s, padding = times.taken_s, times.first_token_s, 0
    if told is not None and is_told:
        begin_s = min(end_s, times.taken_s + told.read_after[place] * TICK_S)
        end_s = min(end_s, begin_s + told.reading[place] * TICK_S)
        padding = told.read_padding[place]
    first = bisect.bisect_left(steps_s, times.first_token_s - SAME_S)
    measured = list(steps_s[first : first + new])
    is_measured = (
        len(measured) == new
        and abs(measured[0] - times.first_token_s) <= SAME_S
        and abs(measured[-1] - times.end_s) <= SAME_S
    )
    tokens_s = measured if is_measured else _evenly(times.first_token_s, times.end_s, new)
    return BatchSequence(
        batch.rank,
        index,
        run.prompt_tokens[index],
        padding,
        False,
        times.taken_s,
        begin_s,
        end_s,
        is_told,
        tuple(tokens_s),
        (),
        is_measured,
        first,
    )


def _in_batch(
    batch: BatchRecord,
    index: int,
    prompt_tokens: int,
    padding: int,
    new: int,
    times: OutputTimes | None,
    steps_s: Sequence[float],
) -> BatchSequence:
    computed = max(new, batch.computed_tokens // len(batch.indices))
    read_s = batch.begin_s + batch.tokenize_s
    first_s = read_s + batch.prefill_s
    own = batch.step_times.moments_s(batch.begin_s) if batch.step_times is not None else []
    is_measured = len(own) == computed
    moments = own if is_measured else _evenly(first_s, first_s + batch.decode_s, computed)
    if not is_measured and times is not None:
        moments = [*_evenly(times.first_token_s, times.end_s, new), *moments[new:]]
    return BatchSequence(
        batch.rank,
        index,
        prompt_tokens,
        padding,
        True,
        min(read_s, times.taken_s if times is not None else batch.begin_s),
        read_s,
        max(read_s, moments[0]),
        True,
        tuple(moments[:new]),
        tuple(moments[new:]),
        is_measured,
        bisect.bisect_left(steps_s, moments[0] - TICK_S / 2),
    )


def _evenly(first_s: float, last_s: float, count: int) -> list[float]:
    step_s = (last_s - first_s) / max(1, count - 1)
    return [first_s + number * step_s for number in range(count)]


def _seated(sequences: list[BatchSequence]) -> list[BatchSequence]:
    """Those of one rank, each on the lowest seat that is free when it is taken."""
    taken: list[tuple[float, int]] = []
    free: list[int] = []
    seated = []
    for each in sorted(sequences, key=lambda s: (s.taken_s, s.read_begin_s, s.index)):
        while taken and taken[0][0] <= each.taken_s + SAME_S:
            heapq.heappush(free, heapq.heappop(taken)[1])
        seat = heapq.heappop(free) if free else len(taken)
        heapq.heappush(taken, (each.leaves_s, seat))
        seated.append(replace(each, seat=seat))
    return seated
