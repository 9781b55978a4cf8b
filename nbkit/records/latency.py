"""Latency: when the tokens of an output came, and percentiles of that over many outputs.

The words are the field's, and hold for whatever generates, an engine on a rank or a server:

- **taken**: the moment from which somebody works for a prompt. Here a rank draws it, alone or in a batch; what
  it waits after that for its batch to be padded and read, or for a place among the sequences under way, counts. What
  it waited in the queue before, while ranks were busy with others, does not. Where memory did not suffice and
  it was begun anew, it was taken the first time, and its tokens are those of the last.
- **TTFT**, time to first token: from then until its first new token is known.
- **ITL**, inter-token latency: from one of its tokens to its next. A token's time is when the host knows it (of
  ``generate`` on a GPU, where the host does not look at each: when the device has it). Tokens that become known
  at one look have the time since the look before once, and 0 s between them. A sequence of one token has none,
  and what is computed after a sequence's end, for the others of its batch, is no token of it.
- **end-to-end**: from being taken until its last token is known. A batch hands its texts on when all in it have
  ended; that wait is told by the batch's record, not here.

Percentiles are by nearest rank: a value that was measured, no mean of two. TTFT and end-to-end are exact to the
microsecond; inter-token times, of which there are as many as tokens, are kept in a ``TimeHistogram`` with its error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbkit.records.time_histogram import TimeHistogram, nearest_rank

MICROSECONDS = 6
"""Decimals of a second that are kept."""

PERCENTS = (50, 90, 99)

MS_DECIMALS = 2
"""Of milliseconds in tables: a token of a small model may take less than one."""


def latency_text(*seconds: float) -> str:
    """Latencies as people read them, in the unit of the longest: ``241 ms``, ``2.4 s``, ``0.94 / 2.4 / 3.1 s``."""
    unit, factor = ("s", 1) if max(seconds) >= 0.9995 else ("ms", 1000)
    values = [factor * each for each in seconds]
    shown = (
        f"{v:,.0f}" if v >= (10 if unit == "ms" else 100) else f"{v:.1f}" if v >= 1 else f"{v:.2f}" for v in values
    )
    return f"{' / '.join(shown)} {unit}"


@dataclass(frozen=True, slots=True)
class OutputTimes:
    """When the tokens of one output came, in seconds on the Run's clock (since the job was submitted).

    ``first_token_s`` and ``end_s`` are when its first and its last token were known;
    ``inter_token`` counts the times between two of its tokens, one less than there are tokens.
    """

    taken_s: float
    first_token_s: float
    end_s: float
    inter_token: TimeHistogram

    @classmethod
    def of(cls, taken_s: float, tokens_s: Sequence[float]) -> OutputTimes:
        """Of an output taken then, whose tokens, at least one, were known at ``tokens_s``."""
        taken_s, first_s, end_s = (round(moment, MICROSECONDS) for moment in (taken_s, tokens_s[0], tokens_s[-1]))
        return cls(taken_s, first_s, end_s, TimeHistogram.between(tokens_s))

    @property
    def ttft_s(self) -> float:
        """Time to first token, in seconds."""
        return round(self.first_token_s - self.taken_s, MICROSECONDS)

    @property
    def end_to_end_s(self) -> float:
        """From being taken to the last token, in seconds."""
        return round(self.end_s - self.taken_s, MICROSECONDS)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of ``count`` durations, at least one, the percentiles by nearest rank, in seconds."""

    count: int
    p50_s: float
    p90_s: float
    p99_s: float

    @classmethod
    def of(cls, seconds: Sequence[float] | TimeHistogram) -> Percentiles | None:
        """None where there are no durations."""
        if isinstance(seconds, TimeHistogram):
            count = seconds.count
            return cls(count, *map(seconds.percentile, PERCENTS)) if count else None
        ordered = sorted(seconds)
        count = len(ordered)
        return cls(count, *(ordered[nearest_rank(percent, count) - 1] for percent in PERCENTS)) if count else None

    @property
    def values_s(self) -> tuple[float, float, float]:
        """In the order of ``PERCENTS``."""
        return self.p50_s, self.p90_s, self.p99_s


@dataclass(frozen=True, slots=True)
class Latencies:
    """Percentiles over outputs, of ``ttft`` and ``end_to_end``, and over all of their tokens, of ``inter_token``.

    None where nothing is known: no output has its times, or, of ``inter_token``, none has a second token.
    """

    ttft: Percentiles | None
    inter_token: Percentiles | None
    end_to_end: Percentiles | None

    @classmethod
    def of(cls, times: Iterable[OutputTimes | None]) -> Latencies:
        """Of the outputs whose times are known."""
        known = [each for each in times if each is not None]
        return cls(
            ttft=Percentiles.of([each.ttft_s for each in known]),
            inter_token=Percentiles.of(TimeHistogram.merged(each.inter_token for each in known)),
            end_to_end=Percentiles.of([each.end_to_end_s for each in known]),
        )

    @property
    def by_name(self) -> dict[str, Percentiles | None]:
        """Each by the name that tables and figures give it."""
        return {"TTFT": self.ttft, "ITL": self.inter_token, "end-to-end": self.end_to_end}

    def in_ms(self, name: str) -> dict[str, float | None]:
        """Columns of a table: ``TTFT p50 ms`` and so on; None where nothing is known."""
        own = self.by_name[name]
        values = own.values_s if own else [None] * len(PERCENTS)
        return {
            f"{name} p{percent} ms": None if value is None else round(1000 * value, MS_DECIMALS)
            for percent, value in zip(PERCENTS, values, strict=True)
        }

    def rows(self) -> list[dict[str, object]]:
        """A row for each that is known: how many durations, and their percentiles in milliseconds."""
        return [
            {
                "latency": name,
                "count": own.count,
                **{k.removeprefix(f"{name} "): v for k, v in self.in_ms(name).items()},
            }
            for name, own in self.by_name.items()
            if own is not None
        ]
