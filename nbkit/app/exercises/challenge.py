"""Challenge: prompts to get through the workers as fast as can be, by settings that ask for the same work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbkit.analysis.explained import ratios
from nbkit.analysis.scaling import Spread
from nbkit.app.exercises.kinds import Verdict
from nbkit.errors import InputError, MissingExtra, shorten
from nbkit.records.settings import ARTICLE, Settings

if TYPE_CHECKING:
    from nbkit.records.run import Run

FREE_TO_CHOOSE = ("engine", "batch_size", "split", "order", "token_budget")
"""Settings that change the time, and texts by their rounding at most."""
ROUNDS = 3
SWEEP: tuple[dict[str, Any], ...] = tuple(
    {"engine": engine, **schedule}
    for engine in ("batched", "compiled")
    for schedule in (
        {"batch_size": 16, "split": "static", "order": "as_given"},
        {"batch_size": "auto", "split": "dynamic", "order": "by_length"},
    )
)
"""What an answer is held against; the first are the article's settings."""


class _Target(Protocol):
    def generate(self, prompts: Sequence[str], settings: Settings | None = None) -> Run: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an answer reached: useful tokens per second, against the article's and against the sweep's fastest."""

    tokens_per_second: Spread
    times_article: Spread
    times_best: Spread
    best: Mapping[str, Any]


class Challenge:
    """Prompts, and the workers that they are to go through.

    Nothing runs until an answer is tried; the sweep then runs once.

    Parameters
    ----------
    workers : Workers
    prompts : sequence of str
    settings : Settings
        What stays as it is: the model, the tokens, where texts end.
    """

    def __init__(self, workers: _Target, prompts: Sequence[str], settings: Settings) -> None:
        self._workers = workers
        self._prompts = list(prompts)
        self._settings = Settings.of(settings, **ARTICLE)
        self._swept: list[list[Run]] = []

    def settings(self, choice: Mapping[str, Any]) -> Settings:
        """The article's settings with the choice made.

        Raises
        ------
        InputError
            A name is not free to choose, or a value cannot be used.
        """
        for name in choice:
            if name not in FREE_TO_CHOOSE:
                raise InputError(f"{shorten(name)} is not free to choose here; {', '.join(FREE_TO_CHOOSE)} are.")
        return Settings.of(self._settings, **choice)

    def measure(self, choice: Mapping[str, Any]) -> Outcome:
        """Run the prompts by a choice, and by the sweep's fastest in turn, so that a machine that drifts is in both.

        Raises
        ------
        InputError, MissingExtra
            The choice cannot be used, or not on this device.
        """
        asked = self.settings(choice)
        first = self._run(asked)
        swept = self._sweep()
        place = max(range(len(SWEEP)), key=lambda place: _tokens_per_second(swept[place]).median)
        best = self.settings(SWEEP[place])
        tried, beside = [first], [self._run(best)]
        for _ in range(ROUNDS - 1):
            tried.append(self._run(asked))
            beside.append(self._run(best))
        return Outcome(
            _tokens_per_second(tried),
            ratios(tried, swept[0], lambda run: run.tokens_per_second),
            ratios(tried, beside, lambda run: run.tokens_per_second),
            SWEEP[place],
        )

    def _sweep(self) -> list[list[Run]]:
        """The runs of each of ``SWEEP``, in its order; measured once."""
        if not self._swept:
            rounds = [[self._run(self.settings(choice)) for choice in SWEEP] for _ in range(ROUNDS)]
            self._swept = [list(runs) for runs in zip(*rounds, strict=True)]
        return self._swept

    def _run(self, settings: Settings) -> Run:
        return self._workers.generate(self._prompts, settings)


@dataclass(frozen=True, slots=True)
class AsFastAsTheSweep:
    """Settings for a ``Challenge``: right, if no slower than the fastest of its sweep.

    As slow is what is slower by no more than the measurements are from each other, or by the share ``least``.
    """

    least: float = 0.15

    def judge(self, answer: object, right: Challenge) -> Verdict:
        if not isinstance(answer, Mapping):
            said = f"{shorten(answer)} is of type {type(answer).__name__}"
            return Verdict(None, f"{said}; the answer is a dict of settings, such as {{'batch_size': 8}}.")
        try:
            reached = right.measure(answer)
        except (InputError, MissingExtra) as error:
            return Verdict(None, str(error))
        times = reached.times_best
        within = max(self.least, (times.high - times.low) / times.median)
        said = (
            f"{reached.tokens_per_second.in_words(0)} useful tokens/s, {reached.times_article.in_words()} times the "
            f"article's, and {times.in_words()} times the fastest of a sweep of {len(SWEEP)} settings"
        )
        if times.median * (1 + within) < 1:
            return Verdict(False, f"Not yet: {said}.")
        fastest = ", ".join(f"{name} {value}" for name, value in reached.best.items())
        return Verdict(True, f"Right: {said}: {fastest} ({100 * within:.0f}% slower is still right).")


def _tokens_per_second(runs: Sequence[Run]) -> Spread:
    return Spread.of([run.tokens_per_second for run in runs])
