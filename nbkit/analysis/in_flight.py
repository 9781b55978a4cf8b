"""In flight: the ranks of an engine in which sequences join one by one, simulated from the end of one to the next.

When prompts join and which are read at once, ``nbkit.engines.joining`` says to the engine and to this alike; the
seconds are a cost model's. Between two ends of sequences as many are under way, so that all steps between
are a sum that can be looked up.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.analysis.cost_model import CostModel
from nbkit.engines.joining import is_time_to_join, of_like_length, prefill_count, prefill_rows, prefill_width

Prompt = tuple[int, int]
"""Its tokens, and its new tokens."""


@dataclass(slots=True)
class Account:
    """What ranks did, as sums over them; seconds.

    ``fitted_s`` is what prefills and steps would take by the fit alone. Over prompts are summed ``taken_s``, from the
    run's begin to when a prompt was taken, ``ttft_s`` from there to its first token, and ``after_first_s`` from there
    to its last.
    """

    prefill_s: float = 0.0
    decode_s: float = 0.0
    fitted_s: float = 0.0
    taken_s: float = 0.0
    ttft_s: float = 0.0
    after_first_s: float = 0.0
    prefills: int = 0
    most: int = 0


class Clock:
    """Seconds of prefills and of steps where so many ``ranks`` work, by a cost model and its hardware; looked up.

    Parameters
    ----------
    positions : int
        The most that a sequence attends to.
    """

    def __init__(self, model: CostModel, ranks: int, positions: int) -> None:
        self.between_s = model.between_s
        self.captures = model.captures
        self.encode_s, self.decode_s = model.tokenize_s[1], model.detokenize_s[1]
        self._model = model
        self._ranks = ranks
        self._contexts = np.arange(1.0, positions + 1)
        self._steps: dict[int, tuple[Floats, Floats]] = {}
        self._prefills: dict[tuple[int, int], tuple[float, float]] = {}

    def prefill(self, rows: int, width: int) -> tuple[float, float]:
        """Seconds of a prefill, and by the fit alone."""
        found = self._prefills.get((rows, width))
        if found is None:
            one = _shapes(rows, np.array([float(width)]), 1)
            found = (
                float(self._model.seconds(one, self._ranks)[0][0]),
                float(self._model.fitted_s(one, self._ranks)[0][0]),
            )
            self._prefills[rows, width] = found
        return found

    def steps(self, sequences: int, context: int, count: int) -> tuple[float, float]:
        """Seconds of so many steps, the first with one position more than ``context``; and by the fit alone."""
        found = self._steps.get(sequences)
        if found is None:
            found = self._steps[sequences] = self._up_to(sequences)
        limited, fitted = found
        last = context + count
        return limited.item(last) - limited.item(context), fitted.item(last) - fitted.item(context)

    def _up_to(self, sequences: int) -> tuple[Floats, Floats]:
        """The seconds of all steps with contexts 1 to n, for n from 0 on; and by the fit alone; (positions + 1,)."""
        # One decode step each: its context is one more than the length.
        each = _shapes(sequences, self._contexts - 1, 2)
        limited, fitted = self._model.seconds(each, self._ranks)[1], self._model.fitted_s(each, self._ranks)[1]
        return np.cumsum(np.append(0.0, limited)), np.cumsum(np.append(0.0, fitted))


@dataclass(slots=True)
class SimulatedRank:
    """A rank that takes prompts from a queue, which ranks may share, until none is left.

    ``at_s`` is how far it has come, ``drained_s`` when it first found no prompt to take, though it had room.
    ``budget`` bounds the positions of all sequences under way, of which each has its prompt's and ``most_new``.
    """

    clock: Clock
    queue: deque[Prompt]
    capacity: int
    account: Account
    at_s: float = 0.0
    budget: int | None = None
    most_new: int = 0
    drained_s: float | None = None
    _taken: tuple[Prompt, float] | None = None
    """A prompt that waits for others to leave it positions, and since when."""
    _step: int = 0
    _ends: list[tuple[int, int, int, float]] = field(default_factory=list)
    """A heap of the step in which a sequence ends, its tokens and new tokens, and when it had its first token."""
    _longest: list[tuple[int, int]] = field(default_factory=list)
    """A heap of minus how many positions a sequence has more than steps were made, and the step in which it ends."""
    _positions: int = 0

    def go_on(self) -> bool:
        """Let prompts join, and decode until the next sequence ends; False: there is nothing left to do."""
        joined = self._join() if self._may_join() else []
        if not self._ends and not joined:
            return False
        if joined:
            self._read([length for length, _ in joined])
        self._decode(joined)
        return True

    def _may_join(self) -> bool:
        free = self.capacity - len(self._ends)
        if free and not self.queue and self.drained_s is None:
            self.drained_s = self.at_s
        return (bool(self.queue) or self._taken is not None) and is_time_to_join(free, self.capacity, not self._ends)

    def _join(self) -> list[Prompt]:
        """Take prompts while there is room: their tokens and new tokens, the longest prompt first."""
        joined: list[Prompt] = []
        room = self.capacity - len(self._ends)
        while len(joined) < room and self._take():
            assert self._taken is not None
            prompt, taken_s = self._taken
            needed = prompt[0] + self.most_new
            if self.budget is not None and (self._ends or joined) and self._positions + needed > self.budget:
                break
            self._taken = None
            joined.append(prompt)
            self._positions += needed
            self.account.ttft_s -= taken_s
        return sorted(joined, key=lambda prompt: -prompt[0])

    def _take(self) -> bool:
        """Whether a prompt waits to join; the next is taken when none does."""
        if self._taken is None and self.queue:
            self._taken = self.queue.popleft(), self.at_s
            self.account.taken_s += self.at_s
            self.at_s += self.clock.encode_s * self._taken[0][0]
        return self._taken is not None

    def _read(self, lengths: Sequence[int]) -> None:
        """The prefills of prompts, the longest first."""
        captures, at = self.clock.captures, 0
        while at < len(lengths):
            width = prefill_width(lengths[at], captures)
            count = prefill_count(of_like_length(lengths[at:], captures), width, captures)
            seconds, fitted_s = self.clock.prefill(prefill_rows(count, captures), width)
            self.at_s += seconds + self.clock.between_s
            self.account.prefill_s += seconds
            self.account.fitted_s += fitted_s
            self.account.prefills += 1
            at += count

    def _decode(self, joined: Sequence[Prompt]) -> None:
        """Steps until the next end, all of them with as many sequences."""
        for length, new in joined:
            heapq.heappush(self._longest, (self._step + 1 - length, self._step + new))
        sequences = len(self._ends) + len(joined)
        while self._longest[0][1] <= self._step:
            heapq.heappop(self._longest)
        context = self._step - self._longest[0][0]
        first_s = self.at_s + self.clock.steps(sequences, context, 1)[0] + self.clock.between_s
        for length, new in joined:
            heapq.heappush(self._ends, (self._step + new, length, new, first_s))
        self.account.ttft_s += first_s * len(joined)
        count = self._ends[0][0] - self._step
        seconds, fitted_s = self.clock.steps(sequences, context, count)
        self.at_s += seconds + count * self.clock.between_s
        self._step += count
        self.account.decode_s += seconds
        self.account.fitted_s += fitted_s
        self.account.most = max(self.account.most, sequences)
        self._let_go(self.at_s)

    def _let_go(self, end_s: float) -> None:
        """The sequences that end with the step just made."""
        while self._ends and self._ends[0][0] == self._step:
            _, length, new, first_s = heapq.heappop(self._ends)
            self._positions -= length + self.most_new
            self.account.after_first_s += end_s - first_s
            self.at_s += self.clock.decode_s * new


def run_all(ranks: Sequence[SimulatedRank]) -> None:
    """Let ranks that may share a queue go on until nothing is left; the one that is furthest behind goes first."""
    waiting = [(rank.at_s, number) for number, rank in enumerate(ranks)]
    heapq.heapify(waiting)
    while waiting:
        _, number = waiting[0]
        if ranks[number].go_on():
            heapq.heapreplace(waiting, (ranks[number].at_s, number))
        else:
            heapq.heappop(waiting)


def _shapes(sequences: int, length: Floats, steps: int) -> BatchShapes:
    many, each = np.full_like(length, float(sequences)), np.full_like(length, float(steps))
    return BatchShapes(many, length, each, many * length, many * each)
