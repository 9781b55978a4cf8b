"""Throughput over time: tokens per second of each rank and of all, in a bounded number of bins."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from nbkit.records import BatchRecord

FIRST_WIDTH_S = 0.25
MOST_BINS = 160


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


def of_batches(batches: Sequence[BatchRecord], begin_s: float) -> Throughput:
    """The throughput of finished batches: a token a sequence during prefill, the others evenly during decode."""
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
