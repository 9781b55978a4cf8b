"""Sequence pool: sequences decoded side by side, one step at a time; one may join whenever another has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nbkit.engines.sequence_end import FinishReason
from nbkit.engines.warm_up import Preparation
from nbkit.records import StepWork


@dataclass(frozen=True, slots=True)
class Finished:
    """A sequence that has ended: its prompt's index, and all its new tokens, the end-of-sequence token included."""

    index: int
    tokens: list[int]
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Step:
    """What one step brought.

    ``new_tokens`` has, for each new token, its prompt's index: of several tokens of one sequence, several times.
    ``is_prefill`` tells a step that worked on prompts from one that only decoded.
    ``compile_s`` seconds of it went into compiling or capturing. ``discarded`` tokens were
    computed for sequences that had ended. ``read`` are the indices of the prompts that the step read, each but
    for its last token and in ``width`` positions; none where a pool does not tell. ``work`` is what the step
    worked on; None where the pool cannot tell.
    """

    finished: list[Finished]
    new_tokens: list[int]
    is_prefill: bool = False
    compile_s: float = 0.0
    discarded: int = 0
    read: Sequence[int] = ()
    width: int = 0
    work: StepWork | None = None


class SequencePool(Protocol):
    """Sequences that are decoded side by side; one may join whenever another has ended.

    ``capacity`` is the most sequences at once; it may be set lower after ``abort``.
    ``joins_cheaply`` tells that a sequence joining by itself does not hold up the others.
    """

    capacity: int
    joins_cheaply: bool

    def add(self, index: int, tokens: list[int]) -> None:
        """Let a prompt, by its index and token ids, join at the next step."""
        ...

    def step(self) -> Step:
        """One step for all sequences."""
        ...

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        """The indices and the new tokens so far of up to ``most`` sequences."""
        ...

    @property
    def new_tokens(self) -> int:
        """New tokens so far of all sequences under way."""
        ...

    @property
    def cache_positions(self) -> int:
        """Positions for which its KV cache has memory now; 0 if that is not known, or taken as it is needed."""
        ...

    def preparations(self, lengths: Sequence[int]) -> list[Preparation]:
        """What it will compute for such prompts that costs more the first time; none: what its first steps do."""
        ...

    def abort(self) -> None:
        """Forget all sequences; the pool can be used afterwards."""
        ...

    def give_up_memory(self) -> None:
        """Let go of the cache, after ``abort``: what is decoded next takes a new one."""
        ...
