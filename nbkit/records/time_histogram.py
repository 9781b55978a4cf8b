"""Time histogram: any number of durations in bounded room, to be merged with others and asked for percentiles.

Its buckets are those of DDSketch (Masson, Rim and Lee, 'DDSketch: a fast and fully-mergeable quantile sketch with
relative-error guarantees', VLDB 2019): each reaches from the one before by the same factor, so that its middle is
within a fixed share of all that it counts. The range is fixed here, and so is the most that there can be.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RELATIVE_ERROR = 0.02
"""A percentile differs by at most this share from that of the durations themselves."""

LEAST_S, MOST_S = 1e-6, 1e4
"""What is not longer than the first counts as 0 s, what is longer than the second as that (within the error)."""

_FACTOR = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
LAST_BUCKET = math.ceil(math.log(MOST_S / LEAST_S) / math.log(_FACTOR))
"""Bucket 0 counts what is 0 s; bucket k durations above ``LEAST_S * factor ** (k - 1)``, up to ``factor ** k``."""

_TEXT = re.compile(r"(?:\d{1,4}:\d{1,18}(?: \d{1,4}:\d{1,18})*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TimeHistogram:
    """Durations, however many, counted in at most ``LAST_BUCKET + 1`` buckets.

    ``buckets`` are pairs of a bucket's number and what it counts, at least 1; the numbers ascend.
    """

    buckets: tuple[tuple[int, int], ...] = ()

    @classmethod
    def between(cls, moments_s: Sequence[float]) -> TimeHistogram:
        """Of the durations from each of these moments, in seconds, to the next."""
        import numpy as np

        if len(moments_s) < 2:
            return cls()
        ratios = np.maximum(np.diff(moments_s) / LEAST_S, 1.0)
        numbers = np.ceil(np.log(ratios) / math.log(_FACTOR)).clip(max=LAST_BUCKET).astype(np.int64)
        counts = np.bincount(numbers)
        filled = counts.nonzero()[0]
        return cls(tuple(zip(filled.tolist(), counts[filled].tolist(), strict=True)))

    @classmethod
    def merged(cls, histograms: Iterable[TimeHistogram]) -> TimeHistogram:
        """All that these histograms count, as if it had been one."""
        total: Counter[int] = Counter()
        for histogram in histograms:
            for number, count in histogram.buckets:
                total[number] += count
        return cls(tuple(sorted(total.items())))

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(count for _, count in self.buckets)

    def percentile(self, percent: float) -> float:
        """The shortest duration, in seconds, that is no shorter than ``percent`` of all (nearest rank).

        Raises
        ------
        ValueError
            There are no durations.
        """
        if not self.buckets:
            raise ValueError("no durations, and so no percentile of them")
        rank = nearest_rank(percent, self.count)
        reached = itertools.accumulate(count for _, count in self.buckets)
        return next(
            _middle_s(number) for (number, _), so_far in zip(self.buckets, reached, strict=True) if so_far >= rank
        )

    def steps(self) -> list[tuple[float, int]]:
        """Of each bucket its middle, in seconds, and how many durations are no longer than those in it."""
        reached = itertools.accumulate(count for _, count in self.buckets)
        return [(_middle_s(number), so_far) for (number, _), so_far in zip(self.buckets, reached, strict=True)]

    def to_text(self) -> str:
        """As files have it: ``bucket:count``, a space between two of them."""
        return " ".join(f"{number}:{count}" for number, count in self.buckets)

    @classmethod
    def from_text(cls, text: str) -> TimeHistogram:
        """What ``to_text`` wrote.

        Raises
        ------
        ValueError
            It did not write this.
        """
        if not _TEXT.fullmatch(text):
            raise ValueError("buckets with their counts")
        pairs = [tuple(map(int, each.split(":"))) for each in text.split()]
        numbers = [number for number, _ in pairs]
        if numbers != sorted(set(numbers)) or any(number > LAST_BUCKET or not count for number, count in pairs):
            raise ValueError(f"ascending buckets up to {LAST_BUCKET}, none of them empty")
        return cls(tuple((number, count) for number, count in pairs))


def nearest_rank(percent: float, count: int) -> int:
    """Which of ``count`` values in order, the first being 1, is this percentile."""
    # Divided last: 0.9 * 10 is a little more than 9 for some such pairs.
    return max(1, math.ceil(percent * count / 100))


def _middle_s(number: int) -> float:
    """The duration that is within the error of all in a bucket."""
    return 0.0 if number == 0 else LEAST_S * 2 * _FACTOR**number / (_FACTOR + 1)
