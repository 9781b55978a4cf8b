"""One timed call of transformers' ``generate``: what the simple and the batched engine share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from nbkit.engines.memory import PeakMemory, free_memory, is_out_of_memory
from nbkit.engines.model_state import ModelState
from nbkit.engines.prompt_check import encoded
from nbkit.engines.protocol import BatchDone, Streamed, UnderWay, Watch
from nbkit.engines.sampling import ChosenTokens, NextTokens
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.token_clock import TokenClock
from nbkit.engines.warm_up import ANY_TOKEN, USUAL_LENGTH, Preparation, shapes_cost
from nbkit.errors import PromptError
from nbkit.models import LoadedModel
from nbkit.records import BatchRecord, OutOfMemory, Output, OutputTimes
from nbkit.records.request import Request
from nbkit.records.settings import Settings
from nbkit.records.step_times import MOST_STEPS, StepTimes

MUCH_PADDING = 64
"""Tokens: no device computes faster for a larger multiple."""

MOST_PREPARED = 32
"""Shapes that are prepared before a run: one with many more takes long beside them."""

BRIEF_TOKENS = 3
"""Of a warm-up: of the prefill, of a step, and of one that reads what was written with it."""

SHOWN_SEQUENCES = 64
"""Sequences under way of which it is told, while they grow, how far each is."""

STREAMED_SEQUENCES = 3
STREAMED_TOKENS = 100
"""Of each streamed sequence, its end: what is watched while it grows."""


class TimedGenerateEngine:
    """An engine that calls ``generate`` once a batch; one that does not fit into memory is halved and tried again.

    Parameters
    ----------
    batch_size : int
        The most prompts of one call.
    chooser : NextTokens
        Chooses each next token.
    pad_to_multiple_of : int or None
        Batches are padded to a multiple of so many tokens. None: not at all, and only
        prompts of one length are generated for together.
    """

    def __init__(
        self,
        settings: Settings,
        loaded: LoadedModel,
        batch_size: int,
        chooser: NextTokens,
        pad_to_multiple_of: int | None,
    ) -> None:
        self._generate = TimedGenerate(settings, loaded, chooser, pad_to_multiple_of)
        self._settings = settings
        self._loaded = loaded
        self._pads = pad_to_multiple_of is not None
        self.batch_size = batch_size

    def preparations(self, batches: Sequence[Sequence[int]]) -> list[Preparation]:
        """A short ``generate`` of each shape that these batches have, where that matters; see ``Engine``."""
        if not shapes_cost(self._loaded.device):
            return [self._preparation(1, USUAL_LENGTH)]
        shapes = {shape for lengths in batches for shape in self._shapes(lengths)}
        rows, width = max(shapes, key=lambda shape: shape[0] * shape[1])
        # The last step of the largest batch, which takes the most memory, and then the first ones of all.
        largest = self._preparation(rows, width + max(0, self._settings.max_new_tokens - BRIEF_TOKENS))
        return [largest, *(self._preparation(*shape) for shape in sorted(shapes, reverse=True)[:MOST_PREPARED])]

    def _shapes(self, lengths: Sequence[int]) -> list[tuple[int, int]]:
        """Rows and width of each call of ``generate`` for prompts of these lengths."""
        if self._pads:
            return [(len(lengths), self._generate.width(max(lengths)))]
        return [(count, length) for length, count in Counter(lengths).items()]

    def _preparation(self, rows: int, width: int) -> Preparation:
        if self._loaded.context_length is not None:
            # Here every position counts, where a run pads.
            width = min(width, self._loaded.context_length - BRIEF_TOKENS)
        key = ("generate", rows, width)
        return Preparation(key, f"batches of {rows}", lambda: self._generate.briefly(rows, width))

    def generate(self, batches: Iterable[Sequence[Request]], watch: Watch) -> Iterator[BatchDone | OutOfMemory]:
        """Yield each batch as it finishes; see ``Engine``."""
        self._generate.begin()
        for requests in batches:
            taken_s = watch.elapsed_s
            for waiting in [list(requests)] if self._pads else self._by_length(requests):
                while waiting:
                    taken = waiting[: self.batch_size]
                    batch = self._try(taken, taken_s, watch)
                    if batch is None:
                        return
                    yield batch
                    if isinstance(batch, BatchDone):
                        waiting = waiting[len(taken) :]

    def _by_length(self, requests: Sequence[Request]) -> list[list[Request]]:
        """The prompts of each length, so that nothing is padded."""
        if len(requests) == 1:
            return [list(requests)]
        lengths = {request.index: len(ids) for request, ids in zip(requests, self._encoded(requests), strict=True)}
        ordered = sorted(requests, key=lambda request: lengths[request.index])
        return [list(alike) for _, alike in groupby(ordered, key=lambda request: lengths[request.index])]

    @property
    def _less_padding(self) -> str:
        """What to ask for where prompts are padded to many times their length."""
        is_much = self._pads and self._settings.pad_to_multiple_of > MUCH_PADDING
        return f"less padding (pad_to_multiple_of={self._settings.pad_to_multiple_of}), " if is_much else ""

    def _encoded(self, requests: Sequence[Request]) -> list[list[int]]:
        return encoded(requests, self._loaded, self._settings)

    def _try(self, requests: Sequence[Request], taken_s: float, watch: Watch) -> BatchDone | OutOfMemory | None:
        """The finished batch, None if it was cancelled, or that it was too large: the batch size is then halved."""
        try:
            return self._generate(requests, taken_s, watch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            had_spare = self._loaded.give_up_spare()
            if len(requests) == 1 and not had_spare:
                raise PromptError(
                    f"prompt {requests[0].index} does not fit into the memory of {watch.device} even alone: {error}. "
                    f"Ask for {self._less_padding}fewer new tokens, a smaller dtype or a smaller model.",
                    requests[0].index,
                ) from None
        free_memory()
        if had_spare:
            return self._try(requests, taken_s, watch)
        self.batch_size = len(requests) // 2
        return OutOfMemory(watch.rank, watch.elapsed_s, sequences=len(requests), then=self.batch_size)


class TimedGenerate:
    """Tokenises, generates and detokenises one batch, and keeps account of each step."""

    def __init__(
        self, settings: Settings, loaded: LoadedModel, chooser: NextTokens, pad_to_multiple_of: int | None
    ) -> None:
        self._settings = settings
        self._loaded = loaded
        self._multiple = pad_to_multiple_of or 1
        self._end = SequenceEnd(settings, loaded)
        self._chooser = chooser
        self._options = {
            "do_sample": False,
            "max_new_tokens": settings.max_new_tokens,
            "pad_token_id": loaded.pad_token_id,
            "eos_token_id": None if settings.ignore_eos else list(loaded.eos_token_ids) or None,
        }
        self._peak_memory = PeakMemory(loaded.device)
        self._steps_left = MOST_STEPS

    def begin(self) -> None:
        """A run begins, of whose first steps the times are kept."""
        self._steps_left = MOST_STEPS

    def __call__(self, requests: Sequence[Request], taken_s: float, watch: Watch) -> BatchDone | None:
        """The finished batch of prompts taken then, or None if it was cancelled before its end."""
        if watch.cancelled:
            return None
        self._peak_memory.reset()
        begin_s = watch.elapsed_s
        ids = encoded(requests, self._loaded, self._settings)
        inputs = self._padded(ids)
        width = inputs["input_ids"].shape[1]
        tokenized_s = watch.elapsed_s
        clock = TokenClock(watch, self._loaded.device)
        strings = self._end if self._end.has_strings else None
        steps = _StepWatch(watch, clock, self._loaded, requests, [len(row) for row in ids], width, strings)
        ModelState.of(self._loaded).begin_anew()
        with torch.inference_mode():
            sequences = self._loaded.model.generate(
                **inputs,
                **self._options,
                stopping_criteria=StoppingCriteriaList([steps]),
                logits_processor=self._choosing(requests, ids, width),
            )
        new = sequences[:, width:].cpu()
        decoded_s = watch.elapsed_s
        if steps.were_cut:
            return None
        assert clock.first_s is not None
        outputs = self._outputs(requests, [len(row) for row in ids], new, taken_s, clock.times_s())
        end_s = watch.elapsed_s
        prompt_tokens = sum(len(row) for row in ids)
        record = BatchRecord(
            rank=watch.rank,
            indices=tuple(request.index for request in requests),
            prompt_tokens=prompt_tokens,
            padding_tokens=width * len(requests) - prompt_tokens,
            new_tokens=sum(output.new_tokens for output in outputs),
            computed_tokens=new.numel(),
            tokenize_s=tokenized_s - begin_s,
            prefill_s=clock.first_s - tokenized_s,
            decode_s=decoded_s - clock.first_s,
            detokenize_s=end_s - decoded_s,
            begin_s=begin_s,
            end_s=end_s,
            peak_memory_bytes=self._peak_memory.read(),
            step_times=self._step_times(begin_s, clock.times_s()),
        )
        return BatchDone(record, outputs)

    def _step_times(self, begin_s: float, moments_s: Sequence[float]) -> StepTimes | None:
        """Of a batch that began then; None once the run has had as many as are kept."""
        if len(moments_s) > self._steps_left:
            self._steps_left = 0
            return None
        self._steps_left -= len(moments_s)
        return StepTimes.of(begin_s, moments_s)

    def briefly(self, rows: int, width: int) -> None:
        """Generate a few tokens for so many prompts of ``width`` tokens, for nothing."""
        ids = [[ANY_TOKEN] * width] * rows
        unread = [Request(-1 - row, "") for row in range(rows)]
        ModelState.of(self._loaded).begin_anew()
        options = {**self._options, "max_new_tokens": min(BRIEF_TOKENS, self._settings.max_new_tokens)}
        with torch.inference_mode():
            sequences = self._loaded.model.generate(
                **self._padded(ids), **options, logits_processor=self._choosing(unread, ids, width)
            )
        sequences.cpu()
        for request in unread:
            self._chooser.forget(request.index)

    def width(self, longest: int) -> int:
        """Tokens to which prompts are padded of which the longest has so many."""
        return -(-longest // self._multiple) * self._multiple

    def _padded(self, ids: list[list[int]]) -> dict[str, torch.Tensor]:
        """Ids and attention mask, both (prompts, width), padded on the left."""
        width = self.width(max(map(len, ids)))
        pad = self._loaded.pad_token_id
        rows = [[pad] * (width - len(row)) + row for row in ids]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
        device = self._loaded.device
        return {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }

    def _choosing(self, requests: Sequence[Request], ids: list[list[int]], width: int) -> LogitsProcessorList:
        if self._chooser.is_plain:
            return LogitsProcessorList()
        return LogitsProcessorList([ChosenTokens(self._chooser, [request.index for request in requests], ids, width)])

    def _outputs(
        self,
        requests: Sequence[Request],
        lengths: list[int],
        new: torch.Tensor,
        taken_s: float,
        tokens_s: Sequence[float],
    ) -> tuple[Output, ...]:
        """Cut each row (tokens of one sequence) where it ends and decode it; ``tokens_s`` are the steps' moments."""
        rows = [self._end.cut(row) for row in new.tolist()]
        # Rows that are equally long have their tokens at the same moments.
        times = {count: OutputTimes.of(taken_s, tokens_s[:count]) for count in {len(row) for row, _ in rows}}
        texts = self._loaded.tokenizer.batch_decode([row for row, _ in rows], skip_special_tokens=True)
        for request in requests:
            self._chooser.forget(request.index)
        return tuple(
            Output(request.index, text, length, len(row), reason, times[len(row)])
            for request, text, length, (row, reason) in zip(
                requests, self._end.text(texts), lengths, rows, strict=True
            )
        )


class _StepWatch(StoppingCriteria):  # type: ignore[misc]
    """Called by ``generate`` after each token: notes when, reports, and ends a cancelled batch."""

    def __init__(
        self,
        watch: Watch,
        clock: TokenClock,
        loaded: LoadedModel,
        requests: Sequence[Request],
        lengths: Sequence[int],
        prompt_length: int,
        strings: SequenceEnd | None,
    ) -> None:
        """``strings`` tells where a stop string ends a sequence; None if there are none."""
        self._watch = watch
        self._clock = clock
        self._strings = strings
        self._has_ended = torch.zeros(len(requests), dtype=torch.bool, device=loaded.device)
        self._tokenizer = loaded.tokenizer
        self._requests = requests[:STREAMED_SEQUENCES]
        self._lengths = {request.index: length for request, length in zip(requests, lengths, strict=True)}
        self._prompt_length = prompt_length
        self._tokens = 0
        self.were_cut = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._clock.tick()
        self._tokens += input_ids.shape[0]
        self._watch.report(self._tokens, lambda: self._streamed(input_ids), lambda: self._under_way(input_ids))
        self.were_cut = self._watch.cancelled
        if self._strings is not None:
            self._note_stop_strings(self._strings, input_ids)
        return self._has_ended | self.were_cut

    def _note_stop_strings(self, strings: SequenceEnd, input_ids: torch.Tensor) -> None:
        rows = input_ids[:, self._prompt_length :].tolist()
        for number, row in enumerate(rows):
            if not self._has_ended[number] and strings.reason(row) == "stop":
                self._has_ended[number] = True

    def _under_way(self, input_ids: torch.Tensor) -> list[UnderWay]:
        new = input_ids.shape[1] - self._prompt_length
        shown = list(self._lengths.items())[:SHOWN_SEQUENCES]
        return [UnderWay(index, length, self._prompt_length - length, new) for index, length in shown]

    def _streamed(self, input_ids: torch.Tensor) -> list[Streamed]:
        rows = input_ids[: len(self._requests), self._prompt_length :][:, -STREAMED_TOKENS:].tolist()
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [Streamed(request.index, text) for request, text in zip(self._requests, texts, strict=True)]
