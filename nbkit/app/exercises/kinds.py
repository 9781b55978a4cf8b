"""Kinds of answers: a number, or a list; each says in a sentence what is wrong with one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from nbkit.analysis.scaling import Spread
from nbkit.errors import shorten

EXACTLY = 1e-9
"""The share by which a number may differ that is asked for exactly: what rounding makes of it."""
ABOUT = 0.1
"""The least share by which an estimate of something measured may be off."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of an answer. ``is_right`` is None where it is no answer of the kind that was asked for."""

    is_right: bool | None
    said: str


class Kind(Protocol):
    """A kind of answers."""

    def judge(self, answer: object, right: Any) -> Verdict:
        """Hold an answer against the right one."""
        ...


@dataclass(frozen=True, slots=True)
class Exercise:
    """One question of a lesson.

    Attributes
    ----------
    name : str
        What ``lesson.check`` and ``lesson.hint`` call it.
    kind : Kind
        What is asked for.
    right : callable
        From what the lesson measured to the right answer; without parameters where there is nothing to measure.
    hint : str
        Said on request.
    because : str
        Said with a right answer: why it is so.
    """

    name: str
    kind: Kind
    right: Callable[..., Any]
    hint: str
    because: str = ""


@dataclass(frozen=True, slots=True)
class Exact:
    """A number that can be counted or computed."""

    unit: str

    def judge(self, answer: object, right: float) -> Verdict:
        number = _number(answer)
        if number is None:
            return _no_number(answer, self.unit)
        if math.isclose(number, right, rel_tol=EXACTLY, abs_tol=EXACTLY):
            return Verdict(True, f"Right: {_in_words(number, self.unit)}.")
        off = f"{abs(number - right):.4g} too {_side(number, right)}"
        return Verdict(False, f"Not yet: {_in_words(number, self.unit)} is {off}.")


@dataclass(frozen=True, slots=True)
class Measured:
    """A number that was measured, several times where it varies.

    An answer is right that is among the measurements, between the lowest and the highest, or off by no more than
    these are from each other, or by the share ``least``, whichever is more.
    """

    unit: str
    least: float = ABOUT

    def judge(self, answer: object, right: float | Sequence[float]) -> Verdict:
        number = _number(answer)
        if number is None:
            return _no_number(answer, self.unit)
        samples = list(right) if isinstance(right, Sequence) else [right]
        spread = Spread.of(samples)
        said = _in_words(number, self.unit)
        if min(number, spread.median) <= 0:
            return Exact(self.unit).judge(answer, spread.median)
        within = max(self.least, (spread.high - spread.low) / spread.median)
        factor = max(number / spread.median, spread.median / number)
        if factor > 1 + within and not spread.low <= number <= spread.high:
            side = _side(number, spread.median)
            return Verdict(False, f"Not yet: {said} is off by a factor of {_factor_in_words(factor)}, too {side}.")
        several = f", {spread.low:.3g} to {spread.high:.3g} in {len(samples)} samples" if len(samples) > 1 else ""
        measured = f"measured {_in_words(spread.median, self.unit, 3)}{several}"
        return Verdict(True, f"Right: {said} ({measured}; up to {100 * within:.0f}% off is right).")


@dataclass(frozen=True, slots=True)
class EachRank:
    """A list with a value of every rank, as ``workers.run`` returns it."""

    def judge(self, answer: object, right: Sequence[object]) -> Verdict:
        if not isinstance(answer, list | tuple):
            said = f"{shorten(answer)} is {_type_in_words(answer)}"
            return Verdict(None, f"{said}; the answer is a list, what workers.run(your_function) returns.")
        if len(answer) != len(right):
            return Verdict(False, f"Not yet: a list of {len(answer)}, for {len(right)} ranks.")
        wrong = [rank for rank, (given, one) in enumerate(zip(answer, right, strict=True)) if not _same(given, one)]
        if not wrong:
            return Verdict(True, f"Right: {shorten(list(answer))}.")
        first = f"rank {wrong[0]} returned {shorten(answer[wrong[0]])}"
        return Verdict(False, f"Not yet: {len(wrong)} of {len(right)} values are not right; {first}.")


def _number(answer: object) -> float | None:
    """The answer as a number, numpy's among them; None where it is none, or none that is finite."""
    if isinstance(answer, bool) or not isinstance(answer, Real):
        return None
    try:
        number = float(answer)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _no_number(answer: object, unit: str) -> Verdict:
    kind = _type_in_words(answer)
    return Verdict(None, f"{shorten(answer)} is {kind}; the answer is a number ({unit}), such as 12 or 0.5.")


def _type_in_words(answer: object) -> str:
    if isinstance(answer, str):
        return "text"
    if isinstance(answer, bool) or not isinstance(answer, Real):
        return f"of type {type(answer).__name__}"
    return "no finite number"


def _same(given: object, right: object) -> bool:
    return isinstance(given, Real | str) and bool(given == right)


def _side(number: float, right: float) -> str:
    return "low" if number < right else "high"


def _in_words(value: float, unit: str, digits: int = 4) -> str:
    return f"{value:.{digits}g} {unit}"


def _factor_in_words(factor: float) -> str:
    if factor >= 10:
        return f"{factor:,.0f}"
    return f"{factor:.1f}" if factor >= 1.3 else f"{factor:.2f}"
