"""In flight: engines in which a prompt joins whenever a sequence has ended, while the others go on.

A *sequence pool* decodes side by side what it is given, one step at a time: the kit's own,
transformers', vLLM's or OpenVINO's. ``InFlightEngine`` drives any of them: it draws
prompts, lets them join, and makes outputs and records of what the pool returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from nbkit.engines.joining import is_time_to_join
from nbkit.engines.memory import PeakMemory, free_memory, is_out_of_memory
from nbkit.engines.prompt_check import encoded
from nbkit.engines.protocol import BatchDone, Streamed, UnderWay, Watch
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.sequence_pool import Finished, SequencePool, Step
from nbkit.engines.timed_generate import SHOWN_SEQUENCES, STREAMED_SEQUENCES, STREAMED_TOKENS
from nbkit.engines.warm_up import ANY_TOKEN, USUAL_LENGTH, Preparation, shapes_cost
from nbkit.errors import PromptError
from nbkit.models import LoadedModel
from nbkit.records import BatchRecord, OutOfMemory, Output, OutputTimes, StepWork
from nbkit.records.request import Request
from nbkit.records.settings import Settings
from nbkit.records.step_times import MOST_STEPS, StepTimes

FIRST_STEPS = 4
"""Of a warm-up: a prefill or two, a first token and one that reads what was written with it."""

WINDOW_S = 0.5
"""Outputs are handed on at least this far apart: each record costs a message."""


class InFlightEngine:
    """An engine around a sequence pool."""

    def __init__(self, settings: Settings, loaded: LoadedModel, pool: SequencePool) -> None:
        self._settings = settings
        self._loaded = loaded
        self._pool = pool
        self._end = SequenceEnd(settings, loaded)

    @property
    def batch_size(self) -> int:
        """The most sequences decoded side by side."""
        return self._pool.capacity

    def preparations(self, batches: Sequence[Sequence[int]]) -> list[Preparation]:
        """What the pool names itself, else its first steps, for as many prompts as it takes where that matters."""
        lengths = sorted((length for batch in batches for length in batch), reverse=True)
        own = self._pool.preparations(lengths)
        if own:
            return own
        device = self._loaded.device
        first = lengths[: self._pool.capacity] if shapes_cost(device) else [USUAL_LENGTH]
        key = ("first steps", self._settings.engine, self._settings.quantization, len(first), first[0])
        words = f"batches of up to {self._pool.capacity}"
        return [Preparation(key, words, lambda: self._try_steps(first))]

    def _try_steps(self, lengths: Sequence[int]) -> None:
        """Read prompts of such lengths, and decode a little."""
        try:
            for index, length in enumerate(lengths):
                self._pool.add(index, [ANY_TOKEN] * length)
            for _ in range(FIRST_STEPS):
                step = self._pool.step()
                if len(step.finished) == len(lengths):
                    break
        finally:
            self._pool.abort()

    def generate(self, batches: Iterable[Sequence[Request]], watch: Watch) -> Iterator[BatchDone | OutOfMemory]:
        """Yield what has finished, a window of time at a time; see ``Engine``."""
        scheduler = _Scheduler(self._settings, self._loaded, self._pool, batches, watch)
        window = self._new_window(watch)
        try:
            while scheduler.fill(window):
                problem = scheduler.step(window)
                if scheduler.begins_anew:
                    free_memory()
                    if problem is not None:
                        yield problem
                    continue
                watch.report(self._pool.new_tokens + window.new_tokens, self._streamed, scheduler.under_way)
                if window.finished and (window.is_long(watch) or scheduler.is_empty or watch.cancelled):
                    yield self._done(window, watch)
                    window = self._new_window(watch)
        finally:
            self._pool.abort()

    def _new_window(self, watch: Watch) -> _Window:
        memory = PeakMemory(self._loaded.device)
        memory.reset()
        return _Window(watch.elapsed_s, memory)

    def _streamed(self) -> list[Streamed]:
        shown = self._pool.under_way(STREAMED_SEQUENCES)
        if not shown:
            return []  # some versions of transformers decode no sequence into one empty text
        tails = [tokens[-STREAMED_TOKENS:] for _, tokens in shown]
        texts = self._loaded.tokenizer.batch_decode(tails, skip_special_tokens=True)
        return [Streamed(index, text) for (index, _), text in zip(shown, texts, strict=True)]

    def _done(self, window: _Window, watch: Watch) -> BatchDone:
        """The record and the outputs of a window."""
        finished = window.finished
        decoded_s = watch.elapsed_s
        texts = self._loaded.tokenizer.batch_decode([f.tokens for f in finished], skip_special_tokens=True)
        outputs = tuple(
            Output(f.index, text, len(own.tokens), len(f.tokens), f.reason, OutputTimes.of(own.taken_s, own.tokens_s))
            for f, text, own in zip(finished, self._end.text(texts), window.taken, strict=True)
        )
        end_s = watch.elapsed_s
        record = BatchRecord(
            rank=watch.rank,
            indices=tuple(f.index for f in finished),
            prompt_tokens=sum(len(own.tokens) for own in window.taken),
            padding_tokens=0,
            new_tokens=window.new_tokens,
            computed_tokens=window.new_tokens + window.discarded,
            tokenize_s=window.tokenize_s,
            prefill_s=window.prefill_s,
            decode_s=window.decode_s,
            detokenize_s=end_s - decoded_s,
            begin_s=window.begin_s,
            end_s=end_s,
            peak_memory_bytes=window.memory.read(),
            compile_s=window.compile_s,
            decode_steps=window.decode_steps,
            first_token_s=window.first_token_s,
            after_first_s=window.after_first_s,
            step_times=window.step_times(self._pool.cache_positions),
            work=window.work,
        )
        return BatchDone(record, outputs)


@dataclass
class _TakenRequest:
    """A request that this rank has taken: waiting, or in the pool; of its new tokens, when each was known."""

    request: Request
    tokens: list[int]
    taken_s: float
    tokens_s: list[float] = field(default_factory=list)
    read_s: tuple[float, float, int] | None = None
    """Of the step that read its prompt: when it began, when it ended, and the positions beyond the prompt."""


@dataclass
class _Window:
    """What happens between two records."""

    begin_s: float
    memory: PeakMemory
    finished: list[Finished] = field(default_factory=list)
    taken: list[_TakenRequest] = field(default_factory=list)
    new_tokens: int = 0
    discarded: int = 0
    tokenize_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    compile_s: float = 0.0
    decode_steps: int = 0
    first_token_s: float = 0.0
    after_first_s: float = 0.0
    work: StepWork | None = field(default_factory=StepWork)
    steps_s: list[float] = field(default_factory=list)
    keeps_steps: bool = True

    def step_times(self, cache_positions: int) -> StepTimes | None:
        """When its steps gave tokens, and when the prompts that ended in it were read."""
        if not self.keeps_steps:
            return None
        reads = [None if own.read_s is None else (own.taken_s, *own.read_s) for own in self.taken]
        return StepTimes.of_window(self.begin_s, self.steps_s, reads, cache_positions)

    def is_long(self, watch: Watch) -> bool:
        """Whether it is time to hand on what has finished."""
        return watch.elapsed_s - self.begin_s >= WINDOW_S


class _Scheduler:
    """Takes requests, lets them join the pool as there is room, and keeps account of those under way."""

    def __init__(
        self,
        settings: Settings,
        loaded: LoadedModel,
        pool: SequencePool,
        batches: Iterable[Sequence[Request]],
        watch: Watch,
    ) -> None:
        self._settings = settings
        self._loaded = loaded
        self._pool = pool
        self._batches = iter(batches)
        self._watch = watch
        self._waiting: deque[_TakenRequest] = deque()
        self._in_pool: dict[int, _TakenRequest] = {}
        self._positions = 0
        self._steps_left = MOST_STEPS
        self.begins_anew = False
        """Whether the last step did not fit into memory, so that what was under way begins anew."""

    @property
    def is_empty(self) -> bool:
        """Whether no sequence is under way."""
        return not self._in_pool

    def fill(self, window: _Window) -> bool:
        """Let prompts join while there is room; whether anything is under way after that."""
        if self._watch.cancelled:
            return False
        free = self._pool.capacity - len(self._in_pool)
        if is_time_to_join(free, self._pool.capacity, self.is_empty, self._pool.joins_cheaply):
            while self._has_room() and self._draw(window):
                self._join(self._waiting.popleft())
        return not self.is_empty

    def step(self, window: _Window) -> OutOfMemory | None:
        """One step of the pool, accounted for; where memory did not suffice, all begins anew.

        First as it is, if there was memory to be given up, then with half as many sequences.
        """
        began_s = self._watch.elapsed_s
        self.begins_anew = False
        try:
            step = self._pool.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return self._begin_anew(error)
        now_s = self._watch.elapsed_s
        seconds = now_s - began_s - step.compile_s
        window.compile_s += step.compile_s
        window.discarded += step.discarded
        window.work = None if window.work is None or step.work is None else window.work + step.work
        if step.is_prefill:
            window.prefill_s += seconds
        else:
            window.decode_s += seconds
            window.decode_steps += 1
        self._note_times(step, window, began_s, now_s)
        for finished in step.finished:
            own = self._in_pool.pop(finished.index)
            self._positions -= self._positions_of(own)
            window.finished.append(finished)
            window.taken.append(own)
            window.new_tokens += len(finished.tokens)
            window.first_token_s += own.tokens_s[0] - own.taken_s
            window.after_first_s += now_s - own.tokens_s[0]
        return None

    def _note_times(self, step: Step, window: _Window, began_s: float, now_s: float) -> None:
        for index in step.new_tokens:
            self._in_pool[index].tokens_s.append(now_s)
        for index in step.read:
            own = self._in_pool[index]
            own.read_s = began_s, now_s, max(0, step.width - len(own.tokens) + 1)
        if step.new_tokens:
            self._steps_left -= 1
            window.keeps_steps = window.keeps_steps and self._steps_left >= 0
            if window.keeps_steps:
                window.steps_s.append(now_s)

    def under_way(self) -> list[UnderWay]:
        """How far some sequences are, the first ones."""
        shown = list(self._in_pool.values())[:SHOWN_SEQUENCES]
        return [UnderWay(own.request.index, len(own.tokens), 0, len(own.tokens_s)) for own in shown]

    def _begin_anew(self, error: Exception) -> OutOfMemory | None:
        """Begin what was under way anew, with half as many at a time unless other memory was given up for it.

        Raises
        ------
        PromptError
            There was one sequence only.
        """
        sequences = len(self._in_pool)
        self.begins_anew = True
        self._pool.abort()
        self._pool.give_up_memory()
        had_spare = self._loaded.give_up_spare()
        if sequences == 1 and not had_spare:
            index = next(iter(self._in_pool))
            raise PromptError(
                f"prompt {index} does not fit into the memory of {self._watch.device} "
                f"even alone: {error}. Ask for fewer new tokens, a smaller dtype or a smaller model.",
                index,
            ) from None
        for sequence in self._in_pool.values():
            sequence.tokens_s.clear()
            sequence.read_s = None
        self._waiting.extendleft(reversed(self._in_pool.values()))
        self._in_pool.clear()
        self._positions = 0
        if had_spare:
            return None
        self._pool.capacity = sequences // 2
        return OutOfMemory(self._watch.rank, self._watch.elapsed_s, sequences, then=self._pool.capacity)

    def _has_room(self) -> bool:
        return len(self._in_pool) < self._pool.capacity

    def _draw(self, window: _Window) -> bool:
        """Whether a prompt waits that fits the token budget; the next are drawn when none waits.

        Where there are none yet (an empty batch), those under way go on.
        """
        while not self._waiting:
            drawn = next(self._batches, None)
            if drawn is None or (not drawn and not self.is_empty):
                return False
            taken_s = self._watch.elapsed_s
            ids = encoded(drawn, self._loaded, self._settings)
            window.tokenize_s += self._watch.elapsed_s - taken_s
            self._waiting.extend(_TakenRequest(p, tokens, taken_s) for p, tokens in zip(drawn, ids, strict=True))
        budget = self._settings.token_budget
        return budget is None or self.is_empty or self._positions + self._positions_of(self._waiting[0]) <= budget

    def _join(self, sequence: _TakenRequest) -> None:
        self._in_pool[sequence.request.index] = sequence
        self._positions += self._positions_of(sequence)
        self._pool.add(sequence.request.index, sequence.tokens)

    def _positions_of(self, sequence: _TakenRequest) -> int:
        return len(sequence.tokens) + self._settings.max_new_tokens
