"""The protocol of engines: prompts in, batches out as they finish.

An engine knows one model on one device. It knows nothing of other ranks, of sockets
or of who watches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nbkit.records import BatchRecord, Output


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and its place in the user's list."""

    index: int
    text: str


class Watch(Protocol):
    """What an engine sees of its surroundings."""

    @property
    def cancelled(self) -> bool:
        """Whether to stop: an engine looks once a token."""
        ...

    @property
    def elapsed_s(self) -> float:
        """The clock, in seconds."""
        ...

    def report(self, tokens: int) -> None:
        """Say how many tokens the batch under way has computed; cheap to call once a token."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """A finished batch: its outputs, and the account that ``BatchRecord`` explains."""

    outputs: tuple[Output, ...]
    prompt_tokens: int
    padding_tokens: int
    computed_tokens: int
    tokenize_s: float
    prefill_s: float
    decode_s: float
    detokenize_s: float
    begin_s: float
    end_s: float
    peak_memory_bytes: int

    def record(self, rank: int) -> BatchRecord:
        """The batch's record, as made on a rank."""
        return BatchRecord(
            rank=rank,
            indices=tuple(output.index for output in self.outputs),
            prompt_tokens=self.prompt_tokens,
            padding_tokens=self.padding_tokens,
            new_tokens=sum(output.new_tokens for output in self.outputs),
            computed_tokens=self.computed_tokens,
            tokenize_s=self.tokenize_s,
            prefill_s=self.prefill_s,
            decode_s=self.decode_s,
            detokenize_s=self.detokenize_s,
            begin_s=self.begin_s,
            end_s=self.end_s,
            peak_memory_bytes=self.peak_memory_bytes,
        )


class Engine(Protocol):
    """Turns prompts into batches of text."""

    def generate(self, prompts: Sequence[Prompt], watch: Watch) -> Iterator[Batch]:
        """Yield each batch as it finishes; when cancelled, end without the one under way."""
        ...
