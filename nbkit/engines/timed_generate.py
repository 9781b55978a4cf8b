"""One timed call of transformers' ``generate``: what the simple and the batched engine share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from nbkit.engines.device_memory import PeakMemory
from nbkit.engines.protocol import BatchDone, Prompt, Streamed, Watch
from nbkit.models import LoadedModel
from nbkit.records import BatchRecord, Output
from nbkit.settings import Settings

STREAMED_SEQUENCES = 3
STREAMED_TOKENS = 100
"""Of each streamed sequence, its end: what is watched while it grows."""


class TimedGenerateEngine:
    """An engine that calls ``generate`` once a batch."""

    def __init__(self, settings: Settings, loaded: LoadedModel, pad_to_multiple_of: int | None) -> None:
        self._generate = TimedGenerate(settings, loaded, pad_to_multiple_of)

    def generate(self, batches: Iterable[Sequence[Prompt]], watch: Watch) -> Iterator[BatchDone]:
        """Yield each batch as it finishes; see ``Engine``."""
        for prompts in batches:
            batch = self._generate(prompts, watch)
            if batch is None:
                return
            yield batch


class TimedGenerate:
    """Tokenises, generates and detokenises one batch, and keeps account of each step."""

    def __init__(self, settings: Settings, loaded: LoadedModel, pad_to_multiple_of: int | None) -> None:
        self._loaded = loaded
        self._pad_to_multiple_of = pad_to_multiple_of
        self._eos_token_id = None if settings.ignore_eos else _eos_token_id(loaded)
        # As keywords: in a generation config, None means the model's own value, and
        # eos_token_id=None would not switch the end of sequence off.
        self._options = {
            "do_sample": False,
            "max_new_tokens": settings.max_new_tokens,
            "pad_token_id": loaded.tokenizer.pad_token_id,
            "eos_token_id": self._eos_token_id,
        }
        self._peak_memory = PeakMemory(loaded.device)

    def __call__(self, prompts: Sequence[Prompt], watch: Watch) -> BatchDone | None:
        """The finished batch, or None if it was cancelled before its end."""
        if watch.cancelled:
            return None
        model, tokenizer = self._loaded.model, self._loaded.tokenizer
        self._peak_memory.reset()
        begin_s = watch.elapsed_s
        inputs = tokenizer(
            [prompt.text for prompt in prompts],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            pad_to_multiple_of=self._pad_to_multiple_of,
            return_token_type_ids=False,
        ).to(self._loaded.device)
        tokenized_s = watch.elapsed_s
        steps = _StepWatch(watch, self._loaded, prompts, inputs.input_ids.shape[1])
        with torch.inference_mode():
            sequences = model.generate(**inputs, **self._options, stopping_criteria=StoppingCriteriaList([steps]))
        new = sequences[:, inputs.input_ids.shape[1] :].cpu()
        decoded_s = watch.elapsed_s
        if steps.were_cut:
            return None
        outputs = self._outputs(prompts, inputs.attention_mask.sum(1).tolist(), new)
        end_s = watch.elapsed_s
        record = BatchRecord(
            rank=watch.rank,
            indices=tuple(prompt.index for prompt in prompts),
            prompt_tokens=sum(output.prompt_tokens for output in outputs),
            padding_tokens=inputs.input_ids.numel() - sum(output.prompt_tokens for output in outputs),
            new_tokens=sum(output.new_tokens for output in outputs),
            computed_tokens=new.numel(),
            tokenize_s=tokenized_s - begin_s,
            prefill_s=steps.first_token_s - tokenized_s,
            decode_s=decoded_s - steps.first_token_s,
            detokenize_s=end_s - decoded_s,
            begin_s=begin_s,
            end_s=end_s,
            peak_memory_bytes=self._peak_memory.read(),
        )
        return BatchDone(record, outputs)

    def _outputs(self, prompts: Sequence[Prompt], lengths: list[int], new: torch.Tensor) -> tuple[Output, ...]:
        """Cut each row (tokens of one sequence) at its end-of-sequence token and decode it."""
        rows = [_cut_at_end(row, self._eos_token_id) for row in new.tolist()]
        texts = self._loaded.tokenizer.batch_decode([row for row, _ in rows], skip_special_tokens=True)
        return tuple(
            Output(prompt.index, text, length, len(row), "stop" if ended else "length")
            for prompt, text, length, (row, ended) in zip(prompts, texts, lengths, rows, strict=True)
        )


class _StepWatch(StoppingCriteria):  # type: ignore[misc]
    """Called by ``generate`` after each token: notes the first, reports, and ends a cancelled batch."""

    def __init__(self, watch: Watch, loaded: LoadedModel, prompts: Sequence[Prompt], prompt_length: int) -> None:
        self._watch = watch
        self._device = loaded.device
        self._tokenizer = loaded.tokenizer
        self._prompts = prompts[:STREAMED_SEQUENCES]
        self._prompt_length = prompt_length
        self._tokens = 0
        self.first_token_s = 0.0
        self.were_cut = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if not self.first_token_s:
            if self._device.type == "cuda":
                # The token is there when the device is done, not when its work is queued.
                torch.cuda.synchronize(self._device)
            self.first_token_s = self._watch.elapsed_s
        self._tokens += input_ids.shape[0]
        self._watch.report(self._tokens, lambda: self._streamed(input_ids))
        self.were_cut = self._watch.cancelled
        return torch.full((input_ids.shape[0],), self.were_cut, device=input_ids.device, dtype=torch.bool)

    def _streamed(self, input_ids: torch.Tensor) -> list[Streamed]:
        rows = input_ids[: len(self._prompts), self._prompt_length :][:, -STREAMED_TOKENS:].tolist()
        texts = self._tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [Streamed(prompt.index, text) for prompt, text in zip(self._prompts, texts, strict=True)]


def _eos_token_id(loaded: LoadedModel) -> int | list[int] | None:
    """The token, or tokens, that end a sequence: the model's own word, else its tokenizer's."""
    own: int | list[int] | None = loaded.model.generation_config.eos_token_id
    return own if own is not None else loaded.tokenizer.eos_token_id


def _cut_at_end(tokens: list[int], eos_token_id: int | list[int] | None) -> tuple[list[int], bool]:
    """The tokens up to and with the first end-of-sequence token, and whether there was one.

    What follows is padding that generate adds while other sequences go on.
    """
    ends = {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id or ())
    for position, token in enumerate(tokens):
        if token in ends:
            return tokens[: position + 1], True
    return tokens, False
