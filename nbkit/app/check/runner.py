"""Runner: checks in their order within a time, going on after whatever fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbkit.app.check.findings import Answer, Finding, Outcome, Skipped
from nbkit.errors import InputError, RankError, first_line

if TYPE_CHECKING:
    from nbkit.app.check.bench import Bench

NO_TIME = "no time left"


class OutOfTime(Exception):
    """The check's time was over in the middle of a part."""


class Clock:
    """The time that all checks together have.

    Parameters
    ----------
    minutes : float
        For all of them.
    now : callable
        Seconds on a clock that only goes forward.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.total_s = 60 * minutes
        self._began_s = now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the begin."""
        return self._now() - self._began_s

    @property
    def left_s(self) -> float:
        """Seconds until the end; below 0 after it."""
        return self.total_s - self.elapsed_s


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is tried, and comes to one finding.

    ``do`` may raise: ``Skipped`` says why it cannot be tried here, any other error is a failure. What ``is_instant``
    only sums up what was measured before, and needs no time.
    """

    name: str
    do: Callable[[], Answer]
    is_instant: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A named part of the whole: what it asks, and what it tries for that.

    ``share`` is the part of the time that is kept for it while those before it run.
    """

    name: str
    question: str
    parts: Callable[[Bench], Iterator[Part]]
    share: float = 0.0


def run_checks(
    checks: Sequence[Check], bench: Bench, clock: Clock, on_part: Callable[[Check, Part], object] = lambda *_: None
) -> Iterator[Finding]:
    """Yield every finding as it comes; ``on_part`` is told of each part before it begins."""
    for number, check in enumerate(checks):
        kept_s = clock.total_s * sum(later.share for later in checks[number + 1 :])
        parts = check.parts(bench)
        while True:
            try:
                part = next(parts, None)
            except Exception as error:
                yield _failure(check.name, "its preparation", error)
                break
            if part is None:
                break
            on_part(check, part)
            yield _try(check, part, bench, clock, clock.left_s - kept_s)


def _try(check: Check, part: Part, bench: Bench, clock: Clock, spare_s: float) -> Finding:
    if spare_s <= 0 and not part.is_instant:
        return Finding(check.name, part.name, "skipped", f"{part.name}: {NO_TIME}")
    began_s = clock.elapsed_s
    try:
        answer = part.do()
    except Skipped as reason:
        answer = Answer("skipped", f"{part.name}: {reason}")
    except OutOfTime:
        answer = Answer("skipped", f"{part.name}: {NO_TIME} (stopped after {clock.elapsed_s - began_s:.0f} s)")
    except Exception as error:
        answer = Answer("failed", f"{part.name}: {reason_of(error)}", {"error": str(error)[-4000:]})
    seconds = round(clock.elapsed_s - began_s, 2)
    return Finding(check.name, part.name, answer.outcome, answer.said, seconds, answer.numbers, bench.take_log())


def _failure(check: str, part: str, error: Exception) -> Finding:
    outcome: Outcome = "failed"
    return Finding(check, part, outcome, f"{part}: {reason_of(error)}", numbers={"error": str(error)[-4000:]})


def reason_of(error: Exception) -> str:
    """Why something failed, in a line."""
    if isinstance(error, RankError):
        return f"rank {error.rank} raised {first_line(Exception(error.summary))}"
    return first_line(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"
