"""Wall: of learners' entries who is there, who has not started, and who is fastest with which batch size."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbkit.records.wall_entry import WallEntry, WallRun

MOST_REMEMBERED = 5_000
"""Of so many learners it is remembered when they were first seen, though they are gone."""
Expected = int | Sequence[str]
"""How many learners are to come, or their names."""


@dataclass(frozen=True)
class Learner:
    """One learner on the wall, under a name that nobody else there has.

    Attributes
    ----------
    number : int
        The learner's place in the order in which they were first seen: it gives colour and symbol.
    runs : list of WallRun
        Of the model that the wall shows: the best for each batch size, ascending.
    runs_done : int
        Finished runs, of all models.
    """

    name: str
    number: int
    runs: list[WallRun]
    runs_done: int
    seen_s: float

    @property
    def best(self) -> WallRun | None:
        """The run with the most tokens per second that users get."""
        return max(self.runs, key=lambda run: run.tokens_per_second, default=None)

    @property
    def has_started(self) -> bool:
        """Whether a run has finished, of whichever model."""
        return self.runs_done > 0


@dataclass(frozen=True)
class Board:
    """What a wall shows: one model's runs, for those of another cannot be compared with them.

    Attributes
    ----------
    learners : list of Learner
        In the order in which they were first seen.
    model, device : str
        Whose runs are shown: on which kind of device they were made. Empty before the first.
    others : list of pair
        Models and devices that are not shown.
    expected : int
        How many are to come; 0 if nobody has said.
    missing : list of str
        Names that were expected and are not there.
    notes : list of str
        What could not be shown, in sentences.
    """

    learners: list[Learner]
    model: str
    device: str
    others: list[tuple[str, str]]
    expected: int
    missing: list[str]
    notes: list[str]

    @property
    def waiting(self) -> list[Learner]:
        """Who has joined and not started."""
        return [learner for learner in self.learners if not learner.has_started]

    @property
    def ranked(self) -> list[Learner]:
        """Whoever has a run that is shown, the fastest first."""
        return sorted((each for each in self.learners if each.best), key=_speed, reverse=True)

    @property
    def best(self) -> tuple[Learner, WallRun] | None:
        """The fastest learner so far, and the run."""
        ranked = self.ranked
        return (ranked[0], ranked[0].best) if ranked and ranked[0].best else None

    @property
    def headline(self) -> str:
        """The best so far, in a sentence without its stop."""
        if self.best is None:
            return "No run yet"
        learner, run = self.best
        return f"Best so far: {learner.name}, {run.tokens_per_second:,.0f} tokens/s at batch size {run.batch_size}"

    @property
    def presence(self) -> str:
        """How many are there and how many of them have started, in a sentence without its stop."""
        there = f"{len(self.learners)} of {self.expected}" if self.expected else f"{len(self.learners)}"
        return f"{there} joined, {len(self.learners) - len(self.waiting)} started"


class Names:
    """Tells learners apart: by when each was first seen here, which nobody can claim afterwards."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._next = 0

    def board(
        self,
        entries: Iterable[WallEntry],
        expected: Expected = 0,
        shown: tuple[str, str] | None = None,
        notes: Sequence[str] = (),
    ) -> Board:
        """The wall of these entries.

        Parameters
        ----------
        entries : iterable of WallEntry
            Each ``id`` once.
        expected : int or sequence of str
            How many learners are to come, or who.
        shown : pair, optional
            The model and the kind of device to show; left out, those with the most learners.
        """
        listed = sorted(entries, key=lambda entry: (self._numbers.get(entry.id, self._next), entry.joined_s))
        self._number(listed)
        model, device, others = _shown(listed, shown)
        names = _told_apart([entry.name for entry in listed])
        learners = [
            Learner(
                name=name,
                number=self._numbers[entry.id],
                runs=_best_by_size(run for run in entry.runs if (run.model, run.device) == (model, device)),
                runs_done=entry.runs_done,
                seen_s=entry.seen_s,
            )
            for name, entry in zip(names, listed, strict=True)
        ]
        there = {entry.name for entry in listed}
        wanted = [] if isinstance(expected, int) else list(dict.fromkeys(expected))
        return Board(
            learners=learners,
            model=model,
            device=device,
            others=others,
            expected=expected if isinstance(expected, int) else len(wanted),
            missing=[name for name in wanted if name not in there],
            notes=list(notes),
        )

    def _number(self, entries: Sequence[WallEntry]) -> None:
        for entry in entries:
            if entry.id not in self._numbers:
                self._numbers[entry.id] = self._next
                self._next += 1
        if len(self._numbers) > MOST_REMEMBERED:
            self._numbers = {entry.id: self._numbers[entry.id] for entry in entries}


def _shown(entries: Sequence[WallEntry], asked: tuple[str, str] | None) -> tuple[str, str, list[tuple[str, str]]]:
    """The model and device to show, and those that are not; the first with the most learners if none is asked for."""
    counts = Counter(pair for entry in entries for pair in {(run.model, run.device) for run in entry.runs})
    if not counts and asked is None:
        return "", "", []
    most = asked or min(counts, key=lambda pair: (-counts[pair], pair))
    return *most, sorted(pair for pair in counts if pair != most)


def _best_by_size(runs: Iterable[WallRun]) -> list[WallRun]:
    best: dict[int, WallRun] = {}
    for run in runs:
        if run.batch_size not in best or run.tokens_per_second > best[run.batch_size].tokens_per_second:
            best[run.batch_size] = run
    return [best[size] for size in sorted(best)]


def _told_apart(names: Sequence[str]) -> list[str]:
    """The names; whoever comes later with one that is there has a number behind it."""
    taken: set[str] = set()
    made = []
    for name in names:
        numbered = (name if number == 1 else f"{name} ({number})" for number in itertools.count(1))
        made.append(next(each for each in numbered if each not in taken))
        taken.add(made[-1])
    return made


def _speed(learner: Learner) -> float:
    return learner.best.tokens_per_second if learner.best else 0.0
