"""Output: what came back for one prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nbkit.records.latency import OutputTimes


@dataclass(frozen=True, slots=True)
class Output:
    """The text generated for one prompt.

    ``prompt_tokens`` counts the prompt's tokens, special ones that the tokenizer adds
    included; ``new_tokens`` counts the tokens the user gets, the end-of-sequence token
    included. ``finish_reason`` is ``stop`` (end of sequence, or a stop string) or ``length``.
    ``times`` are when its tokens came, None where nobody looked; outputs that differ in nothing else are equal.
    """

    index: int
    text: str
    prompt_tokens: int
    new_tokens: int
    finish_reason: Literal["stop", "length"]
    times: OutputTimes | None = field(default=None, compare=False)
