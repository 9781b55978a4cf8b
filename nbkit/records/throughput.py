"""Throughput over time: tokens per second of each rank and of all, in a bounded number of bins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbkit.records import BatchRecord

if TYPE_CHECKING:
    import numpy as np

    from nbkit.records.run import Run

FIRST_WIDTH_S = 0.25
MOST_BINS = 160
SHORTEST_S = 1e-6
"""Of a span of time: no longer than a microsecond is at once."""


class Throughput:
    """Tokens computed per second over the time of a run.

    Ranks report now and then; the tokens since a rank's last report are spread evenly
    over the seconds since then, so that reports in bursts do not show as spikes. Bins
    double their width when there would be more than ``MOST_BINS``: a run of a night
    takes no more room than one of a minute. Times are in seconds since the run began.
    """

    def __init__(self) -> None:
        self.width_s = FIRST_WIDTH_S
        self._tokens: dict[int, list[float]] = {}
        self._reported_s: dict[int, float] = {}
        self._at_work: set[int] = set()
        self.counts_at_end = False
        """Whether sequences count in the windows of time in which they ended: it is not known when they began."""

    @property
    def ranks(self) -> list[int]:
        """The ranks that have reported, in order."""
        return sorted(self._reported_s)

    def count(self, rank: int, at_s: float, tokens: int) -> None:
        """A rank reports the tokens it has computed since its last report; the first report sets its clock."""
        at_s = max(0.0, at_s)
        if rank not in self._reported_s:
            self._at_work.add(rank)
        since_s = self._reported_s.setdefault(rank, at_s)
        bins = self._tokens.setdefault(rank, [])
        # Reports may overtake each other by the time it takes to write them down.
        self._reported_s[rank] = max(since_s, at_s)
        if tokens:
            self._spread(bins, min(since_s, at_s), at_s, tokens)

    def count_spans(self, rank: int, begins_s: Any, ends_s: Any, tokens: Any, until_s: float) -> None:
        """Tokens of many spans of time at once, each span's spread evenly over it.

        Parameters
        ----------
        begins_s, ends_s, tokens : array_like
            Shape (spans,) each; a span of no length counts at its begin.
        until_s : float
            What is known of the rank ends here, or with the last span.
        """
        import numpy as np

        begins_s, ends_s = (np.maximum(np.asarray(each, dtype=float), 0.0) for each in (begins_s, ends_s))
        tokens = np.asarray(tokens, dtype=float)
        last_s = max(until_s, float(ends_s.max(initial=0.0)))
        self.count(rank, 0.0, 0)
        self.count(rank, last_s, 0)
        while last_s >= MOST_BINS * self.width_s:
            self._widen()
        bins = self._tokens[rank]
        bins.extend([0.0] * (int(last_s / self.width_s) + 1 - len(bins)))
        seconds = np.maximum(ends_s - begins_s, SHORTEST_S)
        before = 0.0
        for number in range(len(bins)):
            # Of all spans at once, bin by bin: no room is taken for each span's bins.
            elapsed_s = (number + 1) * self.width_s - begins_s
            so_far = float((tokens * np.clip(elapsed_s / seconds, 0.0, 1.0)).sum())
            bins[number] += so_far - before
            before = so_far

    def _spread(self, bins: list[float], begin_s: float, end_s: float, tokens: int) -> None:
        while end_s >= MOST_BINS * self.width_s:
            self._widen()
        first, last = int(begin_s / self.width_s), int(end_s / self.width_s)
        bins.extend([0.0] * (last + 1 - len(bins)))
        for number in range(first, last + 1):
            overlap_s = min(end_s, (number + 1) * self.width_s) - max(begin_s, number * self.width_s)
            share = overlap_s / (end_s - begin_s) if end_s > begin_s else 1.0
            bins[number] += tokens * share

    def _widen(self) -> None:
        self.width_s *= 2
        for bins in self._tokens.values():
            bins[:] = [sum(bins[i : i + 2]) for i in range(0, len(bins), 2)]

    def finish(self, rank: int) -> None:
        """A rank has done its share: from its last report on it counts as 0."""
        self._at_work.discard(rank)

    def of_rank(self, rank: int) -> list[tuple[float, float]]:
        """(seconds, tokens per second) of one rank, up to its last report."""
        return self._points(self._tokens[rank], self._reported_s[rank])

    def of_all(self) -> list[tuple[float, float]]:
        """(seconds, tokens per second) of all ranks together, as far as every rank at work has reported."""
        latest_s = max(self._reported_s.values(), default=0.0)
        known_s = min((self._reported_s[rank] for rank in self._at_work), default=latest_s)
        summed = [sum(tokens) for tokens in itertools.zip_longest(*self._tokens.values(), fillvalue=0.0)]
        if known_s < latest_s:
            # The bin in which some ranks have reported and some have not says nothing yet.
            known_s = int(known_s / self.width_s) * self.width_s
        return self._points(summed, known_s)

    def _points(self, bins: Sequence[float], until_s: float) -> list[tuple[float, float]]:
        """A point in the middle of each bin; of the last, not yet full one, over what is known of it."""
        points = []
        for number, tokens in enumerate(bins):
            begin_s = number * self.width_s
            known_s = min(self.width_s, until_s - begin_s)
            if known_s > 0:
                points.append((begin_s + known_s / 2, tokens / known_s))
        return points


def of_run(run: Run) -> Throughput:
    """The throughput of a finished Run: tokens where they were made, as far as its records tell.

    Of batches see ``of_batches``. Where sequences joined one by one, a sequence's tokens lie between
    its first and its last (``Run.times``): the first at its moment, the others evenly after it. When between
    the two each of them came is not kept in order, so that a stall within a sequence is not seen. Tokens
    computed after a sequence's end count in the window of time in which they were computed; those that
    were given up for want of memory do not count, nor those of prompts of which no batch tells.

    Where a sequence lacks its times, all count in the windows in which they ended: ``counts_at_end``.
    """
    if not run.is_in_flight:
        return of_batches(run.batches, run.begin_s)
    batches: dict[int, list[BatchRecord]] = {}
    for batch in run.batches:
        batches.setdefault(batch.rank, []).append(batch)
    moments = _moments(run)
    throughput = Throughput()
    for rank, own in batches.items():
        indices = [index for batch in own for index in batch.indices if index < moments.shape[1]]
        if not _count_sequences(throughput, rank, moments[:, indices], own, run.begin_s):
            throughput = of_batches([batch for each in batches.values() for batch in each], run.begin_s)
            throughput.counts_at_end = True
            return throughput
        throughput.finish(rank)
    return throughput


def _moments(run: Run) -> np.ndarray[Any, Any]:
    """Of each prompt when its first token came and its last, and how many, shape (3, prompts); NaN if not known."""
    import numpy as np

    moments = np.full((3, len(run.prompts)), math.nan)
    # Columns may stand in a file: each is gone through once.
    for index, (times, tokens) in enumerate(zip(run.times, run.new_tokens, strict=True)):
        if times is not None:
            moments[:, index] = times.first_token_s, times.end_s, tokens
    return moments


def _count_sequences(
    throughput: Throughput,
    rank: int,
    moments: np.ndarray[Any, Any],
    windows: Sequence[BatchRecord],
    begin_s: float,
) -> bool:
    """Count a rank's sequences, ``moments`` of shape (3, sequences), unless the times of one are not known."""
    first_s, end_s, tokens = moments
    if not bool((tokens >= 0).all()):
        return False
    until_s = max(window.end_s for window in windows) - begin_s
    throughput.count_spans(rank, first_s - begin_s, first_s - begin_s, tokens.clip(max=1), until_s)
    throughput.count_spans(rank, first_s - begin_s, end_s - begin_s, (tokens - 1).clip(min=0), until_s)
    throughput.count_spans(
        rank,
        [window.begin_s - begin_s for window in windows],
        [window.end_s - begin_s for window in windows],
        [window.computed_tokens - window.new_tokens for window in windows],
        until_s,
    )
    return True


def of_batches(batches: Sequence[BatchRecord], begin_s: float) -> Throughput:
    """The throughput of finished batches: a token a sequence during prefill, the others evenly during decode.

    Of windows of time, in which sequences end that have begun before, the tokens are in the window of their end.
    """
    throughput = Throughput()
    for batch in sorted(batches, key=lambda batch: batch.end_s):
        prefilled_s = batch.begin_s + batch.tokenize_s + batch.prefill_s
        for at_s, tokens in (
            (batch.begin_s, 0),
            (prefilled_s, len(batch.indices)),
            (prefilled_s + batch.decode_s, batch.computed_tokens - len(batch.indices)),
            (batch.end_s, 0),
        ):
            throughput.count(batch.rank, at_s - begin_s, tokens)
    for rank in throughput.ranks:
        throughput.finish(rank)
    return throughput
